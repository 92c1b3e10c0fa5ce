"""A damaged append-only file: what a crash leaves at its end is cut off and kept; anything else is for a person.

The engine's own repair (`aof-load-truncated yes`) cuts at the first place that looks like an end, even if that is in
the middle: a changed length loses all that follows it.  And Redis 6.2 cuts inside of a transaction, so that all that
is written later belongs to one that never ends.  So its checker is asked where the last whole transaction ends, and
what follows must be what a crash can leave: the beginning of one more, or padding.
"""

import errno
import logging
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from kvd.embedded.aof import AppendOnlyFile
from kvd.errors import StartError, one_line

logger = logging.getLogger("kvd.embedded")

TAIL_BYTES = 4 * 1024 * 1024
"""How much of the file's end may be incomplete and still be what a crash left of the last batches: some times what an
ordinary one writes, and
TAIL_VALUES: so many of the longest values."""
TAIL_VALUES = 3
STRAY_BYTES = 1
"""Bytes at the end that begin no command and are taken for an end all the same, beside any number of zeros."""
KEPT_CUTS = 3
"""Files of what was cut off that are kept, the newest."""

RESTORE = "restore a backup into a new directory (kvd restore), or a copy of the directory"
"""What to do where nothing can be mended."""

_SUSPECT = ("HSET", "{kvd}:meta", "run", "", "synced", "0")
"""What has every daemon look for its last writes before the store counts as whole."""

_HEADER = re.compile(rb"([*$])(\d{1,10})\r\n")
_BEGUN_HEADER = re.compile(rb"(?:[*$]\d{0,10}\r?)?")
_COMMAND = re.compile(rb"\r\n\*\d+\r\n\$\d+\r\n[A-Za-z]+\r\n")


def cut_tail(
    binary: Path, aof: AppendOnlyFile, max_value: int, before: Callable[[], None], *, held_store: bool = False
) -> int:
    """Cut off an end that is incomplete; it is kept beside the file.

    binary: the engine's, which is its checker, too.  max_value: bytes of the longest value.  before: called before
    anything is cut.  held_store: whether a store must be left.  Returns how many bytes were cut, 0 if the file is
    whole.  Raises StartError if it is damaged otherwise.
    """
    cut = torn_bytes(binary, aof, max_value)
    if cut:
        if held_store and not aof.holds_store(less=cut):
            raise StartError(no_store_before(aof, cut))
        before()
        _cut(_tail(aof), cut)
    return cut


def mark_suspect(aof: AppendOnlyFile) -> None:
    """Have those who wrote before an end was cut off look for their last writes, when the engine has read the file.

    If one of them is gone, nobody knows of its writes.  To ask the engine for it would be too late for who is faster.
    Raises StartError if it cannot be written; then nothing is.
    """
    words = "".join([f"${len(word)}\r\n{word}\r\n" for word in _SUSPECT])
    mark = f"*{len(_SUSPECT)}\r\n{words}".encode()
    file = _tail(aof)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW), "ab", buffering=0) as tail:
            size = os.fstat(tail.fileno()).st_size
            if tail.write(mark) != len(mark):
                tail.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(tail.fileno())
    except OSError as error:
        raise StartError(f"cannot note in {file} that its end was cut off: {error.strerror or error}") from None


def torn_bytes(binary: Path, aof: AppendOnlyFile, max_value: int) -> int:
    """How many bytes `cut_tail` would cut off, as which it raises."""
    *others, tail = _commands(aof)
    for file in others:
        if _incomplete_bytes(binary, file) != 0:
            raise StartError(explain(binary, file))
    cut = _incomplete_bytes(binary, tail)
    if cut is None:
        raise StartError(unreadable(tail) if _begins_with_snapshot(tail) else damaged(tail))
    if cut > max(TAIL_BYTES, TAIL_VALUES * max_value) or not is_end(_last(tail, cut)):
        raise StartError(explain(binary, tail))
    return cut


def no_store_before(aof: AppendOnlyFile, cut: int) -> str:
    """Why an end is not cut off, without which no store would be left."""
    return (
        f"{_tail(aof)} is damaged, and that cannot be mended: its last {cut} bytes are no whole transaction, and what "
        f"comes before them is no store of kvd's; {RESTORE}"
    )


def _commands(aof: AppendOnlyFile) -> list[Path]:
    """The files that hold commands, up to the one in which they end."""
    files = [file for file in aof.files() if not _is_snapshot(file)] or [aof.single]
    end = aof.end()
    return files[: files.index(end) + 1] if end in files else files


def _tail(aof: AppendOnlyFile) -> Path:
    return _commands(aof)[-1]


def damaged(file: Path) -> str:
    """What is wrong with a file that the engine does not read, and of which its checker tells nothing."""
    return f"{file} is damaged, and not as a crash leaves it; {RESTORE}"


def unreadable(file: Path) -> str:
    """What is wrong with a file whose snapshot the engine does not read."""
    return (
        f"{file} is damaged in its snapshot (or a newer engine wrote it, which --engine names), and that cannot be "
        f"mended; {RESTORE}"
    )


def explain(binary: Path, file: Path) -> str:
    """What is wrong with a file that no crash left so, and what to do, in one line."""
    name, program = _quoted(file), _quoted(binary)
    return (
        f"{file} is damaged, and not as a crash leaves it, which --repair does not mend; {RESTORE}; "
        f"or keep what comes before the damage: "
        f"cp {name} {_quoted(Path(f'{file}.damaged'))} && "
        f'bash -c \'exec -a redis-check-aof "$0" --fix "$1"\' {program} {name}'
    )


def is_end(rest: bytes) -> bool:
    """Whether bytes that follow the last whole transaction are what a crash can leave there.

    That is the beginning of one more transaction, zeros where the file was made longer before it was written, or one
    after the other.  A length that was changed in the middle looks like a beginning, too, but takes in the commands
    that follow.  (A value cut off in the middle that itself contains such text is taken for that: then a person looks.)
    """
    rest = rest.rstrip(b"\0")
    if len(rest) <= STRAY_BYTES:
        return True
    place, arguments = 0, 0
    while place < len(rest):
        header = _HEADER.match(rest, place)
        if header is None:
            return _BEGUN_HEADER.fullmatch(rest, place) is not None
        if (header[1] == b"*") != (arguments == 0):
            return False
        place = header.end()
        if header[1] == b"*":
            arguments = int(header[2])
            continue
        end = place + int(header[2])
        if len(rest) < end + 2:
            return _COMMAND.search(rest, place) is None
        if rest[end : end + 2] != b"\r\n":
            return False
        place, arguments = end + 2, arguments - 1
    return True


def _cut(file: Path, size: int) -> None:
    """Move the last bytes of a file to one beside it.  Raises StartError if the file cannot be made shorter."""
    kept = _keep(file, size)
    try:
        with os.fdopen(os.open(file, os.O_RDWR | os.O_NOFOLLOW), "rb+") as whole:
            whole.truncate(whole.seek(0, os.SEEK_END) - size)
            os.fsync(whole.fileno())
    except OSError as error:
        raise StartError(f"cannot cut off the incomplete end of {file}: {error.strerror or error}") from None
    logger.warning(
        "the end of %s was incomplete, as a crash of the machine leaves it; its last %d bytes were %s",
        one_line(str(file)), size, f"moved to {kept}" if kept else "dropped: there is no disk space to keep them",
    )  # fmt: skip


def _keep(file: Path, size: int) -> str:
    """Copy the last bytes of a file to one beside it, the oldest of which go; its name, "" if the disk is full."""
    new = file.with_name(f"{file.name}.cut-{time.time_ns()}")
    older = sorted(file.parent.glob("*.cut-*"), key=lambda path: path.stat().st_mtime_ns)
    for old in older[: 1 - KEPT_CUTS]:
        old.unlink(missing_ok=True)
    # It is kept for a person to look at; a full disk must not keep the daemon from starting.
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as kept:
            kept.write(_last(file, size))
    except OSError:
        new.unlink(missing_ok=True)
        return ""
    return new.name


def _is_snapshot(file: Path) -> bool:
    """Whether the file is a snapshot, which has a checksum of its own that the engine looks at."""
    return file.suffix == ".rdb"


def _begins_with_snapshot(file: Path) -> bool:
    with file.open("rb") as begun:
        return begun.read(1) not in (b"", b"*")


def _last(file: Path, size: int) -> bytes:
    if not size:
        return b""
    with file.open("rb") as whole:
        whole.seek(-size, os.SEEK_END)
        return whole.read()


def _incomplete_bytes(binary: Path, file: Path) -> int | None:
    """How many bytes at the end are no whole transaction; None if the checker does not say.

    The engine's binary is also redis-check-aof, when it is called by that name.  It is given the parts one by one:
    some cannot check their own manifest.
    """
    if not file.exists() or file.stat().st_size == 0:  # which the checker refuses
        return 0
    if os.access(file, os.W_OK):
        said = _checker(binary, file)
    else:  # it opens what it only reads for writing, too
        import shutil
        import tempfile

        with tempfile.TemporaryDirectory(prefix="kvd-check-") as own:
            said = _checker(binary, Path(shutil.copyfile(file, Path(own, file.name))))
    found = re.search(r"diff=(\d+)", said)
    return int(found[1]) if found else None


def _checker(binary: Path, file: Path) -> str:
    return subprocess.run(  # noqa: S603
        ["redis-check-aof", file.name],  # noqa: S607
        # It prints the name that it is given, which is to hold nothing of the directory's.
        executable=binary, cwd=file.parent, capture_output=True, text=True, errors="replace", check=False,
    ).stdout  # fmt: skip


def _quoted(path: Path) -> str:
    """For a shell, in quotes in any case; in those of bash where a message could not hold it otherwise."""
    text = str(path)
    if text.isprintable():
        return "'" + text.replace("'", "'\\''") + "'"
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    if character.isprintable():
        return f"\\{character}" if character in "\\'" else character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))

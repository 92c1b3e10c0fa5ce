"""The command that changes a value in an editor: edit."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from kvd.cli import interrupts
from kvd.cli.command import Arguments, how
from kvd.cli.output import Output, say
from kvd.cli.status import CANNOT_RUN, UNWRITTEN, Failure, asking
from kvd.client import LARGEST_VALUE, Client, Conflict, Item, WatchOptions, connect
from kvd.errors import Denied

EDITORS = ("VISUAL", "EDITOR")
DEFAULT_EDITOR = "vi"


def prepare_edit(args: Arguments) -> None:
    """Fetch the value and let the person edit it, outside of an event loop.  Raises Failure."""
    import tempfile  # and what compresses: for this command alone

    found = interrupts.run(_fetch(args))
    old = found.value if found else b""
    try:
        name = tempfile.mkstemp(prefix="kvctl-", suffix=_suffix(args["<KEY>"]))[1]
        file = Path(name)
        _fill(file, old)
        _run_editor(file)
        with file.open("rb") as edited:
            new = edited.read(LARGEST_VALUE + 2)  # one too many also without the line end that is taken off below
    except OSError as error:
        raise Failure(UNWRITTEN, f"edit: cannot use a temporary file ({error.strerror})") from None
    if not old.endswith(b"\n") and new != old:
        new = new.removesuffix(b"\n")  # of the editor, which ends every line
    args["file"], args["found"] = file, found
    args["edited"] = None if new == old else new


def _suffix(key: str) -> str:
    """What tells an editor the kind of file, or "": others may have made up the key, and editors may be scripts."""
    suffix = PurePosixPath(key).suffix
    return suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,19}", suffix) else ""


def _fill(file: Path, value: bytes) -> None:
    try:
        file.write_bytes(value)
    except OSError:  # the disk is full
        file.unlink()
        raise


@contextmanager
def _left_to_the_editor() -> Iterator[None]:
    """Ctrl-C is for the editor, which is on the same terminal, and means something else by it."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGQUIT)}
    for number, handler in handlers.items():
        if handler != signal.SIG_IGN:  # which the editor inherits, and is to
            signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _run_editor(file: Path) -> None:
    editor = next((os.environ[name] for name in EDITORS if os.environ.get(name)), DEFAULT_EDITOR)
    try:
        words = shlex.split(editor)
        with _left_to_the_editor():
            status = subprocess.run([*words, str(file)], check=False).returncode  # noqa: S603
    except (OSError, ValueError) as error:
        file.unlink()
        raise Failure(CANNOT_RUN, f"edit: cannot run {editor!a} ({error}); VISUAL or EDITOR names another") from None
    if status:
        file.unlink()
        how_it_ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise Failure(CANNOT_RUN, f"edit: {editor!a} {how_it_ended}; nothing was changed")


async def _fetch(args: Arguments) -> Item | None:
    async with await connect(args["--addr"], reconnect=0, **how(args)) as kv:
        return await kv.gets(args["<KEY>"])


async def edit(args: Arguments, out: Output) -> None:
    """Write back what was edited.  Raises Failure, which says where that is kept."""
    file = args["file"]
    if args["edited"] is None:
        say("nothing was changed")
        file.unlink(missing_ok=True)
        return
    try:
        with asking(writing=True):
            revision = await _write_back(args)
    except Failure as failure:
        is_conflict = isinstance(failure.__cause__ or failure.__context__, Conflict)
        why = "the key was written meanwhile" if is_conflict else str(failure)
        raise Failure(failure.status, f"not written, for {why}; what you have edited is in {file}") from None
    with suppress(OSError):
        file.unlink()
    out.line(f"{revision}", key=args["<KEY>"], revision=revision)


async def _write_back(args: Arguments) -> int:
    key, found = args["<KEY>"], args["found"]
    async with await connect(args["--addr"], reconnect=0, **how(args)) as kv:
        ttl, owner = await _life(kv, key) if found else (None, None)
        return await kv.set(key, args["edited"], ttl=ttl, owner=owner, if_revision=found.revision if found else 0)


async def _life(kv: Client, key: str) -> tuple[float | None, str | None]:
    """How long the key lives: seconds, or the key that it lives with, which only those are told who may watch it."""
    with suppress(Denied):
        async with kv.sync(key, options=WatchOptions(values=False, lifetimes=True)) as watch:
            item = watch.copy.items.get(key) if watch.copy else None
            ttl, owner = (item.ttl, item.owner) if item else (None, None)
            return max(ttl, 0.001) if ttl is not None else None, owner
    left = await kv.ttl(key)
    return None if left is None or left == float("inf") else max(left, 0.001), None

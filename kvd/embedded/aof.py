"""The append-only file of a data directory, in either of its forms.

Redis 6.2 keeps one file, appendonly.aof.  Redis 7 and Valkey keep parts in appendonlydir/: a base, which each rewrite
makes anew, and increments, of which the last one grows; a manifest lists them.  They move a file of the first form in
there at their first start, and a 6.2 that finds the second form would begin an empty file beside it: so both forms,
and what the manifest says, are looked at before any engine is started.
"""

import fcntl
import hashlib
import mmap
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kvd.errors import StartError

NAME = "appendonly.aof"
PARTS = "appendonlydir"

ANEW = "to begin anew with an empty store, remove all files there, or choose another --data DIR"

_FS_IOC_GETVERSION = 0x80087601
"""Linux's ioctl for a file's generation (linux/fs.h)."""
_MANIFEST_LINE = re.compile(rf"file ({re.escape(NAME)}[.0-9a-z]*) seq [1-9]\d{{0,18}} type ([bih])(?: .*)?")
_INCREMENT_NAME = re.compile(rf"{re.escape(NAME)}\.(\d+)\.incr\.aof")
_BASE, _HISTORY, _INCREMENT = "b", "h", "i"
_META = b"\n{kvd}:meta"
"""What a file has of kvd's in it, as a command (after the end of a line) and in a snapshot (after the key's length)."""
_WRITER = re.compile(rb"(redis|valkey)-ver.(\d+(?:\.\d+)+)", re.DOTALL)
_HEADER_BYTES = 200
"""Of a base in the snapshot's format; the name and version of its writer are at its beginning."""


class Part(NamedTuple):
    """One file that the manifest lists, in the order in which they are loaded."""

    path: Path
    kind: str


class AppendOnlyFile:
    """That of one data directory; nothing is kept of it but where it is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.single = directory / NAME
        self._parts = directory / PARTS
        self.manifest = self._parts / f"{NAME}.manifest"

    def exists(self) -> bool:
        """Whether there is any of it."""
        return self.single.exists() or self.in_parts()

    def place(self) -> str:
        """Where it is, or may be if there is none.  Raises StartError if the manifest is damaged."""
        return str(self.tail()) if self.exists() else f"{self.single} or {self._parts}/"

    def is_empty(self) -> bool:
        """Whether there is none of it, or nothing in it."""
        return all(not file.exists() or file.stat().st_size == 0 for file in self.files())

    def holds_store(self, less: int = 0) -> bool:
        """Whether a store of kvd's is in it, also without so many bytes at the end.  Reads files.

        Raises StartError if the manifest is damaged, OSError.
        """
        end = self.end()
        return any(_has_meta(file, less if file == end else 0) for file in self.files() if file.exists())

    def in_parts(self) -> bool:
        """Whether it has the form of Redis 7 and Valkey."""
        return self.manifest.exists() or any(self._parts.glob(f"{NAME}.*"))

    def files(self) -> list[Path]:
        """Its files in the order in which they are loaded.  Raises StartError if the manifest is damaged."""
        if not self.in_parts():
            return [self.single] if self.single.exists() else []
        return [part.path for part in self._listed()]

    def tail(self) -> Path:
        """The file that grows.  Raises StartError if the manifest is damaged."""
        files = self.files()
        return files[-1] if files else self.single

    def end(self) -> Path:
        """The file in which it ends: the last one with something in it.  Raises StartError if the manifest is damaged.

        A rewrite begins with an empty file that is to grow, and it may be the one before that which is not synced yet.
        """
        files = [file for file in self.files() if file.suffix != ".rdb"]
        return next((file for file in reversed(files) if file.exists() and file.stat().st_size), self.tail())

    def temporary(self) -> list[Path]:
        """Parts that an engine that was killed had begun to write."""
        return list(self._parts.glob("temp-*"))

    def check(self) -> None:
        """See that it is of one form and complete.  Raises StartError that says what is wrong."""
        if not self.in_parts():
            return
        if not self.manifest.exists():
            raise StartError(self._incomplete(f"{self.manifest} is missing"))
        missing = [part.path.name for part in self._listed() if not part.path.exists()]
        if missing:
            raise StartError(self._incomplete(f"{missing[0]}, which {self.manifest} lists, is missing"))
        if self.single.exists() and self.single not in self.files():
            raise StartError(
                f"{self._directory} holds an append-only file in two forms, {NAME} and {PARTS}/: two engines have "
                "written to it; move the one away that is not wanted"
            )
        if unlisted := self._unlisted():
            raise StartError(self._incomplete(f"{self.manifest} does not list {unlisted}, which was written later"))

    def _unlisted(self) -> str:
        """An increment with something in it that is newer than all that the manifest lists, "" if there is none.

        The manifest is older than what it lies with, or has lost a line.  The engine would begin that file anew.
        """
        last = max((_sequence(part.path) for part in self._listed()), default=0)
        newer = [file for file in self._parts.glob(f"{NAME}.*.incr.aof") if _sequence(file) > last]
        return next((file.name for file in newer if file.stat().st_size), "")

    def writer(self) -> tuple[str, str]:
        """The name and version of the engine that wrote the base, two empty strings if that does not say."""
        for file in self.files()[:1]:
            with suppress(OSError), file.open("rb") as base:
                if found := _WRITER.search(base.read(_HEADER_BYTES)):
                    return found[1].decode().capitalize(), found[2].decode()
        return "", ""

    def fingerprint(self) -> str:
        """What no other append-only file has, nor this one when it is longer; "" if there is none."""
        try:
            files = self.files()
        except StartError:
            return "damaged"
        if self.in_parts():
            files.append(self.manifest)
        sizes = " ".join(f"{identity(file)}:{file.stat().st_size}" for file in files if file.exists())
        # Of many parts, something short: the record that it goes into has a fixed length.
        return hashlib.blake2b(sizes.encode(), digest_size=16).hexdigest() if len(files) > 1 else sizes

    def _listed(self) -> list[Part]:
        """What the manifest lists, but for what a rewrite has replaced.  Raises StartError if it is damaged."""
        try:
            text = self.manifest.read_bytes().decode()
        except FileNotFoundError:
            return []
        except UnicodeDecodeError:
            text = "damaged"
        *lines, rest = text.split("\n")
        found = [_MANIFEST_LINE.fullmatch(line) for line in lines if not line.startswith("#")]
        parts = [Part(self._where(line[1]), line[2]) for line in found if line and line[2] != _HISTORY]
        # As each engine writes it: a base, and what was appended since then.
        kinds = "".join(part.kind for part in parts)
        if rest or None in found or kinds != _BASE + _INCREMENT * (len(kinds) - 1):
            raise StartError(self._incomplete(f"{self.manifest} is empty or damaged"))
        return parts

    def _where(self, name: str) -> Path:
        """Where a part is.  An engine that died while it moved a file of the first form goes on with that."""
        path = self._parts / name
        return self.single if name == NAME and not path.exists() else path

    def _incomplete(self, what: str) -> str:
        return (
            f"the append-only file in {self._directory} is not complete: {what}; restore a copy of the directory; "
            f"{ANEW}"
        )


def _sequence(path: Path) -> int:
    """The number of an increment, 0 of another file."""
    found = _INCREMENT_NAME.fullmatch(path.name)
    return int(found[1]) if found else 0


def _has_meta(path: Path, less: int) -> bool:
    size = path.stat().st_size - less
    if size <= 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(_META, 0, size) >= 0


def identity(path: Path) -> str:
    """What no other file has, nor one that is made when this one is gone; "" if there is none.

    The number of an inode is used again, with another generation; not every file system tells that one.
    """
    try:
        with path.open("rb") as file:
            generation = bytearray(8)
            with suppress(OSError):
                fcntl.ioctl(file, _FS_IOC_GETVERSION, generation)
            return f"{os.fstat(file.fileno()).st_ino}:{int.from_bytes(generation, 'little')}"
    except FileNotFoundError:
        return ""

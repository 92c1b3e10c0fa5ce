"""How many files, and so connections, this process may have open."""

import resource
from contextlib import suppress

from kvd.errors import StartError

RESERVE = 64
"""Descriptors that are kept for the daemon's own needs: its log, the store's connections, pipes to its children, and
connections that are being refused.  It has about 25 open, and some more while it starts a child."""
FEW = 1000
"""Connections; a limit that allows no more is worth a warning."""
REMEDY = "for more, raise it: ulimit -n, or LimitNOFILE= in systemd's unit"
UNLIMITED = 1 << 20
"""What is asked for where there is no limit: some kernels refuse to set none."""


def raise_limit() -> None:
    """Raise this process's limit, and that of its children, as far as it may without being root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = UNLIMITED if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS refuses more than the kernel's own limit, which it does not tell here.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check() -> None:
    """See that there may be connections at all.  Raises StartError."""
    if connections() < 1:
        raise StartError(
            f"the limit of open files leaves none for connections: it is {connections() + RESERVE}, and kvd itself "
            f"needs {RESERVE}; {REMEDY}"
        )


def connections() -> int:
    """How many connections there may be, beside what the daemon itself needs."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (UNLIMITED if soft == resource.RLIM_INFINITY else soft) - RESERVE

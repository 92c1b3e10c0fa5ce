"""What the log is told of peers: no more than a few lines a minute, whatever they do."""

import logging
from typing import NamedTuple

from kvd.process.limited_log import LimitedLog

logger = logging.getLogger("kvd.session")


class Complaints(NamedTuple):
    """One of each kind for all sessions.  closed, limited: take a peer and why.  lost: takes a peer and the error."""

    closed: LimitedLog
    lost: LimitedLog
    limited: LimitedLog

    @classmethod
    def new(cls) -> "Complaints":
        """With nothing written yet."""
        return cls(
            LimitedLog(
                logger, logging.WARNING, "closed the connection of %s: %s", "connections were closed for what they sent"
            ),
            LimitedLog(logger, logging.DEBUG, "lost %s: %s", "connections were lost"),
            LimitedLog(logger, logging.WARNING, "ended the connection of %s: %s", "connections were ended for a limit"),
        )

    def flush(self) -> None:
        """Write what was only counted."""
        for kind in self:
            kind.flush()

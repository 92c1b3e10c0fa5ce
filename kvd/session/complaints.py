"""What the log is told of peers: no more than a few lines a minute, whatever they do."""

import logging
from typing import NamedTuple

from kvd.process.limited_log import LimitedLog

logger = logging.getLogger("kvd.session")


class Complaints(NamedTuple):
    """One of each kind for all sessions: each takes a peer and what there is to say, and what goes with it.

    closed, limited, kicked: why a connection ended.  lost: the error.  watches: what became of a watch.
    refused: a word of a refusal that is not the request's own fault, and its text.
    """

    closed: LimitedLog
    lost: LimitedLog
    limited: LimitedLog
    kicked: LimitedLog
    watches: LimitedLog
    refused: LimitedLog

    @classmethod
    def new(cls) -> "Complaints":
        """With nothing written yet."""
        return cls(
            LimitedLog(
                logger, logging.WARNING, "closed the connection of %s: %s", "connections were closed for what they sent"
            ),
            LimitedLog(logger, logging.DEBUG, "lost %s: %s", "connections were lost"),
            LimitedLog(logger, logging.WARNING, "ended the connection of %s: %s", "connections were ended for a limit"),
            LimitedLog(logger, logging.INFO, "ended the connection of %s: %s", "connections were ended by KICK"),
            LimitedLog(logger, logging.INFO, "the watch of %s %s", "watches were set aside or ended"),
            LimitedLog(logger, logging.INFO, "refused a request of %s: %s", "requests were refused"),
        )

    def flush(self) -> None:
        """Write what was only counted."""
        for kind in self:
            kind.flush()

"""A note on disk of where a store was when the last daemon on it ended in order.

The daemon's memory ends with it; when the store, and the machine perhaps, is started anew as well, the note tells
that nothing was lost.  While a daemon runs there is none.
"""

import json
import logging
import os
from pathlib import Path

from kvd.model import Position
from kvd.store.redis.attach import End

logger = logging.getLogger("kvd.store")

NAME = "store-end"


class EndNote:
    """The note in one directory, which is made if need be; None: there is no place for one."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def read(self) -> End | None:
        """What is noted, None if nothing is, or nothing that makes sense."""
        if self._directory is None:
            return None
        try:
            noted = json.loads((self._directory / NAME).read_text())
            position = Position(int(noted["revision"]), noted["store"].encode())
            return End(position, noted["tag"].encode())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None

    def forget(self) -> None:
        """From now on it would tell too little."""
        if self._directory is not None:
            try:
                (self._directory / NAME).unlink(missing_ok=True)
            except OSError as error:
                # It vouches for less than there was, but for nothing wrong.
                logger.warning("cannot remove %s: %s", self._directory / NAME, error.strerror)

    def write(self, end: End | None) -> None:
        """Note an end, if it is known."""
        if self._directory is None or end is None:
            return
        noted = {"store": end.position.store.decode(), "revision": end.position.revision, "tag": end.tag.decode()}
        begun = self._directory / f"{NAME}.{os.getpid()}"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(begun, flags, 0o600), "w") as file:
                file.write(json.dumps(noted))
                file.flush()
                os.fsync(file.fileno())
            begun.replace(self._directory / NAME)
        except OSError as error:
            logger.warning("cannot note the store's end in %s: %s", self._directory, error.strerror)

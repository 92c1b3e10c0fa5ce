"""A note on disk that a store may answer before it has synced.

What the store's data say of that may be lost with the end of its append-only file; with the file turned off, nothing
that is noted there is in what the store comes back from.
"""

import logging
import os
from pathlib import Path

logger = logging.getLogger("kvd.store")

NAME = "store-unsynced"


class UnsyncedMark:
    """The note in one directory, which is made if need be; None: there is no place for one, and it is only known here.

    is_set: whether the store has answered before it had synced, at least since it was last known to have all synced.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self.is_set = directory is not None and os.path.lexists(directory / NAME)

    def put(self, *, is_set: bool) -> None:
        """Note whether it does."""
        if is_set == self.is_set:
            return
        self.is_set = is_set
        if self._directory is not None:
            try:
                self._keep(self._directory)
            except OSError as error:
                logger.warning("cannot note in %s whether the store syncs: %s", self._directory, error.strerror)

    def _keep(self, directory: Path) -> None:
        """Raises OSError."""
        if self.is_set:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(directory / NAME, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        else:
            (directory / NAME).unlink(missing_ok=True)
        # It is of use when the machine of both loses power.
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

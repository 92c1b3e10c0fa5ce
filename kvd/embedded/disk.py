"""Limits of the disk that nothing shows beforehand (a quota, a disk that fails), known from how the server ended.

With `appendfsync always` a server that cannot write to its append-only file ends itself, and would at the next write
again.  So from then on the disk counts as full, until some bytes are really written: tried, again and again.
"""

import asyncio
import logging
import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

log = logging.getLogger("kvd.embedded")

PROBE = "probe"
PROBE_BYTES = 1024 * 1024
"""What is written to try the disk: some batches of writes, and
PROBE_SHARE: under a low limit on the size of files at the most this part of it."""
PROBE_SHARE = 8
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between tries; the pause doubles up to the longest each time that a server ends in the same way although a
try went well less than
LONG_ENOUGH: seconds before."""
LONG_ENOUGH = 300.0


class Disk:
    """Whether a directory's disk takes writes.  `close` it.

    refusal: int, a pipe; there is something to read in it, which nobody does, while the disk takes none.
    """

    def __init__(self, directory: Callable[[], Path]) -> None:
        """directory: gives it, once it is known."""
        self._directory = directory
        self.refusal, self._refusing = os.pipe()
        self._trying: asyncio.Task[None] | None = None
        self._pause = FIRST_PAUSE
        self._well_since = -LONG_ENOUGH

    def refuse(self, reason: str) -> None:
        """A server has ended because it could not write."""
        if self._trying is None or self._trying.done():
            again = time.monotonic() - self._well_since < LONG_ENOUGH
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if again else FIRST_PAUSE
            os.write(self._refusing, b"x")
            log.error("the store's disk takes no writes (%s); they are refused until it does", reason)
            self._trying = asyncio.create_task(self._try())

    async def _try(self) -> None:
        reason = "x"
        while reason:
            await asyncio.sleep(self._pause)
            reason = await asyncio.to_thread(self._write)
            log.debug("the disk was tried: %s", reason or "it takes writes")
        self._well_since = time.monotonic()
        os.read(self.refusal, 1)
        log.info("the store's disk takes writes again")

    def _write(self) -> str:
        """Try to write; why that failed, "" if it did not."""
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        probe = self._directory() / PROBE
        size = PROBE_BYTES if limit == resource.RLIM_INFINITY else min(PROBE_BYTES, limit // PROBE_SHARE + 1)
        try:
            with open(probe, "xb", buffering=0, opener=partial(os.open, mode=0o600)) as file:
                # What cannot be compressed; written as a whole, or not at all.
                left = os.urandom(size)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
        except OSError as error:
            return error.strerror or str(error)
        finally:
            with suppress(OSError):
                probe.unlink()
        return ""

    async def close(self) -> None:
        """Try no more."""
        if self._trying:
            self._trying.cancel()
            await asyncio.gather(self._trying, return_exceptions=True)
        for end in (self.refusal, self._refusing):
            os.close(end)

"""Limits of the disk that nothing shows beforehand (a quota, a disk that fails), known from how the server ended.

With `appendfsync always` a server that cannot write to its append-only file ends itself, and would at the next write
again.  So from then on the disk counts as full, until some bytes are really written: tried, again and again.
"""

import asyncio
import errno
import logging
import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from kvd.backoff import Backoff

logger = logging.getLogger("kvd.embedded")

PROBE = "probe"
PROBE_BYTES = 1024 * 1024
"""What is written to try a disk that took no writes: some batches of them, and
START_BYTES: at the start, to find a disk on which nothing more can be written, and
PROBE_SHARE: under a low limit on the size of files at the most this part of it."""
START_BYTES = 64 * 1024
PROBE_SHARE = 8
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between tries; longer ones each time that a server ends in the same way although a try went well less than
LONG_ENOUGH: seconds before."""
LONG_ENOUGH = 300.0
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk that is full, or a limit; any other reason why nothing can be written is for a person, and
NO_SPACE_TEXTS: what the system says of them."""
NO_SPACE_TEXTS = [os.strerror(number) for number in NO_SPACE]


class Disk:
    """Whether a directory's disk takes writes.  `close` it.

    refusal: int, a pipe; there is something to read in it, which nobody does, while the disk takes none.
    """

    def __init__(self, directory: Callable[[], Path]) -> None:
        """directory: gives it, once it is known."""
        self._directory = directory
        self.refusal, self._refusing = os.pipe()
        self._trying: asyncio.Task[None] | None = None
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._well_since = -LONG_ENOUGH

    async def look(self) -> None:
        """Try it once, when a server is about to be started."""
        reason = await asyncio.to_thread(self._write, START_BYTES)
        if reason in NO_SPACE_TEXTS:
            self.refuse(reason)

    def refuse(self, reason: str) -> None:
        """A server has ended because it could not write."""
        if self._trying is None or self._trying.done():
            if time.monotonic() - self._well_since >= LONG_ENOUGH:
                self._backoff.reset()
            os.write(self._refusing, b"x")
            logger.error("the store's disk takes no writes (%s); they are refused until it does", reason)
            self._trying = asyncio.create_task(self._try(self._backoff.next()))

    async def _try(self, pause: float) -> None:
        await asyncio.sleep(pause)
        if reason := await asyncio.to_thread(self._write, PROBE_BYTES):
            logger.warning("the store's disk was tried: %s", reason)
        while reason:
            await asyncio.sleep(pause)
            reason = await asyncio.to_thread(self._write, PROBE_BYTES)
        self._well_since = time.monotonic()
        os.read(self.refusal, 1)
        logger.info("the store's disk takes writes again")

    def _write(self, size: int) -> str:
        """Try to write so many bytes; why that failed, "" if it did not."""
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        probe = self._directory() / PROBE
        if limit != resource.RLIM_INFINITY:
            size = min(size, limit // PROBE_SHARE + 1)
        try:
            with open(probe, "xb", buffering=0, opener=partial(os.open, mode=0o600)) as file:
                # What cannot be compressed.
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

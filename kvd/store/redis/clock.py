"""The store's clock, by which times to live are measured.

It is that of the store's machine for as long as this goes forward.  If it is set back, the store's clock is ahead of
it, and goes on with the time that passes here: each daemon knows when it last saw the clock, and how much has passed
since.  Scripts are given what it is by that, and take the latest of this, their machine's clock and the one that is
kept.  Daemons of one machine, also those that come later, share where they last saw it: the store keeps that, too.
"""

import logging
import secrets
import time
from contextlib import suppress
from pathlib import Path

from kvd.errors import StoreLost
from kvd.store.redis.connection import META, Argument, Connection, Rejected, command

logger = logging.getLogger("kvd.store")

SLOWER = 1000
"""One part in so many of the time that passes here is left out, as in clock.lua.  Clocks of two machines differ by
less, so that ours does not get ahead of one that was not set back, and keys do not end early."""
JUMP = 1000
"""Milliseconds beyond which a difference is told as a jump."""
MILLISECOND = 1_000_000
"""Nanoseconds."""

_SOURCE = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Counts, where it can, also while the machine is suspended."""


def elapsed() -> int:
    """Nanoseconds that have passed on this machine since some beginning."""
    return time.clock_gettime_ns(_SOURCE)


def _beginning() -> str:
    """A name for what `elapsed` counts from.  Where that cannot be known, no two processes have the same."""
    with suppress(OSError):
        # A container may have a time of its own.
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/time').readlink()}"
    return secrets.token_hex(8)


BEGINNING = _beginning().encode()


class Clock:
    """The store's clock in milliseconds, as far as this daemon knows.  It never goes back, and never stands still."""

    def __init__(self) -> None:
        # What it was when it was last seen, and when that was.
        self._seen, self._at = 0, elapsed()
        self._latest = 0
        self._comparable = False
        # How much later than that it may have been then, in milliseconds.
        self._late = 0
        self._ahead, self._checked = 0, self._at

    @property
    def now(self) -> int:
        """What it is now."""
        at = elapsed()
        now = _later(self._seen, at - self._at)
        if now < self._latest:
            # The time that passes was set back, which only those do who play with it.
            self._seen, self._at, now = self._latest, at, self._latest
        self._latest = now
        return now

    def see(self, reading: int, asked: int | None = None) -> None:
        """Take a reading, 0 if there was none.  It may be late, but not early.

        asked: when it was asked for, by `elapsed`: not earlier it was made.  The first one is to say so, for those that
        follow are compared with it.
        """
        is_first = reading > 0 and not self._comparable
        self._advance(reading)
        if is_first:
            # What the store keeps of the clock may be as old as its last write, and is none.
            self._comparable = True
            self._late = (elapsed() - asked) // MILLISECOND if asked else 0

    def _advance(self, reading: int) -> None:
        gap = reading - self.now
        if gap <= 0:
            return
        at = elapsed()
        if self._comparable and gap > self._late + _tolerance(at - self._at):
            logger.warning("the store's clock went forward by %.1f s: keys may expire early by as much", gap / 1000)
            # Its machine's has overtaken it.
            self._ahead = 0
        self._late = max(self._late - gap, 0)
        self._latest, self._seen, self._at = reading, reading, at

    def check(self, machine: int, store: int) -> None:
        """Take a reading of the clock of the store's machine and, of the same moment, of the store's."""
        self.see(store)
        at, ahead = elapsed(), store - machine
        step = ahead - self._ahead
        if abs(step) > _tolerance(at - self._checked):
            logger.warning(
                "the clock of the store's machine went %s by %.1f s; it is %.1f s behind the store's, which goes on "
                "with the time that passes", "back" if step > 0 else "forward", abs(step) / 1000, ahead / 1000,
            )  # fmt: skip
        self._ahead, self._checked = ahead, at

    def place(self) -> list[Argument]:
        """What clock.lua takes: where we last saw the clock, and what it is now."""
        return [BEGINNING, self._at, self._seen, self.now]

    async def resume(self, connection: Connection) -> None:
        """Go on from what the store keeps.  Raises StoreLost."""
        try:
            kept, place = await connection.call(command("HMGET", META, "clock", "elapsed"))
        except Rejected as error:
            raise StoreLost(str(error)) from None
        self.join(place)
        self._advance(int(kept or 0))

    def join(self, place: bytes | None) -> None:
        """Go on from where a daemon last saw the clock, if that was on this machine, and is later than what we know."""
        beginning, at, seen = (place or b" 0 0").split(b" ")
        if beginning != BEGINNING or int(at) > (now := elapsed()):
            return
        if _later(int(seen), now - int(at)) > self.now:
            self._seen, self._at = int(seen), int(at)
        self._comparable = True


def _later(clock: int, passed: int) -> int:
    return clock + (passed - passed // SLOWER) // MILLISECOND


def _tolerance(passed: int) -> int:
    """How much two readings that are so far apart may differ without a jump, in milliseconds."""
    return JUMP + 2 * passed // SLOWER // MILLISECOND

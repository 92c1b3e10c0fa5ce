"""When those that are sent away are to come back: not all of a crowd in the same moment."""

import random

SOONEST = 0.1
"""Seconds: a daemon that is started again listens no sooner."""
SERVED = 1000
"""Clients a second that one process takes back well: a SYNC or a RESUME of one takes half a millisecond or more."""
LONGEST = 5.0
"""Seconds over which a crowd is spread at the most: who comes later is away for longer than a restart takes."""


def retry_hint(crowd: int) -> str:
    """The word `retry=SECONDS` for one of a crowd, chosen at random, from a time that grows with the crowd."""
    return f"retry={random.uniform(SOONEST, SOONEST + min(LONGEST, crowd / SERVED)):.3f}"  # noqa: S311  # no secret

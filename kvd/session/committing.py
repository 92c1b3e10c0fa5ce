"""COMMIT: transactions go to the store, again where it could not say yet whether what they demand holds."""

import asyncio

from kvd.errors import Unavailable
from kvd.model import AGAIN, Outcome
from kvd.requests import Transaction
from kvd.store.api import Store

PAUSE = 0.02
"""Seconds between two attempts: several steps of the sweep, which clears what is in the way."""
PATIENCE = 10.0
"""Seconds for which to go on."""


async def commit(store: Store, transaction: Transaction, size: int) -> Outcome:
    """Do all of a transaction, or nothing; the outcome.  Raises Unavailable, Uncertain.

    size: int, bytes of values.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + PATIENCE
    while (outcome := await store.transact(transaction, size)) == AGAIN:
        if loop.time() > give_up:
            raise Unavailable("too many keys whose time is over are in the way of a CHECK; nothing was done; try again")
        await asyncio.sleep(PAUSE)
    return outcome

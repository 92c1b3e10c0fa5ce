"""Turns of logins whose passwords have to be hashed, which few can at once: addresses take turns.

So one that sends logins of many users at once, each of which is the first of its user and is not slowed down, delays
others behind the same address, and nobody elsewhere by more than the hashes that are being made.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """So many places, for which addresses wait."""

    def __init__(self, places: int) -> None:
        self._free = places
        # The address whose turn comes next is the first.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def of(self, address: str) -> AsyncIterator[None]:
        """Have a place.  Who waits for one is not to be cancelled but when all are, at the end."""
        if self._free:
            self._free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(address, deque()).append(turn)
            await turn
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            address, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[address] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

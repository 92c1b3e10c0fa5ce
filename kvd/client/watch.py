"""A watch: a connection that changes come on."""

from typing import Self

from kvd.client.connection import CONNECT_TIMEOUT, Connection
from kvd.client.errors import WatchEnded
from kvd.client.words import Event, checked_pattern, read_event


class Watch:
    """The changes to keys that match, each once, in the order of their revisions.

        async with Watch("127.0.0.1:5830", "lock/*") as changes:
            async for event in changes:
                ...

    It has a connection of its own, which is read no faster than the changes are taken.

    position: str, what the daemon answered; every later change comes.

    Entering it raises what `connect` does, and Refusal; taking a change, WatchEnded and ConnectionLost.
    """

    def __init__(self, address: str, *patterns: str, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        self.position = ""
        self._address, self._connect_timeout = address, connect_timeout
        self._request = " ".join(("WATCH", *map(checked_pattern, patterns)))

    async def __aenter__(self) -> Self:
        self._connection = await Connection.open(self._address, self._connect_timeout)
        self.position = (await self._connection.begin(self._request)).text.decode()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        word, text = await self._connection.find((b"CHANGE", b"END"))
        if word == b"CHANGE":
            return read_event(text)
        self._connection.abort()  # nothing follows: to wait for it would be for ever
        raise WatchEnded(*text.decode().split(" ", 2))

"""A live copy, for asyncio."""

from typing import Self

from kvd.client import arguments
from kvd.client.arguments import Seconds
from kvd.client.mirroring import Mirrored
from kvd.client.tasks import TaskFace


class Mirror(Mirrored):
    """A mapping of the keys that match to their values, which is kept up to date through restarts and lost connections.

        async with Mirror("127.0.0.1:5830", "config/*") as config:
            print(config["config/colour"])

    Entering it waits for the first copy, and raises Unreachable if no daemon answers.  Reading it asks nobody.  It is a
    little behind the store: `reach` waits until it is as far as somewhere.

    Arguments are those of `Mirrored`.
    """

    _face = TaskFace

    async def __aenter__(self) -> Self:
        await self._mirroring.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Keep it up to date no longer; what was there stays."""
        await self._mirroring.close()

    async def reach(self, position: int | str, timeout: Seconds | None = None) -> None:  # noqa: ASYNC109
        """Wait until it has all changes up to a revision or position; raise TimeoutError, ConnectionLost."""
        await self._mirroring.reach(arguments.place(position), arguments.patience_or_none(timeout, "timeout"))

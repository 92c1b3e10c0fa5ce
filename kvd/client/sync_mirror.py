"""A live copy, for the synchronous face."""

from typing import Self

from kvd.client import arguments
from kvd.client.arguments import Seconds
from kvd.client.faces import run
from kvd.client.mirroring import Mirrored
from kvd.client.threads import ThreadFace


class Mirror(Mirrored):
    """A mapping of the keys that match to their values, which is kept up to date through restarts and lost connections.

        with Mirror("127.0.0.1:5830", "config/*") as config:
            print(config["config/colour"])

    Entering it waits for the first copy, and raises Unreachable if no daemon answers.  Reading it asks nobody; a thread
    of its own keeps it up to date.  It is a little behind the store: `reach` waits until it is as far as somewhere.

    Arguments are those of `Mirrored`.
    """

    _face = ThreadFace

    def __enter__(self) -> Self:
        run(self._mirroring.open())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Keep it up to date no longer; what was there stays."""
        run(self._mirroring.close())

    def reach(self, position: int | str, timeout: Seconds | None = None) -> None:
        """Wait until it has all changes up to a revision or position; raise TimeoutError, ConnectionLost."""
        run(self._mirroring.reach(arguments.place(position), arguments.patience_or_none(timeout, "timeout")))

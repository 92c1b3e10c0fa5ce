"""Where the primary is, and what speaks against it."""

from typing import NamedTuple, Protocol

Address = tuple[str, int]


class Primary(NamedTuple):
    """What those who watch over the primary say of it.

    replicas: int, how many are known, also those that are away.
    doubt: why it may be none any more, or soon; "" if nothing speaks against it.
    patience: float, seconds after which those who watch over it take it for dead.
    is_agreed: whether all who watch over it have answered, and know as many replicas; of none they may not know yet.
    """

    address: Address
    replicas: int
    doubt: str
    patience: float
    is_agreed: bool

    def __str__(self) -> str:
        return shown(self.address)


class Witnesses(Protocol):
    """Those who watch over it."""

    async def find(self) -> Primary:
        """What they say now.  Raises StoreLost if those who answer are no majority, or know no primary."""

    async def check(self) -> None:
        """Whether they are set up to keep their word.  Raises StoreLost, StoreUnusable."""

    async def close(self) -> None:
        """Ask no longer."""


def shown(address: Address) -> str:
    """An address for people."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

"""Transactions of both faces: done when the `with` ends."""

from types import TracebackType
from typing import Self

from kvd.client.calling import Calling
from kvd.client.faces import run
from kvd.client.transaction import Transaction, request_of


class TaskTransaction(Transaction):
    """A transaction; made by `Client.transaction`."""

    def __init__(self, calling: Calling) -> None:
        super().__init__()
        self._calling = calling

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is None:
            self.revision = await self._calling.ask(request_of(self))


class ThreadTransaction(Transaction):
    """A transaction; made by `Client.transaction`."""

    def __init__(self, calling: Calling) -> None:
        super().__init__()
        self._calling = calling

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is None:
            self.revision = run(self._calling.ask(request_of(self)))

"""Both faces of the Python client under one hand: the synchronous one with asyncio's manners, each call in a thread."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from kvd import client
from kvd.client import sync
from kvd.client.transaction import Transaction

END = object()
MAKES = ("watch", "resume", "sync", "follow", "transaction", "lease", "lock", "election")
LISTS = ("keys", "list", "ask_all", "holders")

Connect = Callable[..., Awaitable[Any]]


class InThreads:
    """Something of the synchronous face, as asyncio's would be."""

    def __init__(self, one: Any) -> None:
        self._one = one

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._one, name)
        if not callable(found):
            return found
        if name in MAKES:
            return lambda *words, **options: InThreads(found(*words, **options))
        if name == "mirror":
            return lambda *words: MirrorInThreads(found(*words))
        if name == "fence":
            return found
        if name in LISTS:
            return lambda *words, **options: _listed(found(*words, **options))
        return lambda *words, **options: asyncio.to_thread(found, *words, **options)

    async def __aenter__(self) -> Any:
        await asyncio.to_thread(self._one.__enter__)
        return self._one if isinstance(self._one, Transaction) else self

    async def __aexit__(self, *why: object) -> None:
        await asyncio.to_thread(self._one.__exit__, *why)

    def __aiter__(self) -> "InThreads":
        return self

    async def __anext__(self) -> Any:
        return await asyncio.to_thread(next, self._one)


class MirrorInThreads(Mapping[str, bytes]):
    """A mirror of the synchronous face, as asyncio's would be."""

    def __init__(self, mirror: sync.Mirror) -> None:
        self._mirror = mirror
        self.item, self.items, self.values, self.snapshot = mirror.item, mirror.items, mirror.values, mirror.snapshot  # type: ignore[method-assign]

    @property
    def position(self) -> str:
        return self._mirror.position

    def __getitem__(self, key: str) -> bytes:
        return self._mirror[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mirror)

    def __len__(self) -> int:
        return len(self._mirror)

    async def __aenter__(self) -> "MirrorInThreads":
        await asyncio.to_thread(self._mirror.__enter__)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await asyncio.to_thread(self._mirror.close)

    async def reach(self, position: int | str, seconds: float | None = None) -> None:
        await asyncio.to_thread(self._mirror.reach, position, seconds)


async def _listed(items: Any) -> AsyncIterator[Any]:
    while (item := await asyncio.to_thread(next, items, END)) is not END:
        yield item


async def connect_in_threads(*words: Any, **options: Any) -> InThreads:
    return InThreads(await asyncio.to_thread(sync.connect, *words, **options))


FACES: dict[str, Connect] = {"asyncio": client.connect, "threads": connect_in_threads}

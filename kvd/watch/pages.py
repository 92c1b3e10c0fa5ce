"""Pages of the store's keys for copies: one that several need is rendered once, unless it has times to live."""

import asyncio
from typing import NamedTuple

from kvd.model import PLAIN, Form, Position
from kvd.store.api import Store
from kvd.watch.hub import Hub
from kvd.watch.rendering import pair

KEPT_BYTES = 2 * 1024 * 1024
"""Bytes of the latest pages that are kept, for copies that follow close on each other."""
PAGE_BYTES = 500
"""Memory of a page that is kept beyond its lines and the keys that name it, of which a pattern of no keys has all."""
KEPT_CHANGES = 2000
"""Changes after which a page is read anew: each that is of one of its keys has to be sent, too."""


_Name = tuple[bytes, bytes, Form]
"""A pattern, the key after which the page begins, and the form of its lines."""


class Page(NamedTuple):
    """Some keys with their records, as of one position, as item lines.

    last: bytes, the key up to which these are all; b"" at the end.
    """

    position: Position
    lines: bytes
    last: bytes


class Pages:
    """The pages that copies read."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub
        self._clock = hub.clock
        self._reading: dict[_Name, asyncio.Task[Page]] = {}
        # The oldest first.
        self._kept: dict[_Name, Page] = {}
        # Bytes that they take.
        self._size = 0
        self._users = 0

    def join(self) -> None:
        """A copy begins: pages are kept from now on."""
        self._users += 1

    def leave(self) -> None:
        """A copy ends; once for every `join`."""
        self._users -= 1
        if not self._users:
            self._kept.clear()
            self._size = 0

    async def get(self, pattern: bytes, after: bytes, form: Form = PLAIN) -> Page:
        """The page of a pattern's keys after one.  What happened since its position, the change index knows.

        Raises Unavailable.
        """
        # Of the form, what a copy is rendered by.
        form = PLAIN._replace(keys=form.keys, ttl=form.ttl, stays=form.stays)
        name = (pattern, after, form)
        if form.ttl:
            # A TOUCH since another copy has read it is no change that the index knows.
            return await self._fetch(*name)
        page = self._kept.get(name)
        if page and self._is_fresh(page):
            return page
        task = self._reading.get(name)
        if task is None:
            task = self._reading[name] = asyncio.create_task(self._read(name))
            # If all have gone when it fails, nobody needs to know.
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        # A caller that goes away meanwhile leaves it to the others.
        return await asyncio.shield(task)

    def _is_fresh(self, page: Page) -> bool:
        here = self._hub.position
        return (
            page.position.store == here.store
            and here.revision - page.position.revision <= KEPT_CHANGES
            and self._hub.index.covers(page.position.revision)
        )

    async def _read(self, name: _Name) -> Page:
        try:
            page = await self._fetch(*name)
        finally:
            del self._reading[name]
        if self._users:
            self._keep(name, page)
        return page

    async def _fetch(self, pattern: bytes, after: bytes, form: Form) -> Page:
        (position, items), last = await self._store.page(pattern, after, values=not form.keys)
        lines = [pair(key, record, form, self._clock) for key, record in items if record]
        return Page(position, b"".join(lines), last)

    def _keep(self, name: _Name, page: Page) -> None:
        self._drop(name)
        self._kept[name] = page
        self._size += _cost(name, page)
        while self._size > KEPT_BYTES and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))

    def _drop(self, name: _Name) -> None:
        """Keep the page of a name no longer, if it is kept."""
        if page := self._kept.pop(name, None):
            self._size -= _cost(name, page)


def _cost(name: _Name, page: Page) -> int:
    pattern, after, _ = name
    return len(pattern) + len(after) + len(page.lines) + len(page.last) + PAGE_BYTES

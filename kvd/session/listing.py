"""Ranges of keys, listed as far as the peer may read them."""

from collections.abc import AsyncIterator

from kvd.access.ranges import rest_of
from kvd.errors import Denied
from kvd.requests import KeyRange
from kvd.session.login import Guard
from kvd.store.api import Page, Store


async def listed(store: Store, guard: Guard, wanted: KeyRange, *, records: bool) -> AsyncIterator[Page]:
    """Page by page, at least one.  Raises Unavailable, and Denied, also when the rules are changed meanwhile."""
    allowed = guard.ranges(wanted)
    left, last = wanted.limit, b""
    for allowed_range in allowed:
        part = rest_of(allowed_range, last, left)
        if part is None:
            continue
        async for page in store.pages(part, records=records):
            if guard.ranges(wanted) != allowed:
                raise Denied("the rules were changed meanwhile; try again")
            if page.items:
                last = page.items[-1][0]
                left -= len(page.items) if wanted.limit else 0
            yield page
            # Not kept while the next one is waited for: many may wait at once.
            del page
        if wanted.limit and left <= 0:
            return

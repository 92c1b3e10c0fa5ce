"""kvd.watch.snapshot: what a copy keeps while its reader does not read, and that it is told of as it grows."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from kvd.model import Change, Patterns, Position
from kvd.store.api import Page, Store
from kvd.watch.hub import Hub
from kvd.watch.index import DROP_CHANGES
from kvd.watch.pages import Pages
from kvd.watch.snapshot import Copy, Copying
from kvd.watch.told import KEY_BYTES

MOST = 5000
"""Changes that the index covers."""
KEY = 400
"""Bytes of a key."""


class Empty:
    """A store without keys, of which a copy has sent all at once."""

    async def page(self, pattern: bytes, after: bytes, *, values: bool) -> tuple[Page, bytes]:  # noqa: ARG002
        return Page(Position(0, b"s"), []), b""


@pytest.fixture
def hub() -> Hub:
    hub = Hub(index_changes=MOST)
    hub.start(Position(0, b"s"))
    return hub


@pytest.fixture
def grown() -> list[int]:
    """What the copy held whenever it told that it has grown."""
    return []


@pytest.fixture
async def unread(hub: Hub, grown: list[int]) -> AsyncIterator[Copy]:
    """A copy whose first page is with a reader who does not read."""
    store = cast(Store, Empty())
    copy = Copy(Copying(store, Pages(store, hub), hub), Patterns([b"*"]), 0, grown=lambda: grown.append(copy.held))
    portions = copy.portions()
    assert await anext(portions) == b""
    yield copy
    await portions.aclose()  # type: ignore[attr-defined]  # it is a generator
    copy.close()


def change(hub: Hub, count: int) -> None:
    """So many new keys are set, one after the other."""
    for revision in range(hub.position.revision + 1, hub.position.revision + 1 + count):
        hub.publish(b"s", [Change(revision, b"SET", b"%0*d" % (KEY, revision), b"t", b"v")])


async def test_all_copies_together_take_little_at_once_when_the_index_is_full(
    unread: Copy, hub: Hub, grown: list[int]
) -> None:
    """Found: each took all that the index had, before any could be ended: some copies, hundreds of megabytes."""
    before = unread.held
    change(hub, MOST)
    assert (unread.held, grown) == (before, [])
    change(hub, 4 * DROP_CHANGES)
    assert len(grown) >= 3
    steps = [later - earlier for earlier, later in zip([before, *grown], grown, strict=False)]
    assert max(steps) <= (DROP_CHANGES + 1) * (KEY_BYTES + KEY)


async def test_the_keys_that_have_changed_count_with_their_bytes(unread: Copy, hub: Hub) -> None:
    """Found: as if they had none, though the index may keep them no longer."""
    before = unread.held
    change(hub, MOST + 10 * DROP_CHANGES)
    assert unread.held - before >= 9 * DROP_CHANGES * (KEY_BYTES + KEY)


async def test_what_is_sent_counts_no_longer(unread: Copy, hub: Hub) -> None:
    before = unread.held
    change(hub, MOST + 2 * DROP_CHANGES)
    assert unread.held > before
    unread.rest()
    assert unread.held == before

"""Listings: requests for one page after another."""

from collections.abc import Callable, Generator
from functools import partial
from typing import TypeVar

from kvd.client import arguments, replies, requests
from kvd.client.lines import Reply
from kvd.client.requests import Request
from kvd.client.words import Connected, Item

KEYS_PAGE = 1000
"""Keys in a page, half a megabyte at the most."""
CLIENTS_PAGE = 1000
"""Connections in a page, half a megabyte at the most."""
LIST_PAGE = 100
"""Items in a page, whose values may be a megabyte each."""

Listed = TypeVar("Listed")
Pages = Generator[Request[list[Listed]], list[Listed], None]
"""Yields requests for pages, and takes the pages."""


def listing(
    verb: bytes, pattern: str, after: str | None, limit: int | None, before: str | None, reverse: bool,
    fold: str | None, owner: str | None, min_position: str | None = None,
) -> Pages[Item]:  # fmt: skip
    """KEYS or LIST, a page after another."""
    options = (
        arguments.flag(reverse, "reverse")
        + arguments.option(fold, "fold")
        + arguments.option(owner, "owner", "with")
        + arguments.least(min_position)
    )
    request = b"%b %b%b" % (verb, arguments.pattern(pattern), options)
    read = replies.keys if verb == b"KEYS" else replies.pairs if fold is None else replies.pairs_and_keys
    size = KEYS_PAGE if verb == b"KEYS" else LIST_PAGE
    left = arguments.limit(limit)
    while left != 0:
        most = size if left is None else min(size, left)
        bounds = arguments.option(after, "after") + arguments.option(before, "before")
        line = b"%b%b limit=%d\n" % (request, bounds, most)
        last = before if reverse else after
        page = yield Request(line, partial(_in_order, read, last, reverse), most_items=most)
        if len(page) < most:
            return
        if reverse:
            before = page[-1].key
        else:
            after = page[-1].key
        left = None if left is None else left - most


def connections(after: str | None, limit: int | None) -> Pages[Connected]:
    """CLIENTS, a page after another."""
    left = arguments.limit(limit)
    while left != 0:
        most = CLIENTS_PAGE if left is None else min(CLIENTS_PAGE, left)
        page = yield requests.clients(after, most)
        if len(page) < most:
            return
        after = page[-1].id
        left = None if left is None else left - most


def _in_order(read: Callable[[Reply], list[Item]], last: str | None, reverse: bool, reply: Reply) -> list[Item]:
    items = read(reply)
    replies.check_order(items, last, reverse=reverse)
    return items

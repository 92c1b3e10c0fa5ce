"""Replies of any number of lines: page by page, so that a peer that reads slowly has little kept for it."""

import sys
from contextlib import aclosing

from kvd.model import Patterns, Position
from kvd.requests import ClientRange, History, KeyRange
from kvd.session.clients import PAGE
from kvd.session.context import Context
from kvd.session.elsewhere import Elsewhere
from kvd.session.listing import listed
from kvd.session.login import Guard
from kvd.session.output import Output
from kvd.watch.rendering import line_of, pieced
from kvd.wire import replies, words

MOST_PAGES = 50
"""Pages of the change log that CHANGES looks at: a tenth of a second, and half of what is usually kept."""


class Paged:
    """Those of one connection.  A refusal is the last line of a reply."""

    def __init__(self, context: Context, output: Output, guard: Guard) -> None:
        self._context = context
        self._store = context.store
        self._output = output
        self._guard = guard

    async def listing(self, wanted: KeyRange, *, records: bool) -> None:
        """Item lines, and the status: of KEYS how many, of LIST (records) the first page's position."""
        count = 0
        first: Position | None = None
        with self._output.whole():
            async for position, items in listed(self._store, self._guard, wanted, records=records):
                first = first or position
                count += len(items)
                if records:
                    self._output.reply_all(
                        replies.pair(key, record) if record else replies.key(key) for key, record in items
                    )
                else:
                    self._output.reply_all(replies.key(key) for key, _ in items)
                # Not kept while the peer, or the next page, is waited for.
                del items
                await self._output.flush_if_full()
            self._output.reply(replies.ok(bytes(first) if records and first else b"%d" % count))

    async def changes(self, wanted: History) -> None:
        """Item lines, and the position up to which they are all."""
        match, form = Patterns(wanted.patterns).match, wanted.form
        render = line_of(form, self._store.now, item=True)
        position, left = wanted.position, wanted.limit
        with self._output.whole():
            for _ in range(MOST_PAGES):
                changes = await self._store.changes_after(position, values=form.wants_values)
                self._guard.permit("CHANGES", wanted)
                found = [change for change in changes if change.verb in form.only and match(change.key)][:left]
                self._output.reply(pieced(found, [render(change, position.store) for change in found], form))
                left -= len(found)
                if changes:
                    position = Position((changes if left else found)[-1].revision, position.store)
                if not (changes and left):
                    break
                # As above.
                del changes, found
                await self._output.flush_if_full()
            self._output.reply(replies.ok(bytes(position)))

    async def clients(self, wanted: ClientRange) -> None:
        """Item lines, and how many."""
        after, left, count = wanted.after, wanted.limit or sys.maxsize, 0
        with self._output.whole():
            while left:
                asked = ClientRange(after, min(left, PAGE))
                found = await self._context.clients.page(asked)
                self._guard.permit("CLIENTS", wanted)
                self._output.reply_all(b"CLIENT %b\n" % line for _, line in found)
                count += len(found)
                left -= len(found)
                if len(found) < asked.limit:
                    break
                after = found[-1][0]
                await self._output.flush_if_full()
            self._output.reply(replies.ok(b"%d" % count))

    async def relay(self, elsewhere: Elsewhere, request: bytes) -> None:
        """Have a request answered there; the status when what is served here is as new."""
        with self._output.whole():
            async with aclosing(elsewhere.relay(request)) as parts:
                async for part in parts:
                    word, _, rest = part[:-1].partition(b" ")
                    if word == b"OK" and b"@" in rest:
                        await elsewhere.reach(words.position(rest))
                    self._output.reply(part)
                    await self._output.flush_if_full()

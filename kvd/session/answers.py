"""Requests answered, in their order."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from kvd.errors import NotAClient, Refusal, Usage
from kvd.hub import Hub
from kvd.model import (
    Arguments,
    Interval,
    Outcome,
    Page,
    Position,
    Put,
    Record,
    Resume,
    Transaction,
    Words,
    Write,
)  # fmt: skip
from kvd.session import express, watching
from kvd.session.complaints import Complaints
from kvd.session.output import Output
from kvd.session.progress import ProgressTimer
from kvd.session.transaction import Pending
from kvd.session.watching import Log, Watching
from kvd.verbs import Operation, Verb, explain, find
from kvd.wire import replies
from kvd.wire.lines import Line

TURN_LINES = 256
"""Lines answered before others have their turn: 64 KiB of empty lines take a tenth of a second."""


class Store(express.Store, watching.Store, Protocol):
    """What a session asks of the store; see `store.Store`.  All raise Unavailable."""

    batch_bytes: int

    async def read(self, keys: Sequence[bytes]) -> tuple[list[Record | None], int]:
        """Records and the store's clock."""

    async def fetch(self, key: bytes) -> Record | None:
        """One record with its value, however large."""

    async def write(self, writes: Sequence[Write], size: int) -> list[Outcome]:
        """Apply writes."""

    async def count(self, pattern: bytes) -> int:
        """How many keys match."""

    async def transact(self, transaction: Transaction, size: int) -> Outcome:
        """Apply all of a transaction, or nothing."""


class Context(NamedTuple):
    """What the sessions of one daemon share.

    max_value, max_line: int, bytes.  push_limit: int, bytes that may wait for a slow watcher.
    describe: gives INFO's lines.  complaints: the log lines that peers cause.
    timer: for PROGRESS.
    """

    store: Store
    log: Log
    hub: Hub
    max_value: int
    max_line: int
    push_limit: int
    describe: Callable[[], Awaitable[Iterable[str]]]
    complaints: Complaints
    timer: ProgressTimer


class Answers:
    """Does what lines ask for, and gives the replies to an output.

    quitting: bool, whether QUIT was answered.  left_lines: bool, whether there were lines after it.
    """

    def __init__(self, context: Context, output: Output, watching: Watching) -> None:
        self._context = context
        self._store = context.store
        self._output = output
        self._watching = watching
        self._pending: Pending | None = None
        self.quitting = False
        self.left_lines = False

    @property
    def in_transaction(self) -> bool:
        """Whether what comes next belongs to a transaction."""
        return self._pending is not None

    async def answer(self, lines: Iterable[Line]) -> None:
        """Answer lines in order.  Neighbours that read, and neighbours that write, go to the store together."""
        group: list[tuple[Verb, Any]] = []
        size = 0
        for number, line in enumerate(lines, 1):
            if not number % TURN_LINES:
                await asyncio.sleep(0)
            try:
                verb, arguments = self._parse(line)
            except (Refusal, NotAClient) as error:
                await self._run(group, size)
                group, size = [], 0
                if self.quitting:
                    self.left_lines = True
                    return
                if isinstance(error, NotAClient):
                    raise
                self._output.reply(self._pending.refuse(error) if self._pending else replies.refused(error))
                await self._output.flush_if_full()
                continue
            weight = len(arguments.value) if isinstance(arguments, Put) else 0
            if group and not self._joins(group, size + weight, verb):
                await self._run(group, size)
                group, size = [], 0
                if self.quitting:
                    self.left_lines = True
                    return
            group.append((verb, arguments))
            size += weight
        await self._run(group, size)

    def _parse(self, line: Line) -> tuple[Verb, Arguments]:
        if not isinstance(line, bytes):
            raise line
        verb, rest = find(line)
        return verb, verb.parse(rest, self._context.max_value)

    def _joins(self, group: list[tuple[Verb, Any]], size: int, verb: Verb) -> bool:
        """Whether a request may go to the store with those before it."""
        operation = group[0][0].operation
        return (
            verb.operation is operation
            and operation in (Operation.READ, Operation.WRITE)
            and len(group) < self._store.batch_items
            and size <= self._store.batch_bytes
        )

    async def _run(self, group: list[tuple[Verb, Any]], size: int) -> None:
        """Do requests of one operation and answer each."""
        if not group:
            return
        operation = group[0][0].operation
        try:
            if self._pending and operation not in _ENDS_TRANSACTION:
                self._output.reply_all(self._pending.answer(*request) for request in group)
            elif operation is Operation.READ:
                await self._read(group)
            elif operation is Operation.WRITE:
                outcomes = await self._store.write([arguments for _, arguments in group], size)
                self._output.reply_all(map(replies.written, outcomes))
            else:
                await _SINGLE[operation](self, group[0][1])
        except Refusal as error:
            self._output.reply_all([replies.refused(error)] * len(group))
        # A peer that has quit may have more to send before it reads.
        if not self.quitting:
            await self._output.flush_if_full()

    async def _read(self, group: list[tuple[Verb, Any]]) -> None:
        try:
            while group:
                group = await self._read_some(group)
        except Refusal as error:
            self._output.reply_all([replies.refused(error)] * len(group))

    async def _read_some(self, group: list[tuple[Verb, Any]]) -> list[tuple[Verb, Any]]:
        """Answer reads up to and with the first large value; what is left, which must not be older than that value."""
        records, now = await self._store.read([arguments.key for _, arguments in group])
        for place, ((verb, arguments), record) in enumerate(zip(group, records, strict=True), 1):
            assert verb.reply  # noqa: S101
            if record is not None and record.large and verb.wants_value:
                # One at a time: a megabyte each, and the peer may be slow.
                await self._output.flush_if_full()
                self._output.reply(await self._read_large(verb, arguments.key))
                return group[place:]
            self._output.reply(verb.reply(record, now))
        return []

    async def _read_large(self, verb: Verb, key: bytes) -> bytes:
        assert verb.reply  # noqa: S101
        try:
            return verb.reply(await self._store.fetch(key), 0)
        except Refusal as error:
            return replies.refused(error)

    async def _keys(self, page: Page) -> None:
        await self._list_pages(page, records=False)

    async def _list(self, page: Page) -> None:
        await self._list_pages(page, records=True)

    async def _list_pages(self, page: Page, *, records: bool) -> None:
        """Item lines page by page, and the status: of KEYS how many, of LIST the first page's position."""
        count = 0
        first: Position | None = None
        self._output.hold()
        try:
            async for position, items in self._store.pages(page, records=records, due=False):
                first = first or position
                count += len(items)
                if records:
                    self._output.reply_all(replies.pair(key, record) for key, record in items)
                else:
                    self._output.reply_all(replies.key(key) for key, _ in items)
                await self._output.flush_if_full()
            self._output.reply(replies.ok(bytes(first) if records and first else b"%d" % count))
        except Refusal as error:
            self._output.reply(replies.refused(error))
        finally:
            self._output.release()

    async def _count(self, page: Page) -> None:
        self._output.reply(replies.ok(b"%d" % await self._store.count(page.pattern)))

    async def _watch(self, patterns: Words) -> None:
        await self._watching.watch(patterns.words)

    async def _resume(self, request: Resume) -> None:
        await self._watching.resume(request.position, request.patterns)

    async def _sync(self, patterns: Words) -> None:
        await self._watching.sync(patterns.words)

    async def _progress(self, interval: Interval) -> None:
        self._watching.progress(interval.milliseconds)

    async def _begin(self, _: Words) -> None:
        self._pending = Pending()
        self._output.reply(replies.OK)

    async def _commit(self, _: Words) -> None:
        pending, self._pending = self._open_transaction(), None
        transaction = pending.transaction()
        if transaction.writes:
            outcome = await self._store.transact(transaction, pending.size)
        else:
            outcome = b"%d" % (await self._store.history())[0].revision
        self._output.reply(replies.written(outcome))

    async def _abort(self, _: Words) -> None:
        self._open_transaction()
        self._pending = None
        self._output.reply(replies.OK)

    def _open_transaction(self) -> Pending:
        if self._pending is None:
            raise Usage("there is no transaction; BEGIN opens one")
        return self._pending

    async def _unwatch(self, _: Words) -> None:
        await self._watching.unwatch()

    async def _ping(self, text: Words) -> None:
        self._output.reply(replies.ok(text.words[0]) if text.words else replies.OK)

    async def _info(self, _: Words) -> None:
        self._output.reply(replies.items("INFO", await self._context.describe()) + replies.OK)

    async def _help(self, verb: Words) -> None:
        self._output.reply(replies.items("HELP", explain(verb.words)) + replies.OK)

    async def _quit(self, _: Words) -> None:
        self.quitting = True
        self._watching.drop()
        self._output.reply(replies.ok(b"bye"))


_SINGLE: dict[Operation, Callable[[Answers, Any], Awaitable[None]]] = {
    Operation.KEYS: Answers._keys,
    Operation.LIST: Answers._list,
    Operation.COUNT: Answers._count,
    Operation.WATCH: Answers._watch,
    Operation.RESUME: Answers._resume,
    Operation.SYNC: Answers._sync,
    Operation.PROGRESS: Answers._progress,
    Operation.UNWATCH: Answers._unwatch,
    Operation.BEGIN: Answers._begin,
    Operation.COMMIT: Answers._commit,
    Operation.ABORT: Answers._abort,
    Operation.PING: Answers._ping,
    Operation.INFO: Answers._info,
    Operation.HELP: Answers._help,
    Operation.QUIT: Answers._quit,
}
"""What is done for one request alone."""

_ENDS_TRANSACTION = (Operation.COMMIT, Operation.ABORT, Operation.QUIT)
"""What is done at once between BEGIN and COMMIT."""

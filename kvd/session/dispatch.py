"""Requests answered, in their order and in groups: neighbours that read, and neighbours that write, go to the store
together, and wake no task.

What pages, waits for the peer or asks the store in steps of its own is *work*: the connection's task does it.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from kvd.errors import KvdError, NotAClient, Refusal, Usage
from kvd.model import (
    Interval,
    KeyRange,
    Outcome,
    Position,
    Record,
    Resume,
    SimpleSets,
    Transaction,
    Words,
    Write,
)  # fmt: skip
from kvd.session import watching
from kvd.session.complaints import Complaints
from kvd.session.output import Output
from kvd.session.progress import ProgressTimer
from kvd.session.transaction import Pending
from kvd.session.watching import Log, Watching
from kvd.verbs import READERS, Kind, Verb, explain, find
from kvd.watch.hub import Hub
from kvd.wire import replies, shortcuts
from kvd.wire.lines import Line

Work = Callable[[], Awaitable[None]]
"""What the connection's task does."""
Request = tuple[Verb, Any]
"""A verb and its arguments."""


class Store(watching.Store, Protocol):
    """What a session asks of the store; see `store.Store`.

    `read_then` and `write_then` give what was asked for at once or later, or the error in its place.
    """

    batch_items: int
    batch_bytes: int

    @property
    def kept(self) -> Callable[[bytes], Record | None]:
        """Gives the record of a key, if it is at hand."""

    def kept_all(self, keys: Sequence[bytes]) -> list[Record] | None:
        """The records of keys, if all are at hand."""

    def read_then(
        self, keys: Sequence[bytes], done: Callable[[tuple[list[Record | None], int] | KvdError], None], *,
        fetch: bool = False,
    ) -> None:  # fmt: skip
        """Records and the store's clock.  fetch: with its value, however large, if it is one key."""

    def write_then(
        self, writes: Sequence[Write] | SimpleSets, size: int, done: Callable[[Sequence[Outcome] | KvdError], None]
    ) -> None:
        """Apply writes."""

    async def read(self, keys: Sequence[bytes]) -> tuple[list[Record | None], int]:
        """Records and the store's clock.  Raises Unavailable, as all below."""

    async def fetch(self, key: bytes) -> Record | None:
        """One record with its value, however large."""

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


class Dispatcher:
    """Does what lines ask for, and gives the replies to an output.

    busy: bool, whether a group is at the store; `go_on` is called when it is answered, and with what is left to do.
    quitting: bool, whether QUIT was answered.  left_lines: bool, whether there were lines after it.
    """

    def __init__(
        self, context: Context, output: Output, watching: Watching, go_on: Callable[[Work | None], None]
    ) -> None:
        self._context = context
        self._store = context.store
        self._output = output
        self._watching = watching
        self._go_on = go_on
        self._pending: Pending | None = None
        self._lines: deque[Line] = deque()
        # What was parsed to see whether it belongs to a group, and did not.
        self._ahead: Request | Refusal | NotAClient | None = None
        self.busy = False
        self.quitting = False
        self.left_lines = False

    # ---- what comes

    def shortcut(self, chunk: bytes) -> bool:
        """Have a chunk of the commonest requests answered whole; False if it is none.  Nothing else may wait."""
        if self._pending:
            return False
        # Most chunks are one line.  A key that is kept is one: there is no line end in it.
        word, _, rest = chunk.partition(b" ")
        verb = READERS.get(word)
        if verb is None:
            return self._shortcut_sets(chunk)
        assert verb.reply  # noqa: S101
        key = rest[:-2] if rest.endswith(b"\r\n") else rest[:-1]
        if rest.endswith(b"\n") and (record := self._store.kept(key)) is not None:
            self._output.send(verb.reply(record, 0))
            return True
        return self._shortcut_reads(verb, word, chunk)

    def _shortcut_reads(self, verb: Verb, word: bytes, chunk: bytes) -> bool:
        count = chunk.count(b"\n")
        if count < 2 or count > self._store.batch_items:
            return False
        keys = shortcuts.reads(word, chunk)
        if keys is None:
            return False
        records = self._store.kept_all(keys)
        if records is not None:
            assert verb.reply_all  # noqa: S101
            self._output.send(verb.reply_all(records))
            return True
        if not shortcuts.are_keys(keys):
            return False
        self._read([verb] * count, keys)
        return True

    def _shortcut_sets(self, chunk: bytes) -> bool:
        # A piece of a large value, or all of it, is not worth a look.
        if len(chunk) > shortcuts.LONGEST_LINE and chunk.find(b"\n", 0, shortcuts.LONGEST_LINE) < 0:
            return False
        if chunk.count(b"\n") > self._store.batch_items:
            return False
        sets = shortcuts.sets(chunk, self._context.max_value)
        if sets is None:
            return False
        self._write(sets, len(sets.keys), len(sets.lines))
        return True

    def feed(self, lines: Iterable[Line]) -> None:
        """Take lines that `step` will answer."""
        self._lines.extend(lines)

    def has_more(self) -> bool:
        """Whether there is something for `step`."""
        return bool(self._lines) or self._ahead is not None

    def close(self) -> None:
        """The connection has ended: nobody is told of what is answered yet."""
        self._go_on = _tell_nobody
        self._lines.clear()

    # ---- what is done

    def step(self) -> None:
        """Answer the next line, or begin to answer the next group.  Raises NotAClient."""
        request = self._next()
        if self.quitting:
            self.left_lines = True
            self._lines.clear()
        elif isinstance(request, NotAClient):
            self._output.write()
            raise request
        elif isinstance(request, Refusal):
            self._output.reply(self._pending.refuse(request) if self._pending else replies.refused(request))
        elif self._pending and request[0].name not in _ENDS_TRANSACTION:
            self._output.reply(self._pending.answer(*request))
        else:
            self._begin(request)

    def _begin(self, request: Request) -> None:
        verb, arguments = request
        if verb.kind is Kind.READ:
            verbs, reads = zip(*self._group(request), strict=True)
            self._read(verbs, [read.key for read in reads])
        elif verb.kind is Kind.WRITE:
            writes = [write for _, write in self._group(request)]
            self._write(shortcuts.as_sets(writes) or writes, len(writes), sum(write.size for write in writes))
        elif verb.name in _AT_ONCE:
            try:
                self._output.reply(_AT_ONCE[verb.name](self, arguments))
            except Refusal as error:
                self._output.reply(replies.refused(error))
        else:
            self._go_on(partial(self._work, _WORK[verb.name], arguments))

    def _next(self) -> Request | Refusal | NotAClient:
        if self._ahead is None:
            return self._parse(self._lines.popleft())
        ahead, self._ahead = self._ahead, None
        return ahead

    def _parse(self, line: Line) -> Request | Refusal | NotAClient:
        if not isinstance(line, bytes):
            return line
        try:
            verb, rest = find(line)
            return verb, verb.parse(rest, self._context.max_value)
        except (Refusal, NotAClient) as error:
            return error

    def _group(self, first: Request) -> list[Request]:
        """A request and those after it that may go to the store with it."""
        group = [first]
        kind, size = first[0].kind, first[1].size
        while self._lines and len(group) < self._store.batch_items:
            request = self._parse(self._lines.popleft())
            if not isinstance(request, tuple) or request[0].kind is not kind:
                self._ahead = request
                break
            size += request[1].size
            if size > self._store.batch_bytes:
                self._ahead = request
                break
            group.append(request)
        return group

    # ---- groups

    def _read(self, verbs: Sequence[Verb], keys: Sequence[bytes]) -> None:
        self.busy = True
        fetch = len(keys) == 1 and verbs[0].wants_value
        self._store.read_then(keys, partial(self._answer_reads, verbs, keys), fetch=fetch)

    def _answer_reads(
        self, verbs: Sequence[Verb], keys: Sequence[bytes], found: tuple[list[Record | None], int] | KvdError
    ) -> None:
        work: Work | None = None
        if isinstance(found, KvdError):
            self._refuse(found, len(keys))
        else:
            place = self._reply_reads(verbs, *found)
            if place < len(keys):
                work = partial(self._read_on, verbs[place:], keys[place:])
        self.busy = False
        self._go_on(work)

    def _reply_reads(self, verbs: Sequence[Verb], records: Sequence[Record | None], now: int) -> int:
        """Answer reads up to the first large value; how many."""
        for place, (verb, record) in enumerate(zip(verbs, records, strict=True)):
            assert verb.reply  # noqa: S101
            if record is not None and record.large and verb.wants_value:
                return place
            self._output.reply(verb.reply(record, now))
        return len(records)

    async def _read_on(self, verbs: Sequence[Verb], keys: Sequence[bytes]) -> None:
        """Answer reads of which the first is of a large value; the others must not be older than that value."""
        try:
            while keys:
                # One at a time: a megabyte each, and the peer may be slow.
                await self._output.flush_if_full()
                self._output.reply(await self._read_large(verbs[0], keys[0]))
                verbs, keys = verbs[1:], keys[1:]
                if keys:
                    place = self._reply_reads(verbs, *await self._store.read(keys))
                    verbs, keys = verbs[place:], keys[place:]
        except Refusal as error:
            self._refuse(error, len(keys))

    async def _read_large(self, verb: Verb, key: bytes) -> bytes:
        assert verb.reply  # noqa: S101
        try:
            return verb.reply(await self._store.fetch(key), 0)
        except Refusal as error:
            return replies.refused(error)

    def _write(self, writes: Sequence[Write] | SimpleSets, count: int, size: int) -> None:
        self.busy = True
        self._store.write_then(writes, size, partial(self._answer_writes, count))

    def _answer_writes(self, count: int, outcomes: Sequence[Outcome] | KvdError) -> None:
        if isinstance(outcomes, KvdError):
            self._refuse(outcomes, count)
        else:
            self._output.reply_all(map(replies.written, outcomes))
        self.busy = False
        self._go_on(None)

    def _refuse(self, error: KvdError, count: int) -> None:
        assert isinstance(error, Refusal)  # noqa: S101
        self._output.reply_all([replies.refused(error)] * count)

    # ---- single requests

    async def _work(self, handle: Callable[["Dispatcher", Any], Awaitable[None]], arguments: Any) -> None:
        try:
            await handle(self, arguments)
        except Refusal as error:
            self._output.reply(replies.refused(error))

    async def _keys(self, page: KeyRange) -> None:
        await self._list_pages(page, records=False)

    async def _list(self, page: KeyRange) -> None:
        await self._list_pages(page, records=True)

    async def _list_pages(self, page: KeyRange, *, records: bool) -> None:
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

    async def _count(self, page: KeyRange) -> None:
        self._output.reply(replies.ok(b"%d" % await self._store.count(page.pattern)))

    async def _watch(self, patterns: Words) -> None:
        await self._watching.watch(patterns.words)

    async def _resume(self, request: Resume) -> None:
        await self._watching.resume(request.position, request.patterns)

    async def _sync(self, patterns: Words) -> None:
        await self._watching.sync(patterns.words)

    async def _unwatch(self, _: Words) -> None:
        await self._watching.unwatch()

    async def _info(self, _: Words) -> None:
        self._output.reply(replies.items("INFO", await self._context.describe()) + replies.OK)

    async def _commit(self, _: Words) -> None:
        pending, self._pending = self._open_transaction(), None
        transaction = pending.transaction()
        if transaction.writes:
            outcome = await self._store.transact(transaction, pending.size)
        else:
            outcome = b"%d" % (await self._store.history())[0].revision
        self._output.reply(replies.written(outcome))

    # ---- those that are answered at once: each gives its reply

    def _progress(self, interval: Interval) -> bytes:
        self._watching.progress(interval.milliseconds)
        return replies.OK

    def _begin_transaction(self, _: Words) -> bytes:
        self._pending = Pending()
        return replies.OK

    def _abort(self, _: Words) -> bytes:
        self._open_transaction()
        self._pending = None
        return replies.OK

    def _open_transaction(self) -> Pending:
        if self._pending is None:
            raise Usage("there is no transaction; BEGIN opens one")
        return self._pending

    def _ping(self, text: Words) -> bytes:
        return replies.ok(text.words[0]) if text.words else replies.OK

    def _help(self, verb: Words) -> bytes:
        return replies.items("HELP", explain(verb.words)) + replies.OK

    def _quit(self, _: Words) -> bytes:
        self.quitting = True
        self._watching.drop()
        return replies.ok(b"bye")


def _tell_nobody(work: Work | None) -> None:
    """Takes the place of the connection, which would otherwise be kept until the garbage collector comes."""


_AT_ONCE: dict[str, Callable[[Dispatcher, Any], bytes]] = {
    "PROGRESS": Dispatcher._progress,
    "BEGIN": Dispatcher._begin_transaction,
    "ABORT": Dispatcher._abort,
    "PING": Dispatcher._ping,
    "HELP": Dispatcher._help,
    "QUIT": Dispatcher._quit,
}
_WORK: dict[str, Callable[[Dispatcher, Any], Awaitable[None]]] = {
    "KEYS": Dispatcher._keys,
    "LIST": Dispatcher._list,
    "COUNT": Dispatcher._count,
    "WATCH": Dispatcher._watch,
    "RESUME": Dispatcher._resume,
    "SYNC": Dispatcher._sync,
    "UNWATCH": Dispatcher._unwatch,
    "COMMIT": Dispatcher._commit,
    "INFO": Dispatcher._info,
}

_ENDS_TRANSACTION = ("COMMIT", "ABORT", "QUIT")
"""What is done at once between BEGIN and COMMIT."""

"""Chunks of the commonest requests, answered whole: they are not taken apart into lines, and wake no task.

What `wire.shortcuts` does not recognise goes line by line through `dispatch`, and means the same there.
"""

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

from kvd.errors import KvdError, Refusal
from kvd.model import Outcome
from kvd.requests import Simple
from kvd.session.context import Context
from kvd.session.counting import Reader
from kvd.session.output import Output
from kvd.store.api import Found
from kvd.verbs import Verb
from kvd.wire import replies, shortcuts

LF = shortcuts.LF
CR = ord("\r")
_SIMPLE_VERBS = {
    ord(letter): verb for verb in ("SET", "PUT", "INCR") for letter in (verb[0], verb[0].lower())
}  # fmt: skip
"""By the letters with which they may begin."""


class Chunks:
    """Those of one connection.

    busy: bool, whether one is at the store.  requests: int, how many were taken up.
    refused: is told of refusals, for the log; to be set.
    """

    def __init__(self, context: Context, output: Output, answered: Callable[[bytes], None]) -> None:
        """answered: takes the replies to a chunk that `shortcut` took, once the store has given them."""
        self._context = context
        self._store = context.store
        self._counts = context.requests
        self._cells = self._counts.cells
        # When what is being answered came, by `perf_counter`.
        self._began = 0.0
        self._output = output
        self._kept = context.store.kept
        self._elsewhere = context.elsewhere
        self._readers = self._counts.readers
        if context.elsewhere:
            # How long keys live is asked there, and writes may be refused there one by one.
            self._readers = {word: reader for word, reader in self._readers.items() if reader.verb.wants_value}
            self._simple = _none_simple
        self._most = context.in_flight.at_once(context.store.batch_items)
        self._ask_then = context.in_flight.reading(context.store.ask_then)
        self._write_then = context.in_flight.writing(context.store.write_then)
        self._answered = answered
        self.busy = False
        self.requests = 0
        self.refused: Callable[[Refusal], None] = tell_nobody

    # Where there are users, others take the places of these.
    _is_key = staticmethod(shortcuts.is_key)
    _reads = staticmethod(shortcuts.reads)
    _simple = staticmethod(shortcuts.writes)

    def shortcut(self, chunk: bytes) -> bool:
        """Have a chunk of the commonest requests answered whole; False if it is none.

        It begins with a line, outside of a transaction, and nothing else waits.
        """
        reader = self._readers.get(chunk[:4]) or self._readers.get(chunk[:5])
        if reader is None:
            return self._shortcut_writes(chunk)
        if chunk[-1] != LF:
            return False
        verb, begin, reply, place = reader
        # Most chunks are one line; what is kept has a key for its name, so that there is no line end in it.
        key = chunk[begin:-2] if chunk[-2] == CR else chunk[begin:-1]
        record = self._kept(key)
        if record is None:
            return self._shortcut_reads(reader, chunk) if LF in key else self._shortcut_read(verb, key)
        self.requests += 1
        self._cells[place] += 1
        self._output.send(reply(record, 0))
        return True

    def _shortcut_read(self, verb: Verb, key: bytes) -> bool:
        """Ask the store for a key that is not kept."""
        if not self._is_key(key):
            return False
        self._ask(verb, [key])
        return True

    def _shortcut_reads(self, reader: Reader, chunk: bytes) -> bool:
        verb = reader.verb
        if chunk.count(b"\n") > self._most or self._context.budget.is_crowded:
            return False
        keys = self._reads(chunk[: reader.begin], chunk)
        if keys is None:
            return False
        data = self._from_kept(verb, keys)
        if data is not None:
            self.requests += len(keys)
            self._cells[reader.place] += len(keys)
            self._output.send(data)
            return True
        if not shortcuts.are_keys(keys):
            return False
        self._ask(verb, keys)
        return True

    def _from_kept(self, verb: Verb, keys: Sequence[bytes]) -> bytes | None:
        """The replies, if all keys are at hand."""
        if verb.reply_texts and (texts := self._store.kept_texts(keys)):
            return verb.reply_texts(texts)
        records = self._store.kept_all(keys)
        reply = verb.reply
        assert reply  # noqa: S101
        return None if records is None else b"".join([reply(record, 0) for record in records])

    def _ask(self, verb: Verb, keys: Sequence[bytes]) -> None:
        self.busy = True
        self.requests += len(keys)
        self._began = perf_counter()
        fetch = len(keys) == 1 and verb.wants_value
        self._ask_then(keys, partial(self._answer_chunk, verb, keys), fetch=fetch)

    def _shortcut_writes(self, chunk: bytes) -> bool:
        # A piece of a large value, or all of it, is not worth a look.
        if len(chunk) > shortcuts.LONGEST_LINE and chunk.find(b"\n", 0, shortcuts.LONGEST_LINE) < 0:
            return False
        if len(chunk) > self._most and chunk.count(b"\n") > self._most:
            return False
        writes = self._simple(chunk, self._context.max_value)
        if writes is None:
            return False
        self.busy = True
        count = len(writes.keys)
        self.requests += count
        self._began = perf_counter()
        self._write_then(writes, len(chunk), partial(self._answer_simple, _SIMPLE_VERBS[chunk[0]], count))
        return True

    def _answer_chunk(self, verb: Verb, keys: Sequence[bytes], found: Found | KvdError) -> None:
        assert verb.reply  # noqa: S101
        if isinstance(found, KvdError):
            self.busy = False
            self._answered(self._refused([verb.name] * len(keys), found))
            return
        records, now = found
        if verb.wants_value and True in [record is not None and record.large for record in records]:
            self._answer_reads([verb] * len(keys), keys, found)
            return
        self.busy = False
        reply = verb.reply
        self._counts.found(verb.name, self._began, len(records), records.count(None))
        self._answered(b"".join([reply(record, now) for record in records]))

    def _answer_simple(self, verb: str, count: int, outcomes: Sequence[Outcome] | KvdError) -> None:
        self.busy = False
        if isinstance(outcomes, KvdError):
            self._answered(self._refused([verb] * count, outcomes))
        elif b"".join(outcomes).isdigit():
            self._counts.found(verb, self._began, count, 0)
            self._answered(replies.oks(outcomes))
        else:
            # The store went when some of them were done, or its memory was full; or a sum is negative, or none.
            given = [*map(replies.written, outcomes)]
            self._counts.answered([verb] * count, given, self._began)
            self._answered(b"".join(given))

    def _answer_reads(self, verbs: Sequence[Verb], keys: Sequence[bytes], found: Found | KvdError) -> None:
        """Answer reads of which some may be of large values."""
        raise NotImplementedError

    def _refused(self, verbs: Sequence[str], error: KvdError) -> bytes:
        """An error, for each request of a group."""
        assert isinstance(error, Refusal)  # noqa: S101
        self.refused(error)
        reply = replies.refused(error)
        self._counts.answered(verbs, [reply] * len(verbs), self._began)
        return reply * len(verbs)


def _none_simple(chunk: bytes, max_value: int) -> Simple | None:  # noqa: ARG001
    """No chunk is recognised."""
    return None


def tell_nobody(_: object) -> None:
    """Takes the place of the connection, which would otherwise be kept until the garbage collector comes."""

"""Requests answered where there are users: each only if its peer may ask for it, judged when it is done.

What is the same for all stays in `dispatch`, which does not know that there may be users: it costs those nothing who
have none.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kvd.errors import KvdError, NotAClient, Refusal
from kvd.model import AtHand, Outcome
from kvd.requests import Auth, Increment, Limited, Put, Read, Request, Simple, Write
from kvd.session.context import Context
from kvd.session.dispatch import Dispatcher, Work
from kvd.session.handlers import ENDS_TRANSACTION, Handlers
from kvd.session.login import Login
from kvd.session.output import Output
from kvd.session.waiting import Parsed, Waiting
from kvd.session.watching import Watching
from kvd.verbs import Kind, Verb, kind_of
from kvd.wire import replies, shortcuts


class CheckedWaiting(Waiting):
    """Lines that wait, of which those that are not allowed come out as refusals."""

    def __init__(self, max_value: int, most: int, batch_bytes: int, login: Login, handlers: Handlers) -> None:
        """handlers: they know whether a transaction is open, of which the end is always allowed."""
        super().__init__(max_value, most, batch_bytes)
        self._login = login
        self._handlers = handlers

    def next(self) -> Parsed | Refusal | NotAClient:
        """See `Waiting`."""
        request = super().next()
        if not isinstance(request, tuple) or (self._handlers.pending and request[0].name in ENDS_TRANSACTION):
            return request
        refusal = self._login.refused(request[0].name, request[1])
        if refusal:
            self.asked = request[0].name
        return refusal or request

    def _joins(self, verb: Verb, request: Request) -> Kind | None:
        """What is not allowed ends a group, and is looked at anew when the group is answered."""
        return None if self._login.refusal(verb.name, request) else kind_of(verb, request)


class CheckedDispatcher(Dispatcher):
    """A dispatcher that asks a login before each request."""

    def __init__(
        self, context: Context, output: Output, watching: Watching, go_on: Callable[[Work | None], None],
        answered: Callable[[bytes], None], login: Login, allow: Callable[[int], None],
    ) -> None:  # fmt: skip
        super().__init__(context, output, watching, go_on, answered, login, allow)
        self._login = login
        self._at_hand = context.store.kept
        self._kept = self._kept_if_allowed
        self.waiting = CheckedWaiting(context.max_value, self._most, context.store.batch_bytes, login, self._handlers)

    def close(self) -> None:
        """See `Dispatcher`."""
        super().close()
        # Its own method would keep it until the garbage collector comes.
        self._kept = self._at_hand

    # ---- chunks: what is not allowed is not recognised, and refused line by line

    def _kept_if_allowed(self, key: bytes) -> AtHand | None:
        rights = self._login.rights
        return self._at_hand(key) if rights and rights.may_read(key) else None

    def _is_key(self, word: bytes) -> bool:
        rights = self._login.rights
        return rights is not None and rights.may_read(word) and shortcuts.are_keys([word])

    def _reads(self, begin: bytes, chunk: bytes) -> list[bytes] | None:
        keys, rights = shortcuts.reads(begin, chunk), self._login.rights
        return keys if keys and rights and all(map(rights.may_read, keys)) else None

    def _simple(self, chunk: bytes, max_value: int) -> Simple | None:
        rights = self._login.rights
        # What is limited goes by `_write`.
        writes = shortcuts.writes(chunk, max_value) if rights and not rights.quota else None
        if writes is None or rights is None or not all(map(rights.may_write, writes.keys)):
            return None
        # A sum tells what was there.
        return None if writes.adds and not all(map(rights.may_read, writes.keys)) else writes

    # ---- lines

    def _begin(self, request: Parsed) -> None:
        """Most logins are with passwords that are known: they wake no task."""
        verb, arguments = request
        is_login = isinstance(arguments, Auth) and not self._handlers.is_watching
        if is_login and self._login.log_in_at_once(arguments):
            self._reply(verb.name, replies.OK)
        else:
            super()._begin(request)

    async def _work(self, verb: Verb, arguments: Any) -> None:
        # The task may have been waiting since it was looked at.
        refusal = None if self.in_transaction else self._login.refused(verb.name, arguments)
        if refusal:
            self.refused(refusal)
            self._reply(verb.name, replies.refused(refusal))
        else:
            await super()._work(verb, arguments)

    def _write(self, verbs: Sequence[str], writes: Sequence[Write]) -> None:
        quota = self._login.rights.quota if self._login.rights else b""
        if not quota:
            super()._write(verbs, writes)
            return
        limited = [Limited(write, quota) if isinstance(write, Put | Increment) else write for write in writes]
        self.busy = True
        self._write_then(limited, self.waiting.size, partial(self._answer_limited, verbs, writes))

    def _answer_limited(
        self, verbs: Sequence[str], writes: Sequence[Write], outcomes: Sequence[Outcome] | KvdError
    ) -> None:
        if not isinstance(outcomes, KvdError):
            for verb, write, outcome in zip(verbs, writes, outcomes, strict=True):
                self._handlers.note_quota(verb, outcome, write.touches()[0])
        self._answer_writes(verbs, outcomes)

    def _readable(self, keys: Sequence[bytes]) -> int:
        rights = self._login.rights
        return next((place for place, key in enumerate(keys) if not (rights and rights.may_read(key))), len(keys))

    def _check_readable(self, verb: Verb, key: bytes) -> None:
        self._login.permit(verb.name, Read(key))

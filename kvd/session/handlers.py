"""Requests that are done alone: those that are answered at once, and those that are work for the connection's task."""

from collections.abc import Awaitable, Callable
from typing import Any

from kvd.errors import NotAuthenticated, Unavailable, Usage
from kvd.metrics import QUOTAS
from kvd.model import OVER_QUOTA, Outcome, Position, Record
from kvd.requests import (
    Auth,
    ClientRange,
    DeleteRange,
    Demand,
    Follow,
    Help,
    History,
    Info,
    Interval,
    KeyRange,
    Kick,
    LateRead,
    Nothing,
    Ping,
    Resume,
    Watch,
)
from kvd.session.context import Context
from kvd.session.deleting import Deletion
from kvd.session.limits import Limit
from kvd.session.login import FIRST, Guard, Permit
from kvd.session.output import Output
from kvd.session.paged import Paged
from kvd.session.transaction import Pending
from kvd.session.watching import Watching, memory_of
from kvd.verbs import explain
from kvd.wire import replies
from kvd.wire.asking import changes_line


class Handlers:
    """Those of one connection.

    pending: the transaction that was begun, None if there is none.  quitting: bool, whether QUIT was answered.
    stopping: bool, whether the connection is to end as soon as it can; to be set.
    asking: int, bytes of the patterns, or keys, of what is being done by the task; to be set.
    """

    def __init__(
        self, context: Context, output: Output, watching: Watching, guard: Guard, allow: Callable[[int], None]
    ) -> None:
        """allow: raises LimitReached if the connection may not hold so many bytes more."""
        self._allow = allow
        self._context = context
        self._store = context.store
        self._elsewhere = context.elsewhere
        self._output = output
        self._watching = watching
        self._guard = guard
        self._paged = Paged(context, output, guard)
        self.pending: Pending | None = None
        self.quitting = self.stopping = False
        self.asking = 0

    def close(self) -> None:
        """The connection has ended."""
        self.pending = None
        self._allow = anything

    @property
    def is_watching(self) -> bool:
        """Whether a watch is open."""
        return self._watching.active

    # ---- those that are work: each gives its reply to the output

    async def _get(self, wanted: LateRead) -> None:
        self._output.finish(replies.value(await self._late_record("GET", wanted)))

    async def _gets(self, wanted: LateRead) -> None:
        self._output.finish(replies.value_with_revision(await self._late_record("GETS", wanted)))

    async def _late_record(self, verb: str, wanted: LateRead) -> Record | None:
        await self._reach(wanted.reached)
        self._guard.permit(verb, wanted)
        return await self._store.fetch(wanted.key)

    async def _reach(self, position: Position | None) -> None:
        """Wait until the daemon shows a position, if there is one.  Raises OtherStore, Unavailable."""
        if position:
            # What was answered before must not wait for it.
            self._output.write()
            await self._context.reaching.reach(position, lambda: self.stopping or self._output.is_closed)

    async def _keys(self, wanted: KeyRange) -> None:
        await self._reach(wanted.reached)
        await self._paged.listing(wanted, records=False)

    async def _list(self, wanted: KeyRange) -> None:
        await self._reach(wanted.reached)
        await self._paged.listing(wanted, records=True)

    async def _delete_range(self, wanted: DeleteRange) -> None:
        # What was answered before must not wait for all of it.
        self._output.write()
        if self._elsewhere:
            self._output.finish(await self._elsewhere.delete(wanted))
            return

        def check() -> None:
            self._guard.permit("DEL", wanted)
            if self.stopping:
                raise Unavailable("the daemon stops")

        self._output.finish(await Deletion(self._store, wanted, check, lambda: self._output.is_closed).run())

    async def _count(self, wanted: KeyRange) -> None:
        await self._reach(wanted.reached)
        counts = [await self._store.count(part) for part in self._guard.readable(wanted.pattern)]
        self._output.reply(replies.ok(b"%d" % sum(counts)))

    async def _watch(self, watch: Watch) -> None:
        await self._watching.watch(self._permit("WATCH", watch), watch.form)

    async def _resume(self, request: Resume) -> None:
        await self._watching.resume(request.position, self._permit("RESUME", request), request.form)

    async def _sync(self, watch: Watch) -> None:
        await self._watching.sync(self._permit("SYNC", watch), watch.form)

    async def _follow(self, request: Follow) -> None:
        await self._watching.follow(request.position, self._permit("FOLLOW", request), request.form)

    def _permit(self, verb: str, request: Any) -> Permit:
        """What a watch may have.  Raises a refusal."""
        self._check_patterns(request)
        permit = self._guard.watch(verb, request)
        self._allow(memory_of(permit.patterns) - self.asking)
        return permit

    def _check_patterns(self, request: Any) -> None:
        """Raises LimitReached if there are too many."""
        if len(request.patterns) > self._context.limits.sizes.patterns:
            raise self._context.limits.reached(Limit.PATTERNS)

    async def _changes(self, wanted: History) -> None:
        self._check_patterns(wanted)
        if self._elsewhere:
            await self._paged.relay(self._elsewhere, changes_line(wanted))
        else:
            await self._paged.changes(wanted)

    async def _unwatch(self, _: Nothing) -> None:
        await self._watching.unwatch()

    async def _info(self, asked: Info) -> None:
        if asked.section == QUOTAS:
            self._guard.administer("INFO", {"section": QUOTAS})
        if self._guard.is_known:
            lines = await self._context.describe(asked.section)
        elif asked.section:
            raise NotAuthenticated(FIRST)
        else:
            lines = await self._context.introduce()
        self._output.reply(replies.items("INFO", lines) + replies.OK)

    async def _clients(self, wanted: ClientRange) -> None:
        self._guard.administer("CLIENTS")
        await self._paged.clients(wanted)

    async def _kick(self, wanted: Kick) -> None:
        self._guard.administer("KICK", {"id": bytes(wanted.name).decode()})
        self._output.finish(replies.OK if await self._context.clients.kick(wanted) else replies.NONE)

    async def _auth(self, auth: Auth) -> None:
        if self._watching.active:
            raise Usage("AUTH while a watch is open: UNWATCH first")
        # What was answered before must not wait for it.
        self._output.write()
        await self._guard.log_in(auth)
        self._output.reply(replies.OK)

    async def _commit(self, _: Nothing) -> None:
        pending, self.pending = self._open_transaction(), None
        transaction = pending.transaction()
        permit = self._guard.permit_transaction
        permit(transaction)
        if transaction.writes:
            # What was answered before must not wait for what is in the way.
            outcome = await self._context.committing.commit(transaction, pending.size, permit, self._output.write)
        else:
            outcome = b"%d" % (await self._store.history())[0].revision
        self.note_quota("COMMIT", outcome, None)
        self._output.finish(replies.written(outcome))

    def note_quota(self, verb: str, outcome: Outcome, key: bytes | None) -> None:
        """Count what was refused for going over a quota."""
        if outcome.startswith(OVER_QUOTA):
            self._guard.over_quota(verb, self._context.limits.reached(Limit.QUOTA), key)

    # ---- those that are answered at once: each gives its reply

    def _progress(self, interval: Interval) -> bytes:
        self._watching.progress(interval.milliseconds)
        return replies.OK

    def _begin_transaction(self, _: Nothing) -> bytes:
        self.pending = Pending(self._allow)
        return replies.OK

    def _abort(self, _: Nothing) -> bytes:
        self._open_transaction()
        self.pending = None
        return replies.OK

    def _check(self, _: Demand) -> bytes:
        raise Usage("CHECK stands between BEGIN and COMMIT; it refuses what the transaction would do")

    def _open_transaction(self) -> Pending:
        if self.pending is None:
            raise Usage("there is no transaction; BEGIN opens one")
        return self.pending

    def _ping(self, ping: Ping) -> bytes:
        return replies.OK if ping.text is None else replies.ok(ping.text)

    def _help(self, asked: Help) -> bytes:
        return replies.items("HELP", explain(asked.verb)) + replies.OK

    def _quit(self, _: Nothing) -> bytes:
        self.quitting = True
        self._watching.drop()
        return replies.ok(b"bye")


def anything(_: int) -> None:
    """Takes the place of the connection, which would otherwise be kept until the garbage collector comes."""


AT_ONCE: dict[str, Callable[[Handlers, Any], bytes]] = {
    "PROGRESS": Handlers._progress,
    "BEGIN": Handlers._begin_transaction,
    "ABORT": Handlers._abort,
    "CHECK": Handlers._check,
    "PING": Handlers._ping,
    "HELP": Handlers._help,
    "QUIT": Handlers._quit,
}
WORK: dict[str, Callable[[Handlers, Any], Awaitable[None]]] = {
    "GET": Handlers._get,
    "GETS": Handlers._gets,
    "KEYS": Handlers._keys,
    "LIST": Handlers._list,
    "DEL": Handlers._delete_range,
    "COUNT": Handlers._count,
    "WATCH": Handlers._watch,
    "RESUME": Handlers._resume,
    "SYNC": Handlers._sync,
    "FOLLOW": Handlers._follow,
    "CHANGES": Handlers._changes,
    "UNWATCH": Handlers._unwatch,
    "COMMIT": Handlers._commit,
    "INFO": Handlers._info,
    "AUTH": Handlers._auth,
    "CLIENTS": Handlers._clients,
    "KICK": Handlers._kick,
}

ENDS_TRANSACTION = ("COMMIT", "ABORT", "QUIT")
"""What is done at once between BEGIN and COMMIT."""

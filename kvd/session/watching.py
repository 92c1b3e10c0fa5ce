"""A connection's watch: at most one at a time."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from kvd.errors import Compacted, Denied, Future, OtherStore, Refusal, Unavailable
from kvd.model import Form, Patterns, Position
from kvd.session.carrying import Carrying
from kvd.session.elsewhere import Elsewhere, Tunnel
from kvd.session.login import Permit
from kvd.session.output import Output
from kvd.session.progress import ProgressTimer, Reminder
from kvd.session.syncing import Syncing
from kvd.store.api import Store
from kvd.watch.catching_up import CatchingUp
from kvd.watch.hub import Hub
from kvd.watch.snapshot import Copying
from kvd.watch.watcher import Watcher
from kvd.wire import replies

SHUTDOWN = "shutdown"
"""Why a watch ends when the daemon does."""
PATTERN_BYTES = 500
"""Memory of a pattern beyond its own bytes, which are kept twice."""
JOIN_TIMEOUT = 10.0
"""Seconds that a WATCH waits for the store's log."""


class Log(Protocol):
    """See `follower.Follower`."""

    async def join(self) -> None:
        """Returns when all that the store does from now on will be published."""

    def leave(self) -> None:
        """Once for every `join`."""


def memory_of(patterns: Sequence[bytes]) -> int:
    """Bytes that a watch of patterns takes."""
    return 2 * sum(map(len, patterns)) + PATTERN_BYTES * len(patterns)


class Watching:
    """Begins, replaces and ends the watch of one connection."""

    def __init__(
        self, store: Store, log: Log, hub: Hub, catching_up: CatchingUp, copying: Copying, timer: ProgressTimer,
        output: Output, buffer: int, tell: Callable[[str], None], elsewhere: Elsewhere | None = None,
    ) -> None:  # fmt: skip
        """buffer: int, bytes that may wait for a slow watcher.  tell: takes what became of a watch, for the log.

        elsewhere: as `Context` has it.
        """
        self._tell_log = tell
        self._is_begun = False
        self._elsewhere = elsewhere
        self._store = store
        self._log = log
        self._hub = hub
        self._catching_up = catching_up
        self._copying = copying
        self._reminder = Reminder(timer)
        self._output = output
        self._buffer = buffer
        self._joined = False
        self._is_all = False
        self._watcher: Watcher | None = None
        self._permit: Permit | None = None
        self._waiting: asyncio.Task[None] | None = None
        # What the patterns take; and the copy that is being sent.
        self._size = 0
        self._syncing: Syncing | None = None
        # Passes on from elsewhere what the watcher needs first.
        self._carrying: Carrying | None = None

    @property
    def held(self) -> int:
        """Bytes that its patterns take, and what is in flight for it: a copy, or what is older."""
        coming = self._syncing or self._carrying
        return self._size + (coming.held if coming else 0)

    @property
    def patterns(self) -> Sequence[bytes]:
        """Those that are watched."""
        return self._permit.patterns if self._watcher and self._permit else ()

    @property
    def active(self) -> bool:
        """Whether there is a watch."""
        return self._watcher is not None

    async def watch(self, permit: Permit, form: Form) -> None:
        """Replace the watch by one from now on, and answer.

        This and the other three raise a `Refusal`, Unavailable for one, and then leave the old watch as it was.
        """
        await self._join()
        position, _ = await self._store.history()
        await self._catching_up.beginnings.enter()
        self._begin(permit, form, position)

    async def resume(self, position: Position, permit: Permit, form: Form) -> None:
        """Replace the watch by one from a position on, and answer."""
        await self._join()
        await self._go_on(position, permit, form)

    async def _go_on(self, position: Position, permit: Permit, form: Form) -> None:
        """Begin after a position.  Raises Compacted, OtherStore, Future, Unavailable."""
        floor = await self._store.check(position)
        # The reply wakes all who have asked.
        await self._catching_up.beginnings.enter()
        self._hub.index.drop_to(floor)
        tunnel = None
        if self._elsewhere and position.revision < floor:
            tunnel = await self._elsewhere.tunnel(position, form, permit.patterns)
        try:
            self._begin(permit, form, position, tunnel)
        except BaseException:
            if tunnel:
                await tunnel.close()
            raise

    async def sync(self, permit: Permit, form: Form) -> None:
        """Answer with a copy of what matches, and replace the watch by one from there on."""
        await self._join()
        await self._copy(permit, form)

    async def follow(self, position: Position | None, permit: Permit, form: Form) -> None:
        """Do as `resume`, or, where that is not possible or there is no position, say why and do as `sync`.

        What was watched before is over as soon as that is said.
        """
        await self._join()
        reason = "new"
        if position:
            try:
                await self._go_on(position, permit, form)
            except (Compacted, OtherStore, Future) as error:
                reason = error.code
            else:
                return
        await self._copy(permit, form, reason)

    async def _copy(self, permit: Permit, form: Form, reason: str = "") -> None:
        begin = partial(self._begin, permit, form)
        self._syncing = Syncing(self._output, permit, form, reason, self.drop, begin)
        try:
            if self._elsewhere and form.ttl:
                await self._syncing.pass_on(self._elsewhere)
            else:
                await self._syncing.send(self._copying, self._buffer)
        finally:
            self._syncing = None

    def _begin(self, permit: Permit, form: Form, position: Position, tunnel: Tunnel | None = None) -> None:
        permit.check()
        if self._hub.position.store != position.store:
            raise Unavailable("the store's history was replaced a moment ago; try again")
        self._leave()
        self._permit, self._size = permit, memory_of(permit.patterns)
        self._watcher = Watcher(
            Patterns(permit.patterns),
            # Of several patterns, too, lines are joined for each.
            self._push_copy if self._output.copies or len(permit.patterns) > 1 else self._output.push,
            self._set_aside,
            self._wait,
            self._ended,
            position.revision,
            form,
        )
        # No line of the old watch stands after this reply, and none of the new one before it.
        self._output.reply(replies.ok(bytes(position)))
        self._output.write()
        if tunnel:
            self._carrying = Carrying(tunnel, self._watcher, permit, self._output, self._hub, self._catching_up)
        self._is_begun = False
        self._hub.add(self._watcher)
        self._is_begun = True
        self._keep_time()

    def progress(self, milliseconds: int) -> None:
        """Tell the watcher its position every so often, or no longer."""
        self._reminder.change(milliseconds)
        self._keep_time()

    def _keep_time(self) -> None:
        self._reminder.keep(self._tell if self._watcher else None)

    def _tell(self) -> None:
        if self._watcher:
            self._hub.progress(self._watcher)

    async def unwatch(self) -> None:
        """End the watch, if there is one, and answer.  Raises Unavailable."""
        if self._watcher:
            position = self._hub.complete_to(self._watcher)
            self.drop()
        else:
            position = await self._elsewhere.position() if self._elsewhere else (await self._store.history())[0]
        self._output.reply(replies.ok(bytes(position)))

    def end(self, code: str, text: str) -> None:
        """End the watch, if there is one, and say why."""
        if self._watcher:
            self._hub.end(self._watcher, code, text)

    def look_again(self) -> None:
        """The peer may do other things than before: a watch that it may not have any more ends here."""
        if self._watcher and self._permit:
            try:
                self._permit.check()
            except Refusal as refusal:
                self.end(Denied.code, str(refusal))

    def close_with_it(self) -> None:
        """The peer can ask for nothing more: when the watch ends, so does the connection."""
        self._is_all = True

    def cut(self, why: str) -> None:
        """End the watch, if there is one, without a word, as its connection is cut.  why: for the count."""
        if self._watcher:
            self._hub.remove(self._watcher, why)

    def drop(self) -> None:
        """End the watch without a word."""
        self._leave()
        self._keep_time()

    def _leave(self) -> None:
        if self._watcher:
            self._hub.remove(self._watcher)
            self._watcher, self._size = None, 0
        self._output.forget_pushed()
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None
        self.stop_carrying()

    def stop_carrying(self) -> None:
        """The watch will be ended, and is given no more of what is older."""
        if self._carrying:
            self._carrying.stop()
            self._carrying = None

    def close(self) -> None:
        """The connection ends."""
        self.drop()
        self._tell_log = _tell_nobody
        if self._joined:
            self._log.leave()

    async def _join(self) -> None:
        await self._catching_up.beginnings.enter()
        if self._joined:
            return
        self._joined = True
        try:
            async with asyncio.timeout(JOIN_TIMEOUT):
                await self._log.join()
        except TimeoutError:
            self._joined = False
            self._log.leave()
            raise Unavailable("the store is unreachable; the watch was not begun; try again") from None

    def _push_copy(self, data: bytes) -> bool:
        return self._output.push_copy(data, may_wait=self._watcher is not None and self._watcher.live)

    def _set_aside(self) -> None:
        """The watcher has to catch up."""
        if self._watcher and (not self._carrying or self._carrying.is_over):
            if self._is_begun:
                why = "reads more slowly than changes come, or has to wait for memory that others hold"
                self._tell_log(f"is set aside until it has caught up: it {why}")
            self._catching_up.add(self._watcher)

    def _wait(self) -> None:
        """The socket takes no more of the watcher's lines now."""
        if self._watcher:
            self._waiting = asyncio.get_running_loop().create_task(self._wait_until_writable(self._watcher))

    async def _wait_until_writable(self, watcher: Watcher) -> None:
        # A connection that breaks is noticed by the reading side.
        with suppress(OSError):
            await self._output.writable()
            self._catching_up.add(watcher)

    def _ended(self, line: bytes) -> None:
        self.stop_carrying()
        _, position, code, text = line.decode().rstrip("\n").split(" ", 3)
        if code != SHUTDOWN:
            self._tell_log(f"ended at {position}: {code}: {text}")
        self._watcher, self._size = None, 0
        self._keep_time()
        self._output.push_last(line)
        if self._is_all:
            self._output.close()


def _tell_nobody(_: str) -> None:
    """Takes the place of the connection, which would otherwise be kept until the garbage collector comes."""

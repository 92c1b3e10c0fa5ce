"""A connection's watch: at most one at a time."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import Protocol

from kvd.errors import Compacted, ConnectionLost, Denied, Future, OtherStore, Refusal, Unavailable
from kvd.model import Form, Patterns, Position
from kvd.session.elsewhere import Elsewhere, Tunnel
from kvd.session.login import Permit
from kvd.session.output import Output
from kvd.session.progress import ProgressTimer, Turn
from kvd.store.api import Store
from kvd.watch.catching_up import CatchingUp
from kvd.watch.hub import Hub
from kvd.watch.snapshot import Copy, Copying
from kvd.watch.watcher import Watcher
from kvd.wire import replies, words

SHORTEST_PROGRESS = 0.05
"""Seconds between two PROGRESS lines at the least: a hundred idle watchers must cost next to nothing."""
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
        self._timer = timer
        self._output = output
        self._buffer = buffer
        self._joined = False
        self._is_all = False
        self._watcher: Watcher | None = None
        self._permit: Permit | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._interval = 0.0
        self._turn: Turn | None = None
        # What the patterns take; and the copy that is being sent.
        self._size = 0
        self._copying_now: Copy | None = None
        # Passes on from elsewhere what the watcher needs first.
        self._carrying: asyncio.Task[None] | None = None

    @property
    def held(self) -> int:
        """Bytes that its patterns take, and a copy in flight."""
        return self._size + (self._copying_now.held if self._copying_now else 0)

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
        self._begin(permit, form, position)

    async def resume(self, position: Position, permit: Permit, form: Form) -> None:
        """Replace the watch by one from a position on, and answer."""
        await self._join()
        await self._go_on(position, permit, form)

    async def _go_on(self, position: Position, permit: Permit, form: Form) -> None:
        """Begin after a position.  Raises Compacted, OtherStore, Future, Unavailable."""
        floor = await self._store.check(position)
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

    async def _copy_from(self, elsewhere: Elsewhere, permit: Permit, form: Form, reason: str) -> None:
        """Send a copy that another daemon makes, for it alone knows how long keys live."""
        self._output.hold()
        try:
            async with aclosing(elsewhere.sync(form, permit.patterns)) as parts:
                async for lines in parts:
                    permit.check()
                    word, _, rest = lines[:-1].partition(b" ")
                    if word == b"ERR":
                        self._output.reply(lines)
                        return
                    if reason:
                        self.drop()
                        self._output.reply(replies.copy(reason))
                        reason = ""
                    if word == b"OK":
                        position = words.position(rest)
                        await elsewhere.reach(position)
                        self._begin(permit, form, position)
                    else:
                        self._output.reply(lines)
                        await self._output.flush_if_full()
        except Refusal as error:
            self._output.reply(replies.refused(error))
        finally:
            self._output.release()

    async def _copy(self, permit: Permit, form: Form, reason: str = "") -> None:
        if self._elsewhere and form.ttl:
            await self._copy_from(self._elsewhere, permit, form, reason)
            return
        copy = self._copying_now = Copy(self._copying, Patterns(permit.patterns), self._buffer, form)
        self._output.hold()
        try:
            async for lines in copy.portions():
                permit.check()
                if reason:
                    # Not before there is something to send: a FOLLOW that is refused leaves the old watch.
                    self.drop()
                    self._output.reply(replies.copy(reason))
                    reason = ""
                self._output.reply(lines)
                await self._output.flush_if_full()
            permit.check()
            position, lines = copy.rest()
            self._output.reply(lines)
            self._begin(permit, form, position)
        except Refusal as error:
            self._output.finish(replies.refused(error))
        finally:
            copy.close()
            self._copying_now = None
            self._output.release()

    def _begin(self, permit: Permit, form: Form, position: Position, tunnel: Tunnel | None = None) -> None:
        permit.check()
        if self._hub.position.store != position.store:
            raise Unavailable("the store's history was replaced a moment ago; try again")
        self._leave()
        self._permit, self._size = permit, memory_of(permit.patterns)
        self._watcher = Watcher(
            Patterns(permit.patterns),
            self._output.push,
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
            self._carrying = asyncio.get_running_loop().create_task(self._carry(tunnel, self._watcher, permit))
        self._is_begun = False
        self._hub.add(self._watcher)
        self._is_begun = True
        self._keep_time()

    def progress(self, milliseconds: int) -> None:
        """Tell the watcher its position every so often, or no longer."""
        self._interval = max(milliseconds / 1000, SHORTEST_PROGRESS) if milliseconds else 0.0
        self._stop_time()
        self._keep_time()

    def _keep_time(self) -> None:
        """Be told while there are an interval and a watch; a watch that takes another's place goes on in its time."""
        if not (self._watcher and self._interval):
            self._stop_time()
        elif not self._turn:
            self._turn = self._timer.start(self._tell, self._interval)

    def _stop_time(self) -> None:
        if self._turn:
            self._timer.stop(self._turn)
            self._turn = None

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
        self._stop_carrying()

    def _stop_carrying(self) -> None:
        if self._carrying:
            self._carrying.cancel()
            self._carrying = None

    def close(self) -> None:
        """The connection ends."""
        self.drop()
        self._tell_log = _tell_nobody
        if self._joined:
            self._log.leave()

    async def _join(self) -> None:
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

    def _set_aside(self) -> None:
        """The watcher has to catch up."""
        if self._watcher and not self._carrying:
            if self._is_begun:
                self._tell_log("is set aside until it has caught up: it reads more slowly than changes come")
            self._catching_up.add(self._watcher)

    def _wait(self) -> None:
        """There is no room for the watcher's lines."""
        if self._watcher:
            self._waiting = asyncio.get_running_loop().create_task(self._wait_for_room(self._watcher))

    async def _wait_for_room(self, watcher: Watcher) -> None:
        # A connection that breaks is noticed by the reading side.
        with suppress(OSError):
            await self._output.writable()
            self._catching_up.add(watcher)

    async def _carry(self, tunnel: Tunnel, watcher: Watcher, permit: Permit) -> None:
        """Pass on what comes from elsewhere, until the hub knows the rest; then the watcher catches up as any other."""
        try:
            async for lines, revision in tunnel.pieces():
                permit.check()
                while lines and not self._output.push(lines):
                    await self._output.writable()
                watcher.after = revision
                if revision >= self._hub.floor:
                    break
        except (ConnectionLost, OSError) as lost:
            self._carrying = None
            self._hub.end(watcher, Compacted.code, f"the daemon that knows what is older was lost ({lost}); RESUME")
        except Refusal as refusal:
            self._carrying = None
            self._hub.end(watcher, Denied.code, str(refusal))
        else:
            self._carrying = None
            self._catching_up.add(watcher)
        finally:
            await tunnel.close()

    def _ended(self, line: bytes) -> None:
        self._stop_carrying()
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

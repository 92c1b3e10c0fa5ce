"""A watch of what is older than this daemon knows: another daemon is asked for the beginning, until the hub knows the
rest; then the watcher catches up as any other.
"""

import asyncio
from contextlib import aclosing

from kvd.errors import Compacted, ConnectionLost, Denied, Refusal
from kvd.session.elsewhere import Tunnel
from kvd.session.login import Permit
from kvd.session.output import Output
from kvd.watch.catching_up import CatchingUp
from kvd.watch.hub import Hub
from kvd.watch.watcher import Watcher


class Carrying:
    """Passes on to one watcher what comes through a tunnel, until that is enough, or `stop`."""

    def __init__(
        self, tunnel: Tunnel, watcher: Watcher, permit: Permit, output: Output, hub: Hub, catching_up: CatchingUp
    ) -> None:
        self._tunnel = tunnel
        self._watcher = watcher
        self._permit = permit
        self._output = output
        self._hub = hub
        self._catching_up = catching_up
        self.is_over = self._has_begun = self._is_stopped = False
        self._tunnel.tell(output.note)
        self._task = asyncio.get_running_loop().create_task(self._carry())

    @property
    def held(self) -> int:
        """Bytes that it keeps."""
        return 0 if self.is_over or self._is_stopped else self._tunnel.held

    def stop(self) -> None:
        """The watch has ended."""
        self._is_stopped = True
        self._tunnel.drop()
        # Cancelled before its first step, the task would not close the tunnel.
        if self._has_begun and not self.is_over:
            self._task.cancel()

    async def _carry(self) -> None:
        self._has_begun = True
        try:
            if not self._is_stopped:
                await self._pass_on()
        except (ConnectionLost, OSError) as lost:
            # The reader may keep it: with it the stack, and the lines on it.
            lost.__traceback__ = None
            self._end(Compacted.code, f"the daemon that knows what is older was lost ({lost}); RESUME")
        except Refusal as refusal:
            self._end(Denied.code, str(refusal))
        else:
            self.is_over = True
            self._catching_up.add(self._watcher)
        finally:
            await self._tunnel.close()

    async def _pass_on(self) -> None:
        """Raises ConnectionLost, OSError, and a refusal if the peer may have no more."""
        self._output.note()
        async with aclosing(self._tunnel.pieces()) as pieces:
            async for lines, revision in pieces:
                self._permit.check()
                while lines and not self._output.push(lines):
                    self._output.note()
                    await self._output.writable()
                # Not kept while the next one is waited for.
                del lines
                self._watcher.after = revision
                if revision >= self._hub.floor:
                    break

    def _end(self, code: str, text: str) -> None:
        self.is_over = True
        self._hub.end(self._watcher, code, text)

"""The reply to a SYNC: a copy of what matches, and at its end a watch from there on."""

from collections.abc import Callable
from contextlib import aclosing

from kvd.model import Form, Patterns, Position
from kvd.session.elsewhere import Elsewhere
from kvd.session.login import Permit
from kvd.session.output import Output
from kvd.watch.snapshot import Copy, Copying
from kvd.wire import replies, words


class Syncing:
    """One SYNC, or a FOLLOW that cannot go on where it was."""

    def __init__(
        self, output: Output, permit: Permit, form: Form, reason: str, drop: Callable[[], None],
        begin: Callable[[Position], None],
    ) -> None:  # fmt: skip
        """reason: why there is a copy, to be said before it, "" for nothing.  drop: ends the old watch, without a word.

        begin: begins the new one, and answers.
        """
        self._output = output
        self._permit = permit
        self._form = form
        self._reason = reason
        self._drop = drop
        self._begin = begin
        self._copy: Copy | None = None

    @property
    def held(self) -> int:
        """Bytes that the copy takes."""
        return self._copy.held if self._copy else 0

    async def send(self, copying: Copying, most_left: int) -> None:
        """Send a copy of this daemon's own.  most_left: as `Copy` takes it."""
        patterns = Patterns(self._permit.patterns)
        self._copy = copy = Copy(copying, patterns, most_left, self._form, self._output.grown)
        try:
            with self._output.whole():
                async for lines in copy.portions():
                    self._say_why()
                    self._output.reply(lines)
                    await self._output.flush_if_full()
                self._permit.check()
                position, lines = copy.rest()
                self._output.reply(lines)
                self._begin(position)
        finally:
            copy.close()

    async def pass_on(self, elsewhere: Elsewhere) -> None:
        """Send a copy that another daemon makes, for it alone knows how long keys live."""
        with self._output.whole():
            async with aclosing(elsewhere.sync(self._form, self._permit.patterns)) as parts:
                async for lines in parts:
                    word, _, rest = lines[:-1].partition(b" ")
                    if word == b"ERR":
                        self._permit.check()
                        self._output.reply(lines)
                        return
                    self._say_why()
                    if word == b"OK":
                        position = words.position(rest)
                        await elsewhere.reach(position)
                        self._begin(position)
                    else:
                        self._output.reply(lines)
                        await self._output.flush_if_full()

    def _say_why(self) -> None:
        """Say why there is a copy, if that is to be said and was not.  Raises a refusal if it may be sent no more.

        Not before there is something to send: a FOLLOW that is refused leaves the old watch.
        """
        self._permit.check()
        if self._reason:
            self._drop()
            self._output.reply(replies.copy(self._reason))
            self._reason = ""

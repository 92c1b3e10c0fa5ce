"""The prompt, and what is shown above it without disturbing what is being typed."""

import asyncio
import os
import sys
from collections.abc import Sequence
from functools import partial

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.filters import completion_is_selected
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import default_ui_style

from kvd.cli.escape import visible
from kvd.cli.interrupts import at_end
from kvd.cli.shell.asking import Asking
from kvd.cli.shell.completing import WordCompleter
from kvd.cli.shell.history import history
from kvd.cli.shell.own_words import HELP, Wrong, encoded, is_own, request_of
from kvd.cli.shell.session import Session, Shown
from kvd.cli.shell.shown import for_people, style_of
from kvd.cli.signals import ended_by_signals, stop
from kvd.client.line_connection import Connect

REPLY_WAIT = 0.3
"""Seconds that the next prompt waits for replies, so that they mostly stand above it at once."""
PAUSE = 0.05
"""Seconds between two pieces of what is shown: the prompt is drawn anew for each."""
END_WORDS = ("exit", "quit")
REMARK = "ansiyellow"
GIVE_BACK = b"\x1b[?2004l\x1b[?25h"
"""Has the terminal mark nothing that is pasted, and show its cursor."""


class Prompt:
    """A prompt for a session, on this terminal, until Ctrl-D or QUIT."""

    def __init__(self, connect: Connect, *, raw: bool) -> None:
        self._raw = raw
        self._session = Session(connect, self._show)
        self._asking = Asking(connect, lambda: self._session.memory.login)
        os.environ.setdefault("PROMPT_TOOLKIT_NO_CPR", "1")  # answers of the terminal would come amid what is typed
        self._prompts: PromptSession[str] = PromptSession(
            message=self._message, history=history(), completer=WordCompleter(self._asking), key_bindings=_bindings(),
            multiline=True, prompt_continuation="...> ", complete_while_typing=False,
            enable_history_search=True,
        )  # fmt: skip

    async def run(self) -> None:
        """Read and send lines.  Raises KvdError: there is no daemon at first."""
        await self._session.open()
        try:
            # Between two prompts, too, what is typed is a key: not shown, and no signal.
            given_back = at_end(partial(os.write, 1, GIVE_BACK))
            with given_back, ended_by_signals(), self._prompts.input.raw_mode():
                address = self._session.address
                await self._remark(f"connected to kvd at {address}; HELP lists the verbs, Ctrl-D ends the shell")
                await self._go_on()
        finally:
            await self._asking.close()
            await self._session.close()

    async def _go_on(self) -> None:
        """Read from the terminal and from the daemon, until one of them ends."""
        tasks = {asyncio.create_task(self._type()), asyncio.create_task(self._session.run())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _type(self) -> None:
        while True:
            try:
                text = await self._prompts.prompt_async(handle_sigint=False)
            except EOFError:
                return
            lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]
            if len(lines) == 1 and lines[0].strip().lower() in END_WORDS:
                return
            await self._send(lines)

    async def _send(self, lines: Sequence[str]) -> None:
        try:
            requests = [request_of(line) if is_own(line) else encoded(line.lstrip(" ")) for line in lines]
        except Wrong as error:
            await self._remark(str(error))
            return
        if not self._session.send(requests):
            await self._remark(f"not sent, for there is no connection ({self._session.lost})")
        await self._session.answered(REPLY_WAIT)
        if any(request.strip().upper() == b"HELP" for request in requests):
            for line in HELP:
                await self._show([Shown(remark=line)])

    def _message(self) -> str:
        if self._session.lost:
            return "kvd (gone)> "
        return "kvd (BEGIN)> " if self._session.memory.in_transaction else "kvd> "

    async def _remark(self, text: str) -> None:
        await self._show([Shown(remark=text)])

    async def _show(self, shown: Sequence[Shown]) -> None:
        if not shown:
            return
        app = self._prompts.app
        if app.is_running:
            app.renderer.erase()
        if self._raw:
            sys.stdout.buffer.write(b"".join(b"%b\n" % (one.line or one.remark.encode()) for one in shown))
            sys.stdout.flush()
        else:
            print_formatted_text(app.output, FormattedText(map(_styled, shown)), default_ui_style())
        if app.is_running:
            app.renderer.reset()
            app.invalidate()
        await asyncio.sleep(PAUSE)


def _styled(one: Shown) -> tuple[str, str]:
    if one.remark:
        return REMARK, f"{visible(one.remark)}\n"
    return style_of(one.line), f"{for_people(one.line)}\n"


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("c-c")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.reset()

    @bindings.add("c-z")
    def _(event: KeyPressEvent) -> None:  # noqa: ARG001
        run_in_terminal(stop)

    @bindings.add("enter", filter=~completion_is_selected)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @bindings.add("enter", filter=completion_is_selected)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    @bindings.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings

"""kvctl on a terminal of its own, whose screen is as a person sees it."""

import os
import re
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pyte

from tests.support.kvctl import ENVIRONMENT, PROGRAM
from tests.support.processes import PATIENCE, wait_for

CTRL_C, CTRL_D, CTRL_Z, TAB, ENTER, UP = "\x03", "\x04", "\x1a", "\t", "\r", "\x1b[A"
ALT_ENTER = "\x1b\r"
ALTERNATE, NORMAL = b"\x1b[?1049h", b"\x1b[?1049l"
"""What has a terminal show its other screen, and the first one again."""
HIDDEN, SEEN = b"\x1b[?25l", b"\x1b[?25h"
"""The same of its cursor."""

MOST_TAKEN = 1 << 15
"""Bytes that are drawn before anybody looks: a program may write faster than they are drawn, and for ever."""

_COLOUR = re.compile(rb"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[0-9;]*m")


class Terminal:
    """A program on a terminal.  raw: all bytes that it wrote."""

    def __init__(self, *words: str, rows: int = 24, columns: int = 100, **variables: str) -> None:
        environment = ENVIRONMENT | {"TERM": "xterm-256color"} | variables
        environment.pop("NO_COLOR", None) if "NO_COLOR" not in variables else None
        self.raw = b""
        self._screen: Any = pyte.Screen(columns, rows)
        self._stream: Any = pyte.ByteStream(self._screen)
        self._program: Any = pexpect.spawn(
            sys.executable, [str(PROGRAM), *words], env=environment, dimensions=(rows, columns), timeout=PATIENCE
        )
        self._program.delaybeforesend = None
        self._modes = termios.tcgetattr(self._program.child_fd)

    @property
    def text(self) -> str:
        """What is on the screen, without spaces at the ends of lines."""
        self._take()
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    @property
    def last_line(self) -> str:
        """The last line on the screen that has text: that of the prompt."""
        return self.text.rpartition("\n")[2]

    @property
    def has_colours(self) -> bool:
        """Whether any colour was written."""
        self._take()
        return bool(_COLOUR.search(self.raw))

    @property
    def is_as_before(self) -> bool:
        """Whether the terminal has the modes that it began with, its first screen and its cursor."""
        self._take()
        if termios.tcgetattr(self._program.child_fd) != self._modes:
            return False
        return _last(self.raw, NORMAL, ALTERNATE) and _last(self.raw, SEEN, HIDDEN)

    @property
    def is_stopped(self) -> bool:
        """Whether the program was suspended."""
        return bool(psutil.Process(self._program.pid).status() == psutil.STATUS_STOPPED)

    def type(self, keys: str) -> None:
        """Type."""
        self._program.send(keys)

    def shows(self, text: str) -> None:
        """Wait until it is on the screen."""
        self.comes_to(f"{text!r}", lambda: text in self.text)

    def stands_at(self, line: str) -> None:
        """Wait until this is the last line."""
        self.comes_to(f"the line {line!r}", lambda: self.last_line == line)

    def comes_to(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for something; say what is there if it does not come."""
        try:
            wait_for(what, condition)
        except AssertionError as error:
            raise AssertionError(f"{error}; there is:\n{self.text}") from None

    def resize(self, rows: int, columns: int) -> None:
        """Give the window another size."""
        self._take()
        self._screen.resize(rows, columns)
        self._program.setwinsize(rows, columns)

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self._program.pid, number)

    def finish(self) -> int:
        """Wait for its end; the exit status, as Popen has it."""
        self.comes_to("the program's end", self._is_over)
        while self._take():
            pass
        return int(-self._program.signalstatus if self._program.signalstatus else self._program.exitstatus)

    def close(self) -> None:
        """End it, whatever it does."""
        if self._program.isalive():
            self.signal(signal.SIGKILL)
            # On a busy machine it may not be gone at once, and pexpect waits for a moment only.
            wait_for("the end of what was killed", lambda: not self._program.isalive())
        self._program.close(force=True)

    def _is_over(self) -> bool:
        self._take()
        return not self._program.isalive()

    def _take(self, most: int = MOST_TAKEN) -> bool:
        """Draw what has come, not much more than so many bytes of it; whether there may be more."""
        end = len(self.raw) + most
        try:
            while len(self.raw) < end and (data := self._program.read_nonblocking(1 << 12, 0)):
                self.raw += data
                self._stream.feed(data)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return False
        return True


def _last(text: bytes, wanted: bytes, other: bytes) -> bool:
    return text.rfind(wanted) >= text.rfind(other)


@contextmanager
def on_a_terminal(*words: str, **options: Any) -> Iterator[Terminal]:
    """Run kvctl on a terminal."""
    terminal = Terminal(*words, **options)
    try:
        yield terminal
    finally:
        terminal.close()


def without_package(name: str, directory: Path) -> dict[str, str]:
    """Variables for a Python in which a package is not installed."""
    (directory / "sitecustomize.py").write_text(
        "import sys\nfrom importlib.machinery import PathFinder\n"
        "class Finder:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        return None if name.partition('.')[0] == {name!r} else PathFinder.find_spec(name, path, target)\n"
        "sys.meta_path = [Finder if finder is PathFinder else finder for finder in sys.meta_path]\n"
    )
    return {"PYTHONPATH": str(directory)}

"""Make docs/top.svg and docs/shell.svg, the pictures in docs/kvctl.md of `kvctl top` and `kvctl shell`, from real runs.

It needs kvd itself and two more libraries, in a virtual environment:

    pip install '.[docs]'
    python docs/screens.py

A daemon runs on 127.0.0.1:5830, with its data in a temporary directory, and clients read, write and watch.  Each
program has a terminal of its own; what is on its screen, as a terminal emulator has it, is drawn.
"""

import os
import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pexpect
import pyte
from picture import BLACK, BLUE, CYAN, GREEN, LISTEN, MAGENTA, PATIENCE, RED, THEME, WHITE, YELLOW, daemon
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from kvd.client.sync import connect

HERE = Path(__file__).parent
COLUMNS = 92
TOP_ROWS, SHELL_ROWS = 17, 18
FORMAT = re.sub(r"\s*@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, 'JetBrains Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
)
"""Without fonts from elsewhere."""
SPACE, CELL = "&#160;", 12.2
"""How a space is written, and the width of a character."""
TEXT = re.compile(
    rf'(<text [^>]*)x="([0-9.]+)" y="([0-9.]+)" textLength="([0-9.]+)"([^>]*)>((?:{SPACE})*)([^<]*)</text>'
)
COLOURS = {
    "black": BLACK, "red": RED, "green": GREEN, "brown": YELLOW, "blue": BLUE, "magenta": MAGENTA, "cyan": CYAN,
    "white": WHITE, "brightblack": BLACK, "brightred": RED, "brightgreen": GREEN, "brightbrown": YELLOW,
}  # fmt: skip
"""The names that the terminal emulator has for colours."""
BUSY = {"session/": 50, "cart/": 24, "metric/": 14, "config/": 3, "lock/": 2}
"""Prefixes, and how often they are written among each other."""


class Screen:
    """A program on a terminal."""

    def __init__(self, rows: int, *words: str, **variables: str) -> None:
        self.rows = rows
        self._screen = pyte.Screen(COLUMNS, rows)
        self._stream = pyte.ByteStream(self._screen)
        environment = os.environ | {"TERM": "xterm-256color", "LANG": "C.UTF-8"} | variables
        command = [sys.executable, "-m", "kvctl", *words]
        self.program = pexpect.spawn(command[0], command[1:], env=environment, dimensions=(rows, COLUMNS))

    def look(self) -> str:
        """Take what came; all lines."""
        try:
            while True:
                self._stream.feed(self.program.read_nonblocking(1 << 16, 0.05))
        except pexpect.TIMEOUT:
            return "\n".join(self._screen.display)

    def wait(self, text: str) -> None:
        """Look until the text is there."""
        give_up = time.monotonic() + PATIENCE
        while text not in self.look():
            if time.monotonic() > give_up:
                raise SystemExit(f"waited {PATIENCE:.0f} s for {text!r}, and there is:\n{self.look()}")

    def draw(self, title: str, path: Path) -> None:
        """Write a picture."""
        console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"), color_system="truecolor")  # noqa: SIM115
        for row in range(self.rows):
            console.print(self._line(row), no_wrap=True, highlight=False)
        picture = console.export_svg(title=title, theme=THEME, code_format=FORMAT, unique_id=path.stem)
        path.write_text(TEXT.sub(_bare, picture))

    def _line(self, row: int) -> Text:
        text = Text()
        cells = self._screen.buffer[row]
        for style, columns in groupby(range(COLUMNS), lambda column: self._style(row, column)):
            text.append("".join(cells[column].data for column in columns), style)
        return text

    def _style(self, row: int, column: int) -> str:
        cell, cursor = self._screen.buffer[row][column], self._screen.cursor
        is_cursor = not cursor.hidden and (row, column) == (cursor.y, cursor.x)
        style = f"{_colour(cell.fg, '')}{' bold' * cell.bold}{' reverse' * (cell.reverse != is_cursor)}"
        return f"{style}{_colour(cell.bg, ' on ')}".strip()


def _bare(found: re.Match[str]) -> str:
    """A text without the spaces around it, which not every program draws."""
    before, x, y, length, after, spaces, text = found.groups()
    left = len(spaces) // len(SPACE)
    bare = text
    while bare.endswith(SPACE):
        bare = bare.removesuffix(SPACE)
    right = (len(text) - len(bare)) // len(SPACE)
    length = float(length) - CELL * (left + right)
    return f'{before}x="{float(x) + CELL * left:g}" y="{y}" textLength="{length:g}"{after}>{bare}</text>'


def _colour(name: str, before: str) -> str:
    if name == "default":
        return ""
    rgb = COLOURS.get(name)
    return f"{before}rgb({rgb[0]},{rgb[1]},{rgb[2]})" if rgb else f"{before}#{name}"


@contextmanager
def running(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do some work until the end."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def write(ended: threading.Event) -> None:
    """Write and read as a shop's servers would."""
    prefixes, weights = list(BUSY), list(BUSY.values())
    with connect(LISTEN) as kv:
        while not ended.wait(random.uniform(0.002, 0.01)):  # noqa: S311  # no secret
            (prefix,) = random.choices(prefixes, weights)  # noqa: S311
            key = f"{prefix}{random.randrange(500)}"  # noqa: S311
            kv.set(key, "x" * 40, ttl=60)
            kv.get(key)


def draw_top() -> None:
    """With writers, and some who watch."""
    with connect(LISTEN) as kv, kv.watch("config/*"), kv.watch("lock/*"), kv.watch("cart/*"):
        with running(write), running(write), running(write):
            top = Screen(TOP_ROWS, "top", "--interval", "0.4")
            top.wait("lock/")
            give_up = time.monotonic() + PATIENCE / 2
            while time.monotonic() < give_up:
                top.look()
            top.draw("kvctl top", HERE / "top.svg")
        top.program.send("q")
        top.program.expect(pexpect.EOF)


def draw_shell(directory: str) -> None:
    """Somebody watches locks and types, while somebody else takes one."""
    shell = Screen(SHELL_ROWS, "shell", XDG_STATE_HOME=directory)
    shell.wait("kvd>")

    def enter(line: str, effect: str) -> None:
        shell.program.send(f"{line}\r")
        shell.wait(effect)

    with connect(LISTEN) as kv:
        kv.delete_all("lock/*")
        enter("SET greeting hello world", "OK ")
        enter("PUT user/ada ttl=600 = admin", "ttl=600")
        kv.set("user/bob", "guest")
        kv.set("user/carol", "guest")
        enter("WATCH lock/*", "@")
        shell.program.send("GET use")
        shell.wait("GET use")
        kv.set("lock/db", "worker-7", ttl=30)
        shell.wait("worker-7")
        kv.set("lock/seal", bytes(range(4)))
        shell.wait("SET64")
        kv.delete("lock/db")
        shell.wait("DEL lock/db")
        shell.program.send("\t")
        shell.wait("user/carol")
        shell.draw("kvctl shell", HERE / "shell.svg")
    shell.program.close(force=True)


def main() -> None:
    """Draw both."""
    with tempfile.TemporaryDirectory() as directory, daemon(Path(directory, "data")):
        draw_top()
        draw_shell(directory)


if __name__ == "__main__":
    main()

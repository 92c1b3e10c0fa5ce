"""Make docs/watch.png, the README's picture, from a real run: two programs watch while two write.

It needs tmux, netcat and a font, and in a virtual environment kvd itself and two libraries.  On Debian:

    apt-get install tmux netcat-openbsd fonts-jetbrains-mono
    pip install '.[docs]'
    python docs/picture.py

A daemon runs on 127.0.0.1:5830, the port that the commands in the picture mean, with its data in a temporary
directory.  The scene is typed into four panes of tmux, each line once the one before has had its effect.
A second tmux runs the first as its only program: so its one pane is the whole screen, with borders and titles,
and can be captured and drawn.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

PICTURE = Path(__file__).with_name("watch.png")
LISTEN = "127.0.0.1:5830"
PATIENCE = 30.0
COLUMNS, ROWS = 97, 21
LOWER = ["-v", "-l", "8"]

WATCH, WRITE, NC_WATCH, NC_WRITE = "kvctl watches", "kvctl writes", "netcat watches", "netcat writes"

SCENE = [
    # where, what is typed there, and the effect to wait for before going on: in which pane, and what
    (WATCH, "kvctl watch", WATCH, "watching from"),
    (NC_WATCH, "echo 'WATCH lock/*' | nc localhost 5830", NC_WATCH, "OK 0@"),
    (WRITE, "kvctl set lamp/kitchen on", WRITE, "\n1\n$"),
    (WRITE, """kvctl set config/ui '{"theme": "dark"}'""", WRITE, "\n2\n$"),
    (WRITE, "kvctl set lock/db worker-7 --if 0 --ttl 5", WRITE, "\n3\n$"),
    (NC_WRITE, "nc localhost 5830", NC_WRITE, "foreground: nc"),
    (NC_WRITE, "PUT lock/db if=0 = worker-8", NC_WRITE, "\nCONFLICT 3"),
    (NC_WRITE, "SET greeting hello from netcat", NC_WRITE, "\nOK 4"),
    (WRITE, "kvctl get greeting", WRITE, "\nhello from netcat\n$"),
    (WRITE, "kvctl del lamp/kitchen", NC_WATCH, "EXPIRE lock/db"),
    (NC_WRITE, "PUT lock/db if=0 = worker-8", NC_WRITE, "\nOK 7"),
]
LAST = ["SET lock/db worker-8", "CHANGE 7@", "OK 7"]

ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "LANG": "C.UTF-8",
    # The prompt is green, what is typed is bold, what is answered is neither.
    "PS1": r"\[\e[0;32m\]$\[\e[0;1m\] ",
    "PS0": r"\e[0m",
}

FONTS = {False: "JetBrainsMono-Regular.ttf", True: "JetBrainsMono-Bold.ttf"}
FONT_SIZE, MARGIN, BAR, RADIUS = 20, 24, 44, 14
BACKGROUND, FOREGROUND, EDGE = (22, 27, 34), (201, 209, 217), (61, 68, 77)
BLACK, RED, GREEN, YELLOW = (110, 118, 129), (255, 123, 114), (86, 211, 100), (227, 179, 65)
BLUE, MAGENTA, CYAN, WHITE = (121, 192, 255), (210, 168, 255), (86, 212, 221), (240, 246, 252)
THEME = TerminalTheme(BACKGROUND, FOREGROUND, [BLACK, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, WHITE])


class Tmux:
    """A tmux server of its own, with one window."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def run(self, *command: str) -> str:
        tmux = ["tmux", "-u", "-f", "/dev/null", "-S", str(self.socket), *command]
        done = subprocess.run(tmux, check=True, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)  # noqa: S603
        return done.stdout.rstrip("\n")

    def open(self, *program: str) -> str:
        """Start it with one program; that program's pane."""
        size = ["-x", str(COLUMNS), "-y", str(ROWS)]
        pane = self.run("new-session", "-d", *size, "-P", "-F", "#{pane_id}", *program)
        self.run("set-option", "-g", "status", "off")
        return pane

    def state(self, pane: str) -> str:
        """Which program has the pane, and all its lines."""
        program = self.run("display-message", "-p", "-t", pane, "foreground: #{pane_current_command}")
        return f"{program}\n{self.run('capture-pane', '-p', '-t', pane)}"

    def wait(self, pane: str, text: str) -> None:
        """Poll until the text is in the pane's state."""
        give_up = time.monotonic() + PATIENCE
        while text not in self.state(pane):
            if time.monotonic() > give_up:
                raise SystemExit(f"waited {PATIENCE:.0f} s for {text!r}, and there is:\n{self.state(pane)}")
            time.sleep(0.05)

    def close(self) -> None:
        if self.socket.exists():
            self.run("kill-server")


@contextmanager
def daemon(data: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "kvd", "--listen", LISTEN, "--data", str(data), "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603
        try:
            if not process.stdout or not process.stdout.readline():
                raise SystemExit("the daemon did not start")
            yield
        finally:
            process.terminate()


def play(inner: Tmux) -> None:
    """Set the four panes up and type the scene into them."""
    shell = ["bash", "--noprofile", "--norc"]
    panes = {WATCH: inner.open(*shell)}
    grey = "fg=black"
    for option, value in {
        "pane-border-status": "top",
        "pane-border-format": " #[fg=cyan]#{pane_title} ",
        "pane-border-style": grey,
        "pane-active-border-style": grey,
    }.items():
        inner.run("set-option", "-g", option, value)
    for new, beside, how in ((WRITE, WATCH, ["-h"]), (NC_WATCH, WATCH, LOWER), (NC_WRITE, WRITE, LOWER)):
        panes[new] = inner.run("split-window", *how, "-t", panes[beside], "-P", "-F", "#{pane_id}", *shell)
    for title, pane in panes.items():
        inner.run("select-pane", "-t", pane, "-T", title)
        inner.wait(pane, "$")
    for where, typed, shown_in, effect in SCENE:
        inner.run("send-keys", "-t", panes[where], "-l", typed)
        inner.run("send-keys", "-t", panes[where], "Enter")
        inner.wait(panes[shown_in], effect)


def draw(screen: str) -> Image.Image:
    """A window with the screen, which is lines of text with ANSI colours."""
    fonts = {bold: ImageFont.truetype(name, FONT_SIZE) for bold, name in FONTS.items()}
    ascent, descent = fonts[False].getmetrics()
    width, height = round(fonts[False].getlength("M")), ascent + descent
    size = (COLUMNS * width + 2 * MARGIN, ROWS * height + BAR + MARGIN)
    image = Image.new("RGBA", size)
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), RADIUS, fill=BACKGROUND, outline=EDGE)
    for number, colour in enumerate((RED, YELLOW, GREEN)):
        pen.ellipse((MARGIN + 22 * number, 15, MARGIN + 22 * number + 13, 28), fill=colour)
    console = Console(color_system="truecolor", width=COLUMNS)
    for row, line in enumerate(Text.from_ansi(screen).split("\n")):
        column = 0
        for text, style, _ in line.render(console):
            colour = style.color.get_truecolor(THEME) if style and style.color else FOREGROUND
            for character in text.rstrip("\n"):
                place = (MARGIN + column * width, BAR + row * height)
                pen.text(place, character, colour, fonts[bool(style and style.bold)])
                column += 1
    return image


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, daemon(Path(directory, "data")):
        inner, outer = Tmux(Path(directory, "inner")), Tmux(Path(directory, "outer"))
        try:
            play(inner)
            screen = outer.open("env", "-u", "TMUX", "tmux", "-u", "-S", str(inner.socket), "attach")
            for text in LAST:
                outer.wait(screen, text)
            draw(outer.run("capture-pane", "-p", "-e", "-t", screen)).save(PICTURE, optimize=True)
        finally:
            inner.close()
            outer.close()


if __name__ == "__main__":
    main()

"""What kvctl writes, on standard output and on standard error."""

import base64
import io
import json
import os
import sys
from typing import TextIO

from kvd.cli.escape import visible, visible_value
from kvd.cli.status import DONE, Failure
from kvd.client import is_text


class Output:
    """Standard output, as text lines or as JSON lines; always UTF-8, whatever the locale.

    On a terminal what acts on it is escaped, unless `raw`.
    """

    def __init__(self, as_json: bool, raw: bool) -> None:
        self.as_json = as_json
        self.is_for_people = not raw and sys.stdout.isatty()

    def line(self, text: str, **fields: object) -> None:
        """Write one line: the text, or with --json the fields."""
        self.write(self.encode(text, **fields))

    def encode(self, text: str, **fields: object) -> bytes:
        """Make such a line."""
        if self.as_json:
            text = json.dumps(fields)
        elif self.is_for_people:
            text = visible(text, kept="\t")
        return text.encode() + b"\n"

    def line_of_bytes(self, line: bytes) -> None:
        """Write one line as it is; for people, escaped."""
        if self.is_for_people:
            line = visible(line.decode(errors="backslashreplace"), kept="\t").encode()
        self.write(line + b"\n")

    def value(self, value: bytes, *, is_line: bool = False) -> None:
        """Write the value alone; for people, as whole lines.  is_line: a line's end follows in any case."""
        if not self.is_for_people:
            self.write(value + b"\n" * is_line)
            return
        text = visible_value(value)
        self.write((text if text.endswith("\n") else f"{text}\n").encode())

    def write(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)

    def flush(self) -> None:
        sys.stdout.buffer.flush()


def say(text: str, status: int = DONE) -> int:
    """Write a line to standard error, escaped; return the status."""
    _to_stderr(f"kvctl: {visible(text)}\n")
    return status


def say_amid(text: str) -> None:
    """The same where a signal came, perhaps amid a write to standard error: past its buffer.  Raises OSError."""
    os.write(2, f"kvctl: {visible(text)}\n".encode(errors="backslashreplace"))


def agreed(question: str) -> bool:
    """Ask on standard error whether it is to be done; no is the answer to anything but yes."""
    _to_stderr(visible(question))
    if sys.stderr is not None:
        sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def report(failure: Failure) -> None:
    """Write to standard error why the program ends."""
    for message in failure.messages:
        say(message)
    if failure.usage:
        _to_stderr("\n".join(("Usage:", *failure.usage, "")))


def _to_stderr(text: str) -> None:
    if sys.stderr is None:  # the shell's 2>&-
        return
    try:
        sys.stderr.write(text)
    except OSError:  # nobody reads it: the exit status says enough
        discard(sys.stderr)


def buffer_stdout() -> None:
    """Have standard output take all that is written, or raise OSError.

    Where Python was told not to buffer (PYTHONUNBUFFERED, python -u) it passes each write to the system, which may take
    a part of it alone, as where a disk becomes full, and that is no error.  All that is to be seen at once is flushed.
    """
    if isinstance(sys.stdout.buffer, io.RawIOBase):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(sys.stdout.buffer), encoding=sys.stdout.encoding, errors=sys.stdout.errors
        )


def discard(stream: TextIO) -> None:
    """Let nothing more come of what is written there, nor of the interpreter's own last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def as_on_the_wire(word: str, value: bytes) -> tuple[str, str]:
    return (word, value.decode()) if is_text(value) else (f"{word}64", base64.b64encode(value).decode())


def json_value(value: bytes) -> dict[str, str]:
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}

"""What kvctl writes, on standard output and on standard error."""

import base64
import json
import sys

from kvd.cli.status import DONE
from kvd.client import is_text


class Output:
    """Standard output, as text lines or as JSON lines; always UTF-8, whatever the locale."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def line(self, text: str, **fields: object) -> None:
        """Write one line: the text, or with --json the fields."""
        self.write((json.dumps(fields) if self.as_json else text).encode() + b"\n")

    def write(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)

    def flush(self) -> None:
        sys.stdout.buffer.flush()


def say(text: str, status: int = DONE) -> int:
    if sys.stderr is not None:  # the shell's 2>&-
        sys.stderr.write(f"kvctl: {text}\n")
    return status


def as_on_the_wire(word: str, value: bytes) -> tuple[str, str]:
    return (word, value.decode()) if is_text(value) else (f"{word}64", base64.b64encode(value).decode())


def json_value(value: bytes) -> dict[str, str]:
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}

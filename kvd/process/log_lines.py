"""The lines of the log: one an event, as text or as JSON, in UTC, without passwords.

What an event tells beside its message, such as the connection that it is of, is given with `facts`: words NAME=VALUE
after the message, or fields of their own in JSON.  systemd's journal gives each line its time, and takes its level from
a mark before it: so there it has that in the place of a time.
"""

import json
import logging
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from kvd.credentials import masked
from kvd.errors import one_line

_FACTS = "kvd_facts"
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""Those of syslog, as sd-daemon(3) has them before a line."""


def facts(**known: object) -> dict[str, Any]:
    """What goes with an event: for a logger's `extra`."""
    return {_FACTS: known}


def is_journal(stream: TextIO | None) -> bool:
    """Whether a stream is one to systemd's journal, which says so in the environment.  None: there is none (2>&-)."""
    with suppress(OSError, ValueError):
        if stream is None:
            return False
        found = os.fstat(stream.fileno())
        return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
    return False


def write_to_stderr(level: str, form: str, *, of_many: bool) -> None:
    """Write the log to standard error; of_many: each line says which process it comes from."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(form, of_many=of_many, in_journal=is_journal(sys.stderr)))
    logging.basicConfig(level=level.upper(), handlers=[handler])


class Lines(logging.Formatter):
    """Makes the lines, of whatever logger."""

    def __init__(self, form: str, *, of_many: bool = False, in_journal: bool = False) -> None:
        super().__init__()
        self._is_json = form == "json"
        self._of_many = of_many
        self._in_journal = in_journal

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it; in text an error that nobody foresaw has its traceback in lines after it."""
        mark = f"<{_PRIORITIES.get(record.levelno, 6)}>" if self._in_journal else ""
        lines = [self._json(record)] if self._is_json else [one_line(masked(self._text(record))), *self._trace(record)]
        return "\n".join(mark + line for line in lines)

    def _text(self, record: logging.LogRecord) -> str:
        process = f" [{record.process}]" if self._of_many else ""
        words = [f"{record.levelname}{process} {record.name}: {record.getMessage()}"]
        words += [f"{name}={_word(value)}" for name, value in _known(record).items()]
        return " ".join(words if self._in_journal else [_time_of(record), *words])

    def _json(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {} if self._in_journal else {"time": _time_of(record)}
        line |= {
            "level": record.levelname.lower(), "logger": record.name, "process": record.process,
            "message": masked(record.getMessage()), **_known(record),
        }  # fmt: skip
        if trace := self._trace(record):
            line["exception"] = "\n".join(trace)
        return json.dumps(line)

    def _trace(self, record: logging.LogRecord) -> list[str]:
        return masked(self.formatException(record.exc_info)).splitlines() if record.exc_info else []


def _known(record: logging.LogRecord) -> dict[str, object]:
    """What goes with an event, as JSON has it, without passwords."""
    known: dict[str, object] = getattr(record, _FACTS, {})
    return {name: value if isinstance(value, bool | int | float) else masked(str(value))
            for name, value in known.items()}  # fmt: skip


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(value: object) -> str:
    """A value, quoted if it would be more than one word."""
    text = str(value)
    return text if text and text.isprintable() and not {" ", '"', "="} & set(text) else json.dumps(text)

"""Requests as lines, of a daemon that asks another one."""

from collections.abc import Sequence

from kvd.model import CHANGING, Form
from kvd.requests import History


def watch_words(form: Form, patterns: Sequence[bytes]) -> bytes:
    """The options and patterns of a watch."""
    asked = {b"*keys": form.keys, b"*batches": form.batches, b"*time": form.time, b"*ttl": form.ttl and not form.stays,
             b"*ttl=all": form.ttl and form.stays}  # fmt: skip
    options = [option for option, is_asked in asked.items() if is_asked]
    if form.only != CHANGING:
        options.append(b"*only=" + b",".join(sorted(form.only)))
    return b" ".join((*options, *patterns))


def changes_line(wanted: History) -> bytes:
    """CHANGES."""
    return b"CHANGES %b *limit=%d %b\n" % (
        bytes(wanted.position), wanted.limit, watch_words(wanted.form, wanted.patterns)
    )  # fmt: skip

"""The lines of changes and of copies, in the form that is asked for.  Pure."""

from collections.abc import Callable, Sequence

from kvd.model import PLAIN, Change, Form, Record
from kvd.wire import replies

Render = Callable[[Change, bytes], bytes]
"""Gives the line of a change of a store, b"" for one that is not sent."""


def line_of(form: Form, *, item: bool = False) -> Render:
    """How a change is rendered: as a watcher's line, or as an item of CHANGES."""
    plain = replies.changed if item else replies.change
    if form == PLAIN:
        return plain
    sized = replies.changed_size if item else replies.change_size

    def render(change: Change, store: bytes) -> bytes:
        if change.verb not in form.only:
            return b""
        return sized(change, store) if form.keys and change.verb == b"SET" else plain(change, store)

    return render


def pieced(changes: Sequence[Change], lines: Sequence[bytes], form: Form) -> bytes:  # noqa: ARG001
    """The lines of changes, each as `line_of` gives it, in one piece."""
    return b"".join(lines)


def pair(key: bytes, record: Record, form: Form) -> bytes:
    """The line of a key that is in a copy."""
    return replies.size(key, record) if form.keys else replies.pair(key, record)

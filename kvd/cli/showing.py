"""How changes are written: as lines for programs, or in columns for people."""

import sys
from collections.abc import Iterator
from typing import Protocol

from kvd.cli.escape import visible
from kvd.cli.output import Output, as_on_the_wire, json_value
from kvd.client import Copy, Event, Item

STYLES = {"SET": "green", "DEL": "red", "EXPIRE": "yellow", "PAIR": "cyan", "COPY": "magenta"}
WIDEST_KEY = 40
"""Columns: a longer key moves its value to the right."""


class Form(Protocol):
    """Makes bytes of changes."""

    def change(self, event: Event) -> bytes:
        """One change."""

    def copy(self, copy: Copy) -> Iterator[bytes]:
        """A copy, in pieces."""


class Lines:
    """POSITION SET KEY VALUE, and of a copy COPY REASON, PAIR REV KEY VALUE, POSITION COPIED N; or JSON."""

    def __init__(self, out: Output, keys_only: bool) -> None:
        self._out, self._keys_only = out, keys_only

    def change(self, event: Event) -> bytes:
        """One change."""
        position, revision, verb, key, value = event[:5]
        fields = {"position": position, "revision": revision, "verb": verb, "key": key}
        if value is None or self._keys_only:
            return self._out.encode(f"{position} {verb} {key}", **fields)
        word, text = as_on_the_wire(verb, value)
        return self._out.encode(f"{position} {word} {key} {text}", **fields, **json_value(value))

    def copy(self, copy: Copy) -> Iterator[bytes]:
        """A copy, its keys in their order."""
        yield self._out.encode(f"COPY {copy.reason}", verb="COPY", reason=copy.reason)
        for item in in_order(copy):
            yield self._item(item)
        number = len(copy.items)
        yield self._out.encode(
            f"{copy.position} COPIED {number}",
            position=copy.position, revision=copy.revision, verb="COPIED", count=number,
        )  # fmt: skip

    def _item(self, item: Item) -> bytes:
        fields = {"verb": "PAIR", "key": item.key, "revision": item.revision}
        if self._keys_only:
            return self._out.encode(f"PAIR {item.revision} {item.key}", **fields)
        word, text = as_on_the_wire("PAIR", item.value)
        return self._out.encode(f"{word} {item.revision} {item.key} {text}", **fields, **json_value(item.value))


class Columns:
    """Position, what happened, key and value below each other, in colours; what acts on a terminal is escaped."""

    def __init__(self, keys_only: bool) -> None:
        from rich.console import Console  # a tenth of a second, for those alone who look

        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._keys_only = keys_only
        self._position = self._key = 0

    def change(self, event: Event) -> bytes:
        """One change."""
        return self._row(event.position, event.verb, event.key, event.value)

    def copy(self, copy: Copy) -> Iterator[bytes]:
        """A copy, its keys in their order."""
        yield self._row(copy.position, "COPY", f"{len(copy.items)} keys ({copy.reason})", None)
        store = copy.position.partition("@")[2]
        for item in in_order(copy):
            yield self._row(f"{item.revision}@{store}", "PAIR", item.key, item.value)

    def _row(self, position: str, verb: str, key: str, value: bytes | None) -> bytes:
        from rich.text import Text

        position, key = visible(position), visible(key)
        self._position = max(self._position, len(position))
        self._key = max(self._key, min(len(key), WIDEST_KEY))
        is_valued = value is not None and not self._keys_only
        parts = [
            (f"{position:{self._position}}  ", "dim"),
            (f"{verb:6}  ", STYLES.get(verb, "")),
            (f"{key:{self._key}}  " if is_valued else key, "bold"),
        ]
        if is_valued and value is not None:
            parts.append((visible(value.decode(errors="backslashreplace"), kept="\t"), ""))
        with self._console.capture() as captured:
            self._console.print(Text.assemble(*parts, end=""), end="")
        return captured.get().encode() + b"\n"


def in_order(copy: Copy) -> list[Item]:
    """The items, in the order of their keys' bytes."""
    return [copy.items[key] for key in sorted(copy.items)]

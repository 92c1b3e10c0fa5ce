"""kvd.access.needs: which rights each request needs.  Whoever adds a verb, or a field of a request, adds a row here."""

from typing import get_args

import pytest

from kvd.access.needs import CONSIDERED, ROWS, Need, Needs, Who, of, of_transaction
from kvd.requests import Check, Delete, Increment, Put, Request, Transaction
from kvd.verbs import VERBS, find
from tests.support.rights_table import FREE, NEEDS, READ, WRITE


def parsed(line: str) -> tuple[str, Request]:
    verb, rest = find(line.encode())
    return verb.name, verb.parse(rest, 99)


def needs(line: str) -> Needs:
    name, request = parsed(line)
    found = of(name, request)
    assert found is not None
    assert not isinstance(found, Who)
    return found


@pytest.mark.parametrize("line", NEEDS)
def test_a_request_needs_what_the_table_says(line: str) -> None:
    assert set(needs(line)) == NEEDS[line]


@pytest.mark.parametrize("line", FREE)
def test_others_need_no_right(line: str) -> None:
    assert of(*parsed(line)) is FREE[line]


def test_every_verb_has_a_row_in_both_tables() -> None:
    names = {name.decode() for name in VERBS}
    assert ROWS.keys() == names
    assert {line.partition(" ")[0] for line in (*NEEDS, *FREE)} == names


def test_every_field_of_a_request_was_considered() -> None:
    """A field that is new may tell, or touch, what no rule is asked for: see `needs.CONSIDERED`."""
    kinds = [kind for kind in get_args(Request) if kind is not Transaction]
    assert {kind.__name__: set(kind._fields) for kind in [*kinds, Transaction]} == {
        kind.__name__: set(fields) for kind, fields in CONSIDERED.items()
    }


def test_every_option_is_in_a_line_of_the_table() -> None:
    """So that whoever adds one has to say what it needs."""
    seen: dict[str, set[str]] = {}
    for line in (*NEEDS, *FREE):
        _, request = parsed(line)
        defaults = type(request)._field_defaults
        given = {name for name in request._fields if name not in defaults or getattr(request, name) != defaults[name]}
        seen.setdefault(type(request).__name__, set()).update(given)
    wanted = {kind.__name__: set(kind._fields) for kind in get_args(Request) if kind is not Transaction}
    # What the daemon itself fills in.
    wanted["CheckSince"] -= {"reached", "newest"}
    assert {name: wanted[name] - seen.get(name, set()) for name in wanted if wanted[name] - seen.get(name, set())} == {}


@pytest.mark.parametrize("line", NEEDS)
def test_all_that_a_request_touches_is_asked_for(line: str) -> None:
    assert set(parsed(line)[1].touches()) <= {need.touched for need in needs(line)}


def test_a_transaction_needs_what_its_requests_need() -> None:
    transaction = Transaction((Put(b"a", b"t", b""), Delete(b"b", b"7"), Increment(b"c", b"1"), Check(b"d")))
    assert set(of_transaction(transaction)) == {
        Need(WRITE, b"a"), Need(WRITE, b"b"), Need(READ, b"b"), Need(WRITE, b"c"), Need(READ, b"c"), Need(READ, b"d"),
    }  # fmt: skip

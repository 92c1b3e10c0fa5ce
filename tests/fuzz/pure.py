"""Bytes to requests, without a daemon: only a Refusal or NotAClient may come out of it, however the bytes are cut."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from kvd.errors import NotAClient, Refusal
from kvd.verbs import find
from kvd.wire import replies
from kvd.wire.lines import LineBuffer, max_line
from tests.fuzz import grammar
from tests.fuzz.inputs import VALUE_LIMIT, cut, make


class Outcome(NamedTuple):
    """What became of a line.  verb: "" unless it is a request.  code: "" unless it was refused.

    arguments: of a request.  A line of another protocol has neither verb nor code, and is the last.
    """

    verb: str = ""
    code: str = ""
    arguments: Any = None


STRANGER = Outcome()


def outcomes(chunks: Sequence[bytes], limit: int = 0) -> list[Outcome]:
    """What a session makes of bytes.  limit: bytes in a line, 0 for what belongs to VALUE_LIMIT."""
    buffer = LineBuffer(limit or max_line(VALUE_LIMIT))
    found: list[Outcome] = []
    for chunk in chunks:
        for line in buffer.feed(chunk):
            found.append(_outcome(line))
            if found[-1] == STRANGER:
                return found
    return found


def _outcome(line: bytes | Refusal | NotAClient) -> Outcome:
    try:
        if not isinstance(line, bytes):
            raise line
        verb, rest = find(line)
        return Outcome(verb.name, arguments=verb.parse(rest, VALUE_LIMIT))
    except Refusal as error:
        reply = replies.refused(error)
        if grammar.kind(reply[:-1]) != "status" or reply.count(b"\n") != 1:
            raise ValueError(f"not one line: {reply!r}") from error
        return Outcome(code=error.word)
    except NotAClient:
        return STRANGER


def fuzz(seed: str, inputs: range) -> int:
    """Try inputs by their numbers; how many lines there were.  Raises AssertionError with the input."""
    lines = 0
    for number in inputs:
        data = make(seed, number)
        chance = random.Random(number)
        limit = chance.choice((0, 0, 8, 100))
        try:
            whole = outcomes([data], limit)
            assert outcomes(cut(data, chance), limit) == whole, "cut otherwise, it means something else"
            lines += len(whole)
        except Exception as error:
            error.add_note(f"seed {seed}, input {number}: {data!r}")
            raise
    return lines

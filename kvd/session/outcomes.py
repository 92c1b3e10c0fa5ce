"""What came of several writes that one request made."""

from collections.abc import Sequence

from kvd.model import Outcome
from kvd.wire import replies


def deleted(outcomes: Sequence[Outcome]) -> tuple[int, bytes]:
    """How many keys have gone by some deletes, with their owners, too; and the last revision, b"" if none has."""
    count, last = 0, b""
    for outcome in outcomes:
        if outcome.isdigit():
            count, last = count + 1, outcome
        elif outcome.startswith(b"g"):
            others, _, last = outcome[1:].partition(b":")
            count += 1 + int(others)
    return count, last


def refuse_any(outcomes: Sequence[Outcome]) -> None:
    """Raise the first refusal among the outcomes."""
    for outcome in outcomes:
        error = replies.REFUSED.get(outcome)
        if error:
            raise error

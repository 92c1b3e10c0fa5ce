"""Whether an order of requests exists that explains every reply and that no clock contradicts.

The order of the writes is known: it is that of their revisions.  So a request has a place among them: a write its
own revision, a read any of those between which what it read was there.  A history is linearizable if places can be
chosen so that of two requests, one over before the other began, the first does not have the later place; the same
holds for two requests of one connection, which may wait there together.  The least place that is not before those
of all earlier requests is always the best choice, for a smaller one binds later requests less: so one pass decides.
"""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from tests.faults.history import Violation


class Timed(NamedTuple):
    """A request, as far as its order goes.

    start, end: when it was sent and answered.  connection: a number; -1 for what belongs to none.
    places: the revisions, from and to inclusive, after which it may stand; ascending.
    first: of what makes changes, the revision of its first one: all that is earlier stands before that.
    what: for the message.
    """

    start: float
    end: float
    connection: int
    places: Sequence[tuple[int, int]]
    what: object
    first: int = 0


class Placed(NamedTuple):
    """A request and its place."""

    place: int
    timed: Timed


NOTHING = Placed(0, Timed(0, 0, -1, (), "nothing"))


def place(requests: Sequence[Timed]) -> list[Placed]:
    """Place every request; those of one connection are given in their order.  Raises Violation."""
    placed: list[Placed] = []
    under_way: list[tuple[float, int, Placed]] = []
    latest = NOTHING
    of_connection: dict[int, Placed] = {}
    for number, request in enumerate(sorted(requests, key=lambda request: request.start)):
        while under_way and under_way[0][0] < request.start:
            latest = max(latest, heapq.heappop(under_way)[2], key=_place)
        before = latest
        if request.connection >= 0:
            before = max(latest, of_connection.get(request.connection, NOTHING), key=_place)
        here = Placed(_least(request, before), request)
        of_connection[request.connection] = here
        heapq.heappush(under_way, (request.end, number, here))
        placed.append(here)
    return placed


def _place(placed: Placed) -> int:
    return placed.place


def _least(request: Timed, before: Placed) -> int:
    """The least place for a request that does not stand before an earlier one."""
    if not request.first or before.place < request.first:
        for low, high in request.places:
            if before.place <= high:
                return max(low, before.place)
    raise Violation(
        f"not linearizable: {request.what} belongs to the revisions {list(request.places)}, but was sent after "
        f"this was over, which belongs to {before.place} or later: {before.timed.what}"
    )

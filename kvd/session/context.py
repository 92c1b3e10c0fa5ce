"""What the sessions of one daemon share."""

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from kvd.counts import Counts
from kvd.session.auth import Access
from kvd.session.background import Background
from kvd.session.budget import Budget
from kvd.session.clients import Clients
from kvd.session.committing import Committing
from kvd.session.complaints import Complaints
from kvd.session.counting import RequestCounts
from kvd.session.elsewhere import Elsewhere
from kvd.session.in_flight import InFlight
from kvd.session.limits import Limits
from kvd.session.progress import ProgressTimer
from kvd.session.reaching import Reaching
from kvd.session.rounds import Rounds
from kvd.session.watching import Log
from kvd.store.api import Store
from kvd.watch.catching_up import CatchingUp
from kvd.watch.hub import Hub
from kvd.watch.snapshot import Copying


class Context(NamedTuple):
    """What the sessions of one daemon share, or, where it has several processes, those of one process.

    store, follower, hub, catching_up, copying: where what is asked is answered.
    max_value, max_line: int, bytes.  push_limit: int, bytes that may wait for a slow watcher.
    describe: gives INFO's lines, or those of a section, "" for none.  introduce: those that anybody may see.
    complaints: the log lines that peers cause.  counts, requests: what is counted, and requests by verb and result.
    timer: for PROGRESS.  committing: for COMMIT.  reaching: for min=.  clients: all connections, for CLIENTS and KICK.
    limits, budget, rounds, in_flight: what connections are held to.  background: those that watch, as they give way.
    access: the users, None where there are none.
    elsewhere: the daemon of whose store this one has a copy, None where there is none.
    """

    store: Store
    follower: Log
    hub: Hub
    catching_up: CatchingUp
    copying: Copying
    max_value: int
    max_line: int
    push_limit: int
    describe: Callable[[str], Awaitable[Iterable[str]]]
    complaints: Complaints
    timer: ProgressTimer
    committing: Committing
    counts: Counts
    introduce: Callable[[], Awaitable[Iterable[str]]]
    limits: Limits
    budget: Budget
    rounds: Rounds
    in_flight: InFlight
    reaching: Reaching
    clients: Clients
    requests: RequestCounts
    background: Background
    access: Access | None = None
    elsewhere: Elsewhere | None = None

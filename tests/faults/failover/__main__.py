"""python -m tests.faults.failover: lose primaries under load, and count what was promised and is not so.

Usage:
  tests.faults.failover [--runs N] [--durability MODE] [--store FORM] [--edges N] [--tls] [--auth] [--workers N]
                        [--log-from WHERE] [--json] FAULT...

Options:
  --runs N           How often each fault (default 1).
  --durability MODE  async, replica=N or replica=all (default replica=1).
  --store FORM       sentinel or cluster (default sentinel).
  --edges N          How many edges, each of which follows the one before (default 1).
  --tls              All servers and Sentinels are asked by TLS.
  --auth             They want passwords.
  --workers N        How many processes each daemon has (default 1).
  --log-from WHERE   Whom the daemon that is watched asks for changes, primary or replica (default primary).
  --json             Print each run as JSON.

A FAULT is one of
  kill       kill -9 of the primary, which comes back later, taking itself for one
  short      the same, and the end of its file is gone then
  twice      kill it, and the next one as soon as there is one
  stopS      SIGSTOP of the primary for S seconds, such as stop2.1
  cut        the replicas lose the primary 0.8 s before it is killed, its clients do not
  roots      kill -9 of the daemons, one after the other, each of which comes back
  edges      the same of the edges
  frozenS    SIGSTOP for S seconds of the daemon that the first edge follows
and, in network namespaces, where this may make some,
  off        the primary's machine is off the network for 4 seconds
  offN       machine N is: 0 has the primary, 1 and 2 have its replicas, those after them one each that votes
  linkA.B    the link between two machines is cut for 4 seconds; the last one has the second daemon, and the number
             after its own means the machine of all else
  alone      the primary is cut from all but the daemons
  half       the primary and one replica are cut from the others; the daemons reach the first two
  blind      as half, but the daemons reach all
  silent     those that vote alone lose the primary
  far        the daemons alone lose the primary
  lone       the primary and the daemon that is read from are cut from all else
  replica    one replica is off the network
  parted     the links from the primary to its replicas are cut 0.8 s before its machine dies
  slow       the primary's machine is 0.1 s away, each way, for 4 seconds, and then it dies
  laggard    one replica's machine is, when the primary's dies
  turns      one after the other, with Sentinels in a hurry: it is paused, the next one is cut from all but the daemons,
             and the one after that is killed, each until there is another one
or some of these at once, such as kill+edges.

The servers are what is called redis-server; Valkey's is when a link of that name to it comes first in PATH.
Status 1 if what must never be has been.
"""

import dataclasses
import json
import signal
import sys
from types import FrameType

from docopt import docopt

from tests.faults.failover.run import Setup, needs_network, run
from tests.support.machines import why_none


def _end(number: int, _: FrameType | None) -> None:
    """In order, so that servers and networks are taken down."""
    sys.exit(128 + number)


def main() -> int:
    """Returns the exit status."""
    options = docopt(__doc__)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    setup = Setup(
        options["--store"] or "sentinel", options["--durability"] or "replica=1", int(options["--edges"] or 1),
        options["--tls"], options["--auth"], int(options["--workers"] or 1),
        options["--log-from"] or "primary",
    )  # fmt: skip
    status = 0
    missing = why_none() if any(needs_network(fault) for fault in options["FAULT"]) else ""
    for fault in options["FAULT"]:
        if needs_network(fault) and missing:
            sys.stdout.write(f"{fault}: skipped: {missing}\n")
            continue
        for _ in range(int(options["--runs"] or 1)):
            result = run(fault, setup)
            found = result.violations(setup.durability)
            shown = dataclasses.asdict(result)
            what = {"fault": fault, **dataclasses.asdict(setup)}
            columns = ", ".join(f"{name} {value}" for name, value in shown.items())
            said = json.dumps(what | shown) if options["--json"] else f"{setup} {fault}: {columns}"
            sys.stdout.write(f"{said}\n")
            for one in found:
                status = 1
                sys.stdout.write(f"VIOLATION: {one}\n")
            sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())

"""python -m bench.storm: a crowd with all that is bad about crowds, and whether those who behave well notice.

Usage:
  bench.storm [options]

Options:
  --seconds N      How long the storm lasts [default: 600].
  --connections N  Connections that stay: workers, watchers, slow readers [default: 5000].
  --coming N       Others that come and go, a second [default: 500].
  --work N         Requests of those that stay, a second [default: 300].
  --kvd-args ARGS  More of kvd's options.

Load is what is taken of the daemon's processor time.  Beside the crowd at work, 50 well-behaved clients ask as much as
they can: that saturates the daemon, and half of what it takes then is half the load.  Then the clients ask alone, as
many requests a second as take that half, and at last beside the crowd, so many that they and the crowd take it
together; both times each request is sent when it is due.  It exits with 1 if a limit was not kept.  In earnest it
takes a quarter of an hour, and a machine with cores to spare.
"""

import shlex
import sys
import tempfile
from pathlib import Path

from docopt import docopt

from bench import servers
from bench.curves import Check
from bench.load import Generator, LoadFailed
from bench.storm_run import Seen, Size, measure

MOST_P99 = 2.0
"""p99 beside the crowd, as a multiple of that alone."""
MOST_GROWTH = 1.1
"""Memory at the end, as a multiple of that after the first part, and
SLACK: bytes that it may be more, too."""
SLACK = 8 * 1024 * 1024
LEAST_LOAD = 0.45
"""Of the processor time of the saturated daemon, that it has to have taken beside the crowd, and
MOST_CROWD: of it, that the crowd may take by itself: else it needs less --work, or the daemon less company;
LEAST_CAME: the part of those who were to come, that has to have come: else the figures are of a lighter storm."""
MOST_CROWD = 0.45
LEAST_CAME = 0.95
LIMITS = {"ERR limit", "END limit", "END compacted"}
"""What may be said: a limit was reached; of a watch also that it lags behind what is kept for it."""


def checks(seen: Seen, coming: int) -> list[Check]:
    """What is held to, and whether.  coming: how many were to come a second."""
    errors = {name: count for name, count in seen.crowd["errors"].items() if name not in LIMITS}
    lost = sum(seen.crowd["lost"].values())
    came = seen.crowd["came"] / max(1, coming * seen.crowd["seconds"])
    growth = MOST_GROWTH + SLACK / seen.early
    load = seen.beside.cores / seen.saturated.cores
    crowd_load = seen.crowd_cores / seen.saturated.cores
    return [
        Check(f"errors that are no limits {errors or ''}".strip(), sum(errors.values()), limit=0),
        Check("connections lost, for which no limit is counted", max(0, lost - seen.limited), limit=0),
        Check("descriptors leaked", seen.descriptors, limit=0),
        Check("memory at the end / after the first part", seen.late / seen.early, limit=growth),
        Check("those who came and went / were to", came, "at least", LEAST_CAME),
        Check("load of the crowd by itself / that saturates", crowd_load, limit=MOST_CROWD),
        Check("load beside the crowd / that saturates", load, "at least", LEAST_LOAD),
        Check("p99 beside the crowd / alone", seen.beside.p99 / seen.alone.p99, limit=MOST_P99),
    ]  # fmt: skip


def in_words(seen: Seen, coming: int) -> str:
    """What was seen, and what of it was held to."""
    crowd = seen.crowd
    lines = [
        f"clients {title}: {load.rate:,.0f} requests/s, {load.cores:.2f} of a core, p99 {load.p99:,.0f} us"
        for title, load in (
            ("that saturate, with the crowd", seen.saturated),
            ("alone", seen.alone),
            ("beside the crowd", seen.beside),
        )
    ]
    lines += [
        f"the crowd: {crowd['replies']:,} replies, {crowd['changes']:,} changes, {crowd['came']:,} came and went",
        f"said to it: {crowd['errors'] or 'no errors'}; connections lost: {crowd['lost'] or 'none'}; "
        f"limits that the daemon counted: {seen.limited}",
        f"memory: {seen.early / 2**20:,.0f} MiB after the first part, {seen.late / 2**20:,.0f} MiB at the end",
    ]
    lines += [
        f"{'met' if check.met else 'NOT MET'}: {check.title}: {check.value:.2f} ({check.bound} {check.limit:.2f})"
        for check in checks(seen, coming)
    ]
    return "\n".join(lines)


def main() -> int:
    """Returns the exit status."""
    arguments = docopt(__doc__)
    size = Size(
        float(arguments["--seconds"]), int(arguments["--connections"]), int(arguments["--coming"]),
        int(arguments["--work"]),
    )  # fmt: skip
    servers.use_real_disk()
    with tempfile.TemporaryDirectory(prefix="bench-storm-") as directory:
        try:
            kvd_arguments = shlex.split(arguments["--kvd-args"] or "")
            seen = measure(Generator(Path(directory)), size, kvd_arguments, lambda text: print(text, flush=True))  # noqa: T201
        except LoadFailed as error:
            print(error, file=sys.stderr)  # noqa: T201
            return 1
    print(in_words(seen, size.coming))  # noqa: T201
    return 0 if all(check.met for check in checks(seen, size.coming)) else 1


if __name__ == "__main__":
    sys.exit(main())

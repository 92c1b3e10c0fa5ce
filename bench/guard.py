"""The regression guard: has kvd become far slower, next to bare Redis, than when docs/benchmarks.json was written?

Only ratios of one run are compared, and only a factor of two is an alarm, and only if it is there each time that it is
measured again: machines differ, and are noisy.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.measure import Measured
from bench.targets import KVD

FACTOR = 2.0
"""How many times worse a ratio must be than the recorded one."""
AGAIN = 4
"""Times that what is worse is measured again: a neighbour may take a machine's caches for a while, and Python needs
more of them than Redis."""


def recorded_ratios(path: Path) -> dict[str, float]:
    """kvd's median ratios to bare Redis, by the rows' names; none if nothing was recorded yet."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text())["rows"]
    return {name: row["ratio_to_redis"][KVD]["median"] for name, row in rows.items() if KVD in row["ratio_to_redis"]}


def complaints(measured: Sequence[Measured], recorded: Mapping[str, float]) -> dict[str, str]:
    """What to say, by the rows' names, of each that is more than FACTOR times worse than recorded."""
    found = {}
    for one in measured:
        now, then = one.ratio(KVD), recorded.get(one.row.name)
        if now is None or then is None:
            continue
        is_latency = one.row.figure == "p50_us"
        worse = now.median / then if is_latency else then / now.median
        if worse > FACTOR:
            found[one.row.name] = (
                f"{one.row.title}: {now.median:.2f} times bare Redis, recorded {then:.2f}: {worse:.1f} times worse"
            )
    return found

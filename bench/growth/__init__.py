"""The growth curves, by name: each is a function that measures and gives one curve or more."""

from collections.abc import Callable, Mapping

from bench.curves import Curve
from bench.growth import engines, idle, interference, keys, values, verbs, watchers, workers
from bench.measure import Bench

CURVES: Mapping[str, Callable[[Bench], list[Curve]]] = {
    "keys": keys.measure,
    "watchers": watchers.measure,
    "idle": idle.measure,
    "values": values.measure,
    "verbs": verbs.measure,
    "interference": interference.measure,
    "workers": workers.measure,
    "engines": engines.measure,
}

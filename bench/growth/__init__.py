"""The growth curves, by name: each is a function that measures and gives one curve or more."""

from collections.abc import Callable, Mapping

from bench.curves import Curve
from bench.growth import copies, crowd, engines, idle, interference, keys, returning, values, verbs, watchers, workers
from bench.measure import Bench

CURVES: Mapping[str, Callable[[Bench], list[Curve]]] = {
    "keys": keys.measure,
    "watchers": watchers.measure,
    "idle": idle.measure,
    "values": values.measure,
    "verbs": verbs.measure,
    "interference": interference.measure,
    "crowd": crowd.measure,
    "returning": returning.measure_watchers,
    "behind": returning.measure_behind,
    "copies": copies.measure,
    "workers": workers.measure,
    "engines": engines.measure,
}

IN_WORDS: Mapping[str, Callable[[Curve], list[str]]] = {
    "keys": keys.in_words,
    "watchers": watchers.in_words,
    "idle": idle.in_words,
    "values": values.in_words,
    "verbs": verbs.in_words,
    "interference": interference.in_words,
    "crowd": crowd.in_words,
    "returning": returning.watchers_in_words,
    "behind": returning.behind_in_words,
    "copies": copies.in_words,
    "workers": workers.in_words,
    "engines": engines.in_words,
}
"""What a curve shows, in sentences for readers."""

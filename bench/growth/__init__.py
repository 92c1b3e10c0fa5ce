"""The growth curves, by name: each is a function that measures and gives one curve or more."""

from collections.abc import Callable, Mapping

from bench.curves import Curve
from bench.measure import Bench

CURVES: Mapping[str, Callable[[Bench], list[Curve]]] = {}

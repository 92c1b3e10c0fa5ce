"""/metrics: the metrics as Prometheus takes them, by its own library, in the format that is asked for."""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import exposition
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from kvd.counts import Values
from kvd.http.messages import Response
from kvd.measuring import Measured
from kvd.metrics import BUILD, ENGINE, Kind, Metric

Family = Any
INFINITE = "+Inf"


class _Collected:
    """As the library takes it."""

    def __init__(self, measured: Mapping[Metric, Measured]) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Family]:
        texts = {metric.name: str(value) for metric, value in self._measured.items() if metric.kind is Kind.TEXT}
        version = texts.pop(BUILD.name)
        facts = {"version": version, "engine": texts.get(ENGINE.name, "")}
        yield InfoMetricFamily("kvd_build", BUILD.help, value=facts)
        families: dict[str, Family] = {}
        for metric, value in self._measured.items():
            if metric.kind is Kind.TEXT:
                continue
            if metric.exposed not in families:
                families[metric.exposed] = _family(metric)
            _add(families[metric.exposed], metric, value)
        yield from families.values()


def expose(measured: Mapping[Metric, Measured], accepted: str) -> Response:
    """The answer.  accepted: a request's Accept."""
    encode, kind = exposition.choose_encoder(accepted)
    return Response(body=encode(_Collected(measured)), kind=kind)


def _family(metric: Metric) -> Family:
    kinds = {Kind.COUNTER: CounterMetricFamily, Kind.GAUGE: GaugeMetricFamily, Kind.HISTOGRAM: HistogramMetricFamily}
    labels = [metric.mark[0]] if metric.mark else [label.name for label in metric.labels]
    return kinds[metric.kind](metric.exposed, metric.help, labels=labels)


def _add(family: Family, metric: Metric, measured: Measured) -> None:
    if not isinstance(measured, Mapping):
        family.add_metric([metric.mark[1]] if metric.mark else [], measured)
        return
    for series, value in measured.items():
        if not isinstance(value, Values):
            family.add_metric(series, value)
        elif value.number or not metric.labels:
            bounds = [*map(str, metric.bounds), INFINITE]
            family.add_metric(series, list(zip(bounds, accumulate(value.buckets), strict=True)), value.sum)

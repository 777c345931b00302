"""Families of metrics from numbers that are known, in the form of prometheus_client."""

from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from securechat.distribution import Distribution

Samples = Iterable[tuple[Sequence[str], float]]  # label values and the value


def gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, float(value))


def gauges(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def counter(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    """A counter; its series have the suffix ``_total``."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    distributions: Iterable[tuple[Sequence[str], Distribution]],
    *,
    scale: float = 1,
) -> Metric:
    """A histogram; values and bounds are divided by `scale`."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, distribution in distributions:
        bounds = [*(str(bound / scale) for bound in distribution.bounds), "+Inf"]
        counts = map(float, accumulate(distribution.counts))
        family.add_metric(values, list(zip(bounds, counts, strict=True)), distribution.sum / scale)
    return family

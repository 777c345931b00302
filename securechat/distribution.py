"""How values are distributed, counted in a few ranges: what a histogram of Prometheus is made from."""

from bisect import bisect_left
from collections.abc import Sequence


class Distribution:
    """Counts values by the first bound that they do not exceed; the last count is of values above all bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are in ascending order."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

"""The features of an observed reply: sizes, gaps, counts and durations."""

import statistics
from collections.abc import Sequence
from itertools import pairwise

NAMES = (
    *("pieces", "bytes", "first", "duration", "middle"),
    *("gap mean", "gap sd", "gap min", "gap 10 %", "gap median", "gap 90 %", "gap max"),
    *("size mean", "size sd", "size min", "size median", "size max"),
)


def features(pieces: Sequence[tuple[float, int]]) -> list[float]:
    """One number for each of NAMES, times in seconds. `pieces` is not empty: (seconds since the question, bytes)."""
    moments = [moment for moment, _size in pieces]
    sizes = [size for _moment, size in pieces]
    gaps = sorted(later - earlier for earlier, later in pairwise(moments)) or [0.0]
    tenth = len(gaps) // 10
    return [
        *(len(pieces), sum(sizes), moments[0], moments[-1] - moments[0], statistics.median(moments)),
        *(statistics.fmean(gaps), statistics.pstdev(gaps), gaps[0], gaps[tenth]),
        *(statistics.median(gaps), gaps[-1 - tenth], gaps[-1]),
        *(statistics.fmean(sizes), statistics.pstdev(sizes), min(sizes), statistics.median(sizes), max(sizes)),
    ]

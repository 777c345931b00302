"""The features of an observed reply: sizes, gaps, counts, durations, and how exactly the records keep the ticks."""

import cmath
import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

from sidechannel.traces import RECORD, Sample

CIRCLE = 1.0  # milliseconds: epoll's timers expire at whole ones, counted from whatever woke the process last

_TRACE = (
    *("pieces", "bytes", "first", "duration", "middle", "next"),
    *("gap mean", "gap sd", "gap min", "gap 10 %", "gap median", "gap 90 %", "gap max"),
    *("size mean", "size sd", "size min", "size median", "size max"),
)
_PHASE = (
    *("late first", "late mean", "late sd", "late median", "late 90 %", "late max"),
    *("step sd", "step median", "step 90 %", "step concentration", "phase concentration"),
)
NAMES = (
    *_TRACE,
    *_PHASE,
    *(f"{name}, 1st half" for name in _PHASE),
    *(f"{name}, 2nd half" for name in _PHASE),
    *(f"{name}, change" for name in _PHASE),
)


def features(sample: Sample, tick: float) -> list[float]:
    """One number for each of NAMES, times in milliseconds. The sample is not empty; the tick is in seconds."""
    late = lateness(sample, tick * 1000)
    half = max(1, len(late) // 2)
    first, second = _phase(late[:half]), _phase(late[half:] or late)
    change = [after - before for before, after in zip(first, second, strict=True)]
    return [*_trace(sample), *_phase(late), *first, *second, *change]


def lateness(sample: Sample, tick: float) -> list[float]:
    """By how much each record is later than its tick, if the earliest of them is on time. All times in milliseconds."""
    moments = [moment * 1000 for moment, size in sample.pieces for _record in range(max(1, size // RECORD))]
    drift = [moment - number * tick for number, moment in enumerate(moments)]
    least = min(drift)
    return [one - least for one in drift]


def _trace(sample: Sample) -> list[float]:
    moments = [moment * 1000 for moment, _size in sample.pieces]
    sizes = [size for _moment, size in sample.pieces]
    gaps = sorted(later - earlier for earlier, later in pairwise(moments)) or [0.0]
    tenth = len(gaps) // 10
    return [
        *(
            len(moments),
            sum(sizes),
            moments[0],
            moments[-1] - moments[0],
            statistics.median(moments),
            sample.next * 1000,
        ),
        *(statistics.fmean(gaps), statistics.pstdev(gaps), gaps[0], gaps[tenth]),
        *(statistics.median(gaps), gaps[-1 - tenth], gaps[-1]),
        *(statistics.fmean(sizes), statistics.pstdev(sizes), min(sizes), statistics.median(sizes), max(sizes)),
    ]


def _phase(late: Sequence[float]) -> list[float]:
    """How late the records are, how much that changes from one to the next, and whether it does on epoll's circle."""
    steps = [later - earlier for earlier, later in pairwise(late)] or [0.0]
    sizes = sorted(map(abs, steps))
    ordered = sorted(late)
    return [
        *(late[0], statistics.fmean(late), statistics.pstdev(late), statistics.median(late)),
        *(ordered[-1 - len(late) // 10], ordered[-1]),
        *(statistics.pstdev(steps), statistics.median(sizes), sizes[-1 - len(sizes) // 10]),
        *(_concentration(steps), _concentration(late)),
    ]


def _concentration(times: Sequence[float]) -> float:
    """Of times on the circle: 1 if they are all in one place, about 0 if they are everywhere."""
    return abs(sum(cmath.exp(2j * math.pi * time / CIRCLE) for time in times)) / len(times)

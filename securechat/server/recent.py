"""The latest measurements of something, and what is enough for most of them."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence


class Recent:
    """The latest values, at most so many."""

    __slots__ = ("_latest", "_number", "_part", "_sorted")

    def __init__(self, number: int, part: float, initial: Sequence[float] = ()) -> None:
        """`part`, below 1, is the part of the values that `usual` has to be enough for."""
        self._number = number
        self._part = part
        self._latest = deque(initial)  # in the order in which they were added
        self._sorted = sorted(initial)

    def add(self, value: float) -> None:
        """Add a value; the oldest is dropped if there are too many."""
        self._latest.append(value)
        insort(self._sorted, value)
        if len(self._latest) > self._number:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]

    @property
    def usual(self) -> float:
        """A value that this part of the values do not exceed. There must be one."""
        return self._sorted[int(self._part * len(self._sorted))]

"""A limit on the processor time of a call, for regular expressions on text from outside."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Final, TypeVar

AGAIN: Final = 0.1  # seconds of processor time until the next attempt, if an exception was lost in a callback

T = TypeVar("T")


class CpuLimitError(Exception):
    """The time is up."""


def with_cpu_limit(seconds: float, function: Callable[[], T]) -> T:
    """The function's result; it is interrupted by a CpuLimitError after so many seconds of processor time.

    In the main thread only. The interval is that of the kernel's clock, a few milliseconds longer. Python's regular
    expressions check for signals while they match.
    """
    is_running = True

    def expire(_number: int, _frame: FrameType | None) -> None:
        if is_running:
            raise CpuLimitError

    # The handler stays: a signal that is late must not end the process.
    signal.signal(signal.SIGVTALRM, expire)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN)
        return function()
    finally:
        is_running = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)

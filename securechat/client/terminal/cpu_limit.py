"""A limit on the processor time of a call, for regular expressions on text from outside."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class CpuLimitError(Exception):
    """The time is over."""


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Interrupt the body with a CpuLimitError after so many seconds of processor time; in the main thread only.

    The interval is that of the kernel's clock, a few milliseconds longer. Python's regular expressions look for signals
    while they match.
    """
    is_running = True

    def expire(_number: int, _frame: FrameType | None) -> None:
        if is_running:
            raise CpuLimitError

    # The handler stays: a signal that is late must not end the process.
    signal.signal(signal.SIGVTALRM, expire)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        is_running = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)

"""Linux's timerfd (timerfd_create(2)): `os` has it from Python 3.13 on, libc before that."""

import ctypes
import os
import sys
import time
from functools import cache
from typing import Final

SIZE: Final = 8  # bytes to read when the timer has expired
_ABSOLUTE: Final = 1  # TFD_TIMER_ABSTIME
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK | TFD_CLOEXEC


class _ITimerSpec(ctypes.Structure):
    """struct itimerspec"""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


@cache
def is_available() -> bool:
    """Whether this platform has timerfd."""
    return sys.platform == "linux" and (hasattr(os, "timerfd_create") or hasattr(_libc(), "timerfd_create"))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def create() -> int:
    """The descriptor of a new timer on CLOCK_MONOTONIC; OSError. The caller closes it."""
    if sys.version_info >= (3, 13):
        return os.timerfd_create(time.CLOCK_MONOTONIC, flags=_FLAGS)
    return _checked(_libc().timerfd_create(time.CLOCK_MONOTONIC, _FLAGS))


def set_time(descriptor: int, nanoseconds: int) -> None:
    """Have the timer expire once at this time of CLOCK_MONOTONIC, which is above 0; OSError."""
    if sys.version_info >= (3, 13):
        os.timerfd_settime_ns(descriptor, flags=_ABSOLUTE, initial=nanoseconds)
        return
    spec = _ITimerSpec(0, 0, *divmod(nanoseconds, 1_000_000_000))
    _checked(_libc().timerfd_settime(descriptor, _ABSOLUTE, ctypes.byref(spec), None))


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result

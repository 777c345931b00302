"""Timers on CLOCK_MONOTONIC, precise to microseconds where the platform can do that.

Twisted's own timers follow the wall clock, so that a step of it stops them or fires them all, and epoll wakes at whole
milliseconds counted from the last wake-up, so that whatever woke the process before shows in the moment of the next
timer. Neither will do for records whose times must say nothing (protocol, section 10).
"""

import heapq
import itertools
import math
import os
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from zope.interface import directlyProvides, implementer, providedBy

from securechat import timerfd

log = Logger()
_log_failure = log.failureHandler("unhandled error in a delayed call")  # any exception: it must not stop the others

_MIN_STALE: Final = 64  # stale entries in the heap, below which removing them is not worth it


class IClockReactor(IReactorTime, IReactorFDSet):
    """What the clock needs of the reactor under it."""


class _Alarm(Protocol):
    """Calls a function once, at the time that was set last."""

    def set(self, when: float) -> None:
        """`when` is in seconds of CLOCK_MONOTONIC; a time that has passed is now."""

    def close(self) -> None: ...


@implementer(IReadDescriptor)
class TimerfdAlarm:
    """Linux's timerfd, read by the reactor."""

    def __init__(self, reactor: IReactorFDSet, ring: Callable[[], None]) -> None:
        self._reactor = reactor
        self._ring = ring
        self._descriptor = timerfd.create()
        reactor.addReader(self)

    def set(self, when: float) -> None:
        timerfd.set_time(self._descriptor, max(1, math.ceil(when * 1e9)))

    def close(self) -> None:
        self._reactor.removeReader(self)
        os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> None:
        try:
            os.read(self._descriptor, timerfd.SIZE)
        except BlockingIOError:
            return  # it was set anew since the reactor saw it
        self._ring()

    def connectionLost(self, reason: object) -> None:
        """The reactor stops; there is nothing to release."""

    def logPrefix(self) -> str:
        return "timerfd"


class ReactorAlarm:
    """The reactor's own timer, for platforms without timerfd: milliseconds, and late after a step of the wall clock."""

    def __init__(self, reactor: IReactorTime, ring: Callable[[], None], seconds: Callable[[], float]) -> None:
        """`seconds` is the time that alarms are set by."""
        self._reactor = reactor
        self._ring = ring
        self._seconds = seconds
        self._call: IDelayedCall | None = None

    def set(self, when: float) -> None:
        self.close()
        self._call = self._reactor.callLater(max(0.0, when - self._seconds()), self._ring)

    def close(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()


class _Entry(NamedTuple):
    """A call in the heap, by a time at which it was to be made."""

    time: float
    number: int  # so that no calls are compared
    call: DelayedCall

    def is_stale(self) -> bool:
        """Whether the call was cancelled, or moved to an earlier time, where it has another entry."""
        return bool(self.call.cancelled or self.call.called or self.time != self.call.time)


@implementer(IReactorTime)
class MonotonicClock:
    """An IReactorTime for the whole daemon, with one alarm for all of its calls."""

    def __init__(self, reactor: IClockReactor, seconds: Callable[[], float] = time.monotonic) -> None:
        """`seconds` must be CLOCK_MONOTONIC where timerfd is available."""
        self._reactor = reactor
        self.seconds = seconds
        self._urgent: Callable[[], None] | None = None
        self._alarm: _Alarm | None = None  # made when it is first needed: a daemon forks before that
        self._alarm_at = math.inf  # when the alarm is set to ring
        self._entries: list[_Entry] = []  # a heap
        self._numbers = itertools.count()
        self._stale = 0  # entries

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> DelayedCall:
        call = DelayedCall(self.seconds() + delay, callable, args, kw, self._cancelling, self._moved, self.seconds)
        self._add(call)
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:
        return [entry.call for entry in self._entries if not entry.is_stale()]

    def hold_until(self, when: float) -> None:
        """Block until this time, which must be near, by watching the clock."""
        while self.seconds() < when:
            pass

    def at_checkpoints(self, urgent: Callable[[], None]) -> None:
        """Have `urgent` called at each checkpoint, to do at once what is due and should not be late."""
        self._urgent = urgent

    def checkpoint(self) -> None:
        """Call this after handling an event of a socket.

        The reactor handles the events of all sockets that are ready before it looks at the time again.
        """
        if self._urgent is not None:
            self._urgent()

    def close(self) -> None:
        """Make none of the pending calls, and release the alarm. A further `callLater` makes a new one."""
        self._entries.clear()
        self._stale = 0
        self._alarm_at = math.inf
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None

    def _add(self, call: DelayedCall) -> None:
        heapq.heappush(self._entries, _Entry(call.time, next(self._numbers), call))
        self._set_alarm()

    def _cancelling(self, _call: DelayedCall) -> None:
        """A call is about to be marked as cancelled."""
        self._stale += 1
        self._remove_stale()

    def _moved(self, call: DelayedCall) -> None:
        """A call was moved to an earlier time."""
        self._stale += 1
        self._remove_stale()
        self._add(call)

    def _remove_stale(self) -> None:
        """Remove stale entries if they are more than half of the heap; the others are dropped at their times."""
        if self._stale > max(_MIN_STALE, len(self._entries) // 2):
            self._entries = [entry for entry in self._entries if not entry.is_stale()]
            heapq.heapify(self._entries)
            self._stale = 1  # at most: the one that is being cancelled

    def _set_alarm(self) -> None:
        when = self._entries[0].time
        if when >= self._alarm_at:
            return
        if self._alarm is None:
            self._alarm = (
                TimerfdAlarm(self._reactor, self._make_calls)
                if timerfd.is_available()
                else ReactorAlarm(self._reactor, self._make_calls, self.seconds)
            )
        self._alarm_at = when
        self._alarm.set(when)

    def _make_calls(self) -> None:
        """Make the calls that are due."""
        self._alarm_at = math.inf
        now = self.seconds()
        while self._entries and self._entries[0].time <= now:
            entry = heapq.heappop(self._entries)
            call = entry.call
            if entry.is_stale():
                self._stale -= 1
            elif call.delayed_time > 0:
                call.activate_delay()
                heapq.heappush(self._entries, _Entry(call.time, next(self._numbers), call))
            else:
                call.called = 1
                with _log_failure:
                    call.func(*call.args, **call.kw)
                self.checkpoint()
        if self._entries:
            self._set_alarm()


class MonotonicReactor:
    """A reactor whose timers are a MonotonicClock's; everything else is the reactor's own."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.clock: Final = MonotonicClock(reactor)
        self.seconds = self.clock.seconds
        self.callLater = self.clock.callLater
        self.hold_until = self.clock.hold_until
        self.at_checkpoints = self.clock.at_checkpoints
        self.checkpoint = self.clock.checkpoint
        self.getDelayedCalls = self.clock.getDelayedCalls
        self.close = self.clock.close
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

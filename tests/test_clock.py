"""The monotonic clock and its alarms, on a Clock where the order matters and on the real reactor where time does."""

import heapq
import math
import os
import select
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat import timerfd
from securechat.clock import IClockReactor, MonotonicClock, MonotonicReactor, TimerfdAlarm

reactor: Any = installed


def fail(error: BaseException) -> None:
    raise error


class CallTests(SynchronousTestCase):
    """Delayed calls, on a platform without timerfd."""

    def setUp(self) -> None:
        self.patch(timerfd, "is_available", lambda: False)
        self.reactor = Clock()
        self.clock = MonotonicClock(cast(IClockReactor, self.reactor), self.reactor.seconds)
        self.made: list[object] = []

    def later(self, delay: float, name: object) -> Any:
        return self.clock.callLater(delay, self.made.append, name)

    def test_order(self) -> None:
        """Calls are made in the order of their times, with their arguments, and none before its time."""
        for delay in (3, 1, 2, 5, 4):
            self.later(delay, delay)
        self.clock.callLater(2.5, lambda *args, **kw: self.made.append((args, kw)), 1, key="value")
        self.reactor.advance(2.9)
        self.assertEqual(self.made, [1, 2, ((1,), {"key": "value"})])
        self.reactor.advance(10)
        self.assertEqual(self.made[3:], [3, 4, 5])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_oneAlarm(self) -> None:
        """One call of the reactor's serves all; there is none when there is nothing to do."""
        for delay in (3, 1, 2):
            self.later(delay, delay)
        self.assertEqual([call.getTime() for call in self.reactor.getDelayedCalls()], [1])
        self.reactor.advance(1)
        self.assertEqual([call.getTime() for call in self.reactor.getDelayedCalls()], [2])
        self.reactor.advance(2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancel(self) -> None:
        """A cancelled call is not made, also if one that is due at the same time cancels it."""
        first, second = self.later(1, "first"), self.later(2, "second")
        self.later(2, "third")
        first.cancel()
        self.assertRaises(AlreadyCancelled, first.cancel)
        self.clock.callLater(1.5, second.cancel)
        self.assertEqual(len(self.clock.getDelayedCalls()), 3)
        self.reactor.advance(5)
        self.assertEqual(self.made, ["third"])
        self.assertRaises(AlreadyCancelled, second.cancel)

    def test_reset(self) -> None:
        """A call can be moved to an earlier or a later time, counted from now."""
        sooner, later = self.later(10, "sooner"), self.later(2, "later")
        self.later(3, "unmoved")
        self.reactor.advance(1)
        sooner.reset(0.5)
        later.reset(4)
        self.assertEqual((sooner.getTime(), later.getTime()), (1.5, 5))
        self.reactor.advance(0.5)
        self.assertEqual(self.made, ["sooner"])
        self.reactor.advance(3)
        self.assertEqual(self.made, ["sooner", "unmoved"])
        self.reactor.advance(0.5)
        self.assertEqual(self.made, ["sooner", "unmoved", "later"])
        self.assertRaises(AlreadyCalled, later.reset, 1)

    def test_delay(self) -> None:
        """A call can be delayed, and the other way round."""
        call = self.later(2, "call")
        call.delay(2)
        self.reactor.advance(3)
        self.assertEqual(self.made, [])
        call.delay(3)
        call.delay(-2)
        self.assertEqual(call.getTime(), 5)
        self.reactor.advance(2)
        self.assertEqual(self.made, ["call"])

    def test_manyCancelled(self) -> None:
        """Calls that are made and cancelled again and again, as timeouts are, do not pile up."""
        self.later(50, "last")
        kept = [self.later(20 + number % 7, number % 7) for number in range(20)]
        for number in range(10_000):
            self.later(30 + number % 11, "never").cancel()
        self.assertLess(len(self.clock._entries), 200)
        for call in kept[:10]:
            call.cancel()
        self.assertEqual(len(self.clock.getDelayedCalls()), 11)
        self.reactor.advance(100)
        self.assertEqual(self.made, [*sorted(number % 7 for number in range(10, 20)), "last"])
        for _ in range(1000):
            self.later(1, "never").cancel()
        self.later(1, "at the end")
        self.reactor.advance(1)
        self.assertEqual(self.made[-1], "at the end")

    def test_manyMoved(self) -> None:
        """Calls that are moved to an earlier time again and again do not pile up, nor are all sorted each time."""
        sorted_heaps: list[int] = []
        heapify = heapq.heapify

        def sort(heap: list[Any]) -> None:
            sorted_heaps.append(len(heap))
            heapify(heap)

        self.patch(heapq, "heapify", sort)
        calls = [self.later(20_000, number) for number in range(1000)]
        for step in range(10):
            for number, call in enumerate(calls):
                call.reset(10_000 - 1000 * step - number)
        self.assertLess(sum(sorted_heaps), 20 * len(calls))
        self.assertLess(len(self.clock._entries), 3 * len(calls))
        self.assertEqual(len(self.clock.getDelayedCalls()), len(calls))
        for call in calls[::2]:
            call.cancel()
        self.reactor.advance(20_000)
        self.assertEqual(self.made, list(range(999, 0, -2)))

    def test_movedTwice(self) -> None:
        """A call that is moved to an earlier time, delayed and moved again is made once."""
        call = self.later(5, "call")
        call.reset(3)
        call.delay(2)
        self.later(4, "other")
        self.reactor.advance(3)
        call.reset(1)
        self.reactor.advance(10)
        self.assertEqual(self.made, ["other", "call"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_exceptions(self) -> None:
        """A call that raises is logged, whatever it raises, and the others are made."""
        for error in (ValueError(), SystemExit(), KeyboardInterrupt()):
            self.clock.callLater(1, fail, error)
        self.later(1, "same time")
        self.later(2, "later")
        self.reactor.advance(1)
        self.reactor.advance(1)
        self.assertEqual(self.made, ["same time", "later"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError, SystemExit, KeyboardInterrupt)), 3)

    def test_checkpoints(self) -> None:
        """What is urgent is called at each checkpoint: after an event, and after each call that is made."""
        self.clock.checkpoint()
        self.clock.at_checkpoints(lambda: self.made.append("urgent"))
        self.clock.checkpoint()
        self.assertEqual(self.made, ["urgent"])
        self.later(1, "first")
        self.later(1, "second")
        self.reactor.advance(1)
        self.assertEqual(self.made[1:], ["first", "urgent", "second", "urgent"])

    def test_close(self) -> None:
        """A closed clock makes none of its calls, and can be used again."""
        call = self.later(1, "never")
        self.clock.close()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        call.cancel()
        self.later(2, "again")
        self.reactor.advance(5)
        self.assertEqual(self.made, ["again"])
        self.clock.close()
        self.clock.close()

    def test_theAlarmRingsEarly(self) -> None:
        """An alarm that rings too early, as those of a wall clock can, makes no call before its time."""
        wall = Clock()
        clock = MonotonicClock(cast(IClockReactor, wall), self.reactor.seconds)
        clock.callLater(1, self.made.append, "call")
        wall.advance(1)
        self.assertEqual(self.made, [])
        self.reactor.advance(1)
        wall.advance(1)
        self.assertEqual(self.made, ["call"])


class RealTimeTests(TestCase):
    """Delayed calls over the real reactor, with the best alarm that the platform has."""

    def setUp(self) -> None:
        self.clock = MonotonicClock(reactor)

    def tearDown(self) -> None:
        self.clock.close()
        self.assertEqual(self.alarms(), [])

    def alarms(self) -> list[object]:
        """The alarms that the reactor reads."""
        return [reader for reader in reactor.getReaders() if isinstance(reader, TimerfdAlarm)]

    async def measure(self, delays: list[float]) -> list[float]:
        """Make a call after each delay, in seconds; by how much each is late."""
        late: list[float] = []
        done: Deferred[None] = Deferred()

        def note(due: float) -> None:
            late.append(time.monotonic() - due)
            if len(late) == len(delays):
                done.callback(None)

        for delay in delays:
            self.clock.callLater(delay, note, time.monotonic() + delay)
        await done.addTimeout(30, reactor)
        return late

    async def test_precision(self) -> None:
        """No call is early, and most are not late, either, by what a busy machine may take."""
        late = await self.measure([0.0033 * number for number in range(100)])
        self.assertGreaterEqual(min(late), -1e-6)
        self.assertLess(statistics.median(late), 0.05)

    async def test_soonerOnes(self) -> None:
        """A call that is added later and due earlier is made in time."""
        late = await self.measure([0.2, 0.1, 0.02, 0.0])
        self.assertGreaterEqual(min(late), -1e-6)
        self.assertLess(min(late), 0.1)

    async def test_alarm(self) -> None:
        """The alarm itself is not early either: an early one would wake the process twice."""
        for number in range(20):
            when = time.monotonic() + 0.001 + 0.0007 * number
            rung: Deferred[float] = Deferred()

            def ring(rung: "Deferred[float]" = rung) -> None:
                rung.callback(time.monotonic())

            if not timerfd.is_available():
                self.skipTest("needs timerfd")
            alarm = TimerfdAlarm(reactor, ring)
            alarm.set(when)
            try:
                self.assertGreaterEqual(await rung.addTimeout(30, reactor), when)
            finally:
                alarm.close()

    async def test_ringsOnce(self) -> None:
        """An alarm that has rung does not wake the process again."""
        if not timerfd.is_available():
            self.skipTest("needs timerfd")
        rung: Deferred[None] = Deferred()
        alarm = TimerfdAlarm(reactor, lambda: rung.callback(None))
        self.addCleanup(alarm.close)
        alarm.set(time.monotonic())
        await rung.addTimeout(30, reactor)
        self.assertEqual(select.select([alarm], [], [], 0), ([], [], []))

    async def test_descriptors(self) -> None:
        """A clock that is closed, and one that is used again, leaves no descriptor open."""
        if not Path("/proc/self/fd").is_dir():
            self.skipTest("needs Linux's /proc")
        await deferLater(reactor, 0)  # by now the reactor has its own
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            await self.measure([0.0])
            self.clock.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    async def test_othersGetTheirTurn(self) -> None:
        """Calls that add a further one at once, for ever, do not keep the reactor from anything else."""
        made = 0

        def again() -> None:
            nonlocal made
            made += 1
            self.clock.callLater(0, again)

        again()
        await deferLater(reactor, 0.05)
        self.assertGreater(made, 1)

    async def test_steppedWallClock(self) -> None:
        """When the wall clock is set back, calls are neither late nor early."""
        if not timerfd.is_available():
            self.skipTest("needs timerfd")
        measuring = Deferred.fromCoroutine(self.measure([0.1]))
        wall, seconds = time.time, reactor.seconds
        self.patch(time, "time", lambda: wall() - 3)
        self.patch(reactor, "seconds", lambda: seconds() - 3)
        [late] = await measuring
        self.assertGreaterEqual(late, -1e-6)
        self.assertLess(late, 2)

    async def test_close(self) -> None:
        """A closed clock has released its descriptor, and makes no call any more."""
        made: list[str] = []
        self.clock.callLater(0.01, made.append, "never")
        self.assertEqual(len(self.alarms()), timerfd.is_available())
        self.clock.close()
        self.assertEqual(self.alarms(), [])
        await deferLater(reactor, 0.03)
        self.assertEqual(made, [])


class FallbackTests(RealTimeTests):
    """The same without timerfd."""

    def setUp(self) -> None:
        self.patch(timerfd, "is_available", lambda: False)
        super().setUp()


class ReactorTests(SynchronousTestCase):
    """A reactor with other timers."""

    def test_timers(self) -> None:
        """Its timers are the monotonic clock's; in all else it is the reactor, whose interfaces it provides."""
        monotonic = MonotonicReactor(reactor)
        self.addCleanup(monotonic.close)
        before = reactor.getDelayedCalls()
        call = monotonic.callLater(100, fail, AssertionError())
        self.assertEqual(reactor.getDelayedCalls(), before)
        self.assertEqual(list(monotonic.getDelayedCalls()), [call])
        self.assertLess(abs(monotonic.seconds() - time.monotonic()), 10)
        self.assertEqual(monotonic.callWhenRunning, reactor.callWhenRunning)
        self.assertTrue(IReactorTime.providedBy(monotonic))
        self.assertEqual(IReactorTCP.providedBy(monotonic), IReactorTCP.providedBy(reactor))


class TimerfdTests(SynchronousTestCase):
    """timerfd as this Python reaches it: through `os` from 3.13 on."""

    if not timerfd.is_available():
        skip = "this platform has no timerfd"

    def setUp(self) -> None:
        self.descriptor = timerfd.create()
        self.addCleanup(os.close, self.descriptor)

    def expires_within(self, seconds: float) -> bool:
        return bool(select.select([self.descriptor], [], [], seconds)[0])

    def set(self, delay: float) -> None:
        timerfd.set_time(self.descriptor, max(1, math.ceil((time.monotonic() + delay) * 1e9)))

    def test_expires(self) -> None:
        """A timer expires once, at its time, and not before; a time in the past is now."""
        self.assertFalse(self.expires_within(0))
        start = time.monotonic()
        self.set(0.02)
        self.assertTrue(self.expires_within(10))
        self.assertGreaterEqual(time.monotonic() - start, 0.02 - 1e-6)
        self.assertEqual(os.read(self.descriptor, timerfd.SIZE), (1).to_bytes(8, "little"))
        self.assertFalse(self.expires_within(0.03))
        self.set(-100)
        self.assertTrue(self.expires_within(10))

    def test_setAgain(self) -> None:
        """A timer that is set again expires at the new time only."""
        self.set(0.01)
        self.set(100)
        self.assertFalse(self.expires_within(0.03))
        self.set(0.01)
        self.assertTrue(self.expires_within(10))

    def test_descriptor(self) -> None:
        """Reading never blocks, and child processes do not inherit the descriptor."""
        self.assertRaises(BlockingIOError, os.read, self.descriptor, timerfd.SIZE)
        self.assertFalse(os.get_inheritable(self.descriptor))

    def test_errors(self) -> None:
        """Errors of the system are OSErrors."""
        descriptor = timerfd.create()
        os.close(descriptor)
        self.assertRaises(OSError, timerfd.set_time, descriptor, 1)


class LibcTimerfdTests(TimerfdTests):
    """timerfd through libc, as before Python 3.13."""

    def setUp(self) -> None:
        self.patch(timerfd, "sys", SimpleNamespace(platform="linux", version_info=(3, 12)))
        super().setUp()

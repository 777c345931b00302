"""The Beat: steps at moments, in their order, with one pending call."""

from collections.abc import Callable
from functools import partial
from typing import cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat import timerfd
from securechat.clock import IClockReactor, MonotonicClock
from securechat.server.beat import COSTS, DELAYS, EARLY, GRID, LEAD, MAX_EARLY, MIN_EARLY, SLICE, TURN, Beat
from tests.harness.holding_clock import HoldingClock

TICK = 100


class WakeUpTests(SynchronousTestCase):
    """How early the process is woken, in milliseconds, so that it can write in time."""

    def setUp(self) -> None:
        self.clock: Clock = HoldingClock()
        self.beat = Beat(self.clock, TICK)
        self.moment = 0
        self.written: list[float] = []

    def wake(self, late: float) -> float:
        """Be woken so late for a write; how early that was to be."""
        self.moment += TICK
        self.beat.write_at(self.moment, self.write)
        [call] = self.clock.getDelayedCalls()
        early = self.moment - call.getTime() * 1000
        self.clock.advance(call.getTime() + late / 1000 - self.clock.seconds())
        return round(early, 6)

    def write(self) -> None:
        self.beat.hold_until(self.moment)
        self.written.append(self.clock.seconds() * 1000 - self.moment)

    def wake_often(self, late: float) -> list[float]:
        return [self.wake(late) for _ in range(DELAYS)]

    def test_first(self) -> None:
        """Until many delays are known, the process is woken early enough for nearly all machines."""
        self.assertEqual(set(self.wake_often(0.1)[:-2]), {EARLY})

    def test_asLate(self) -> None:
        """It is woken as early as it is usually late, so that records leave in time and little is spent on waiting."""
        self.wake_often(0.1)
        self.written.clear()
        self.assertEqual(set(self.wake_often(0.1)), {0.1})
        self.assertAlmostEqual(max(map(abs, self.written)), 0)
        self.wake_often(0.3)
        self.assertEqual(self.wake(0.3), 0.3)

    def test_rarelyLater(self) -> None:
        """A delay that is rare does not matter: another program had the processor."""
        self.wake_often(0.1)
        self.wake(20)
        self.assertEqual(set(self.wake_often(0.1)), {0.1})

    def test_bounds(self) -> None:
        """A punctual process is woken a little early, and one that is always late not much earlier."""
        for late, early in (0, MIN_EARLY), (20, MAX_EARLY):
            self.wake_often(late)
            self.assertEqual(self.wake(late), early)

    def test_withoutHolding(self) -> None:
        """A clock that cannot hold wakes the process at the moment itself."""
        self.clock = Clock()
        self.beat = Beat(self.clock, TICK)
        self.assertEqual(self.wake(0.1), 0)


class BeatTests(SynchronousTestCase):
    """Steps of several trains. Moments are milliseconds of the clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.beat = Beat(self.clock, TICK)
        self.steps: list[str] = []

    def step(self, name: str) -> partial[None]:
        """A step that notes its name."""
        return partial(self.steps.append, name)

    def advance_to(self, moment: int) -> None:
        self.clock.advance(moment / 1000 - self.clock.seconds())

    def test_atTheirMoments(self) -> None:
        """A step that writes is called at its moment, one that seals in time before."""
        self.beat.write_at(100, self.step("write"))
        self.beat.seal_for(100, self.step("seal"))
        self.advance_to(100 - LEAD - 1)
        self.assertEqual(self.steps, [])
        self.advance_to(100 - LEAD)
        self.assertEqual(self.steps, ["seal"])
        self.advance_to(99)
        self.assertEqual(self.steps, ["seal"])
        self.advance_to(100)
        self.assertEqual(self.steps, ["seal", "write"])

    def test_writesComeFirst(self) -> None:
        """At one moment, all steps that write come before all that seal, each in the order they were added in."""
        self.beat.seal_for(100 + LEAD, self.step("seal 1"))
        self.beat.write_at(100, self.step("write 1"))
        self.beat.seal_for(100 + LEAD, self.step("seal 2"))
        self.beat.write_at(100, self.step("write 2"))
        self.advance_to(100)
        self.assertEqual(self.steps, ["write 1", "write 2", "seal 1", "seal 2"])

    def test_missed(self) -> None:
        """Moments that were missed are made up for, the oldest first, with all that their steps add."""
        self.beat.write_at(300, self.step("write 300"))
        self.beat.write_at(100, self.step("write 100"))
        self.beat.seal_for(250, self.step("seal 250"))
        self.beat.seal_for(200, self.step("seal 200"))
        self.beat.write_at(100, lambda: self.beat.write_at(200, self.step("write 200")))
        self.beat.write_at(100, lambda: self.beat.write_at(400, self.step("write 400")))
        self.advance_to(350)
        self.assertEqual(self.steps, ["write 100", "write 200", "write 300", "seal 200", "seal 250"])
        self.advance_to(400)
        self.assertEqual(self.steps[5:], ["write 400"])

    def test_onePendingCall(self) -> None:
        """Whatever the number of steps, one call is pending, for the first of them; without steps there is none."""
        for moment in (300, 100, 200, 100):
            self.beat.write_at(moment, self.step(str(moment)))
            self.beat.seal_for(moment + LEAD, self.step(str(moment)))
        [call] = self.clock.getDelayedCalls()
        self.assertAlmostEqual(call.getTime(), 0.1)
        self.advance_to(100)
        [call] = self.clock.getDelayedCalls()
        self.assertAlmostEqual(call.getTime(), 0.2)
        self.advance_to(300)
        self.assertEqual(len(self.steps), 8)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_forget(self) -> None:
        """A step that is forgotten is not called, and the others are; after the last one no call is pending."""
        steps = [self.step(str(number)) for number in range(4)]
        self.beat.write_at(100, steps[0])
        self.beat.write_at(100, steps[1])
        self.beat.seal_for(200, steps[2])
        self.beat.forget(100, steps[0])
        self.beat.forget(200, steps[2])
        self.beat.forget(100, steps[3])  # was never added
        self.beat.forget(300, steps[1])  # was added for another moment
        self.advance_to(300)
        self.assertEqual(self.steps, ["1"])
        self.beat.write_at(400, steps[3])
        self.beat.forget(400, steps[3])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.beat.write_at(500, steps[3])
        self.advance_to(500)
        self.assertEqual(self.steps, ["1", "3"])

    def test_forgetDuringAStep(self) -> None:
        """A step may make the beat forget one of a later moment."""
        later = self.step("later")
        self.beat.write_at(200, later)
        self.beat.write_at(100, partial(self.beat.forget, 200, later))
        self.advance_to(300)
        self.assertEqual(self.steps, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_exceptions(self) -> None:
        """A step that raises is logged; those of the same and of later moments are called."""

        def fail(error: BaseException) -> None:
            raise error

        self.beat.write_at(100, partial(fail, ValueError()))
        self.beat.write_at(100, partial(fail, SystemExit()))
        self.beat.write_at(100, self.step("same moment"))
        self.beat.write_at(200, self.step("later"))
        self.advance_to(100)
        self.advance_to(200)
        self.assertEqual(self.steps, ["same moment", "later"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError, SystemExit)), 2)

    def test_base(self) -> None:
        """Trains begin on a grid, at its next moment or now."""
        self.assertEqual(self.beat.base(), 0)
        self.clock.advance(0.0001)
        self.assertEqual(self.beat.base(), GRID)
        self.clock.advance(GRID / 1000 - 0.0001)
        self.assertEqual(self.beat.base(), GRID)
        self.clock.advance(0.0123)
        self.assertEqual(self.beat.base() % GRID, 0)


class TimeTests(SynchronousTestCase):
    """Steps that take time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.beat = Beat(self.clock, TICK)
        self.steps: list[tuple[str, float]] = []

    def step(self, name: str, milliseconds: float = 0.0) -> Callable[[], None]:
        """A step that takes so long, and notes its name and when it began."""

        def step() -> None:
            self.steps.append((name, round(self.beat.now(), 3)))
            self.clock.rightNow += milliseconds / 1000

        return step

    def advance_to(self, moment: float) -> None:
        while calls := [call.getTime() for call in self.clock.getDelayedCalls() if call.getTime() <= moment / 1000]:
            self.clock.advance(max(0.0, min(calls) - self.clock.seconds()))
        self.clock.advance(max(0.0, moment / 1000 - self.clock.seconds()))

    def seal(self, moment: int, milliseconds: float) -> None:
        """Seal for a moment, which takes so long."""
        self.beat.seal_for(moment, self.step("seal", milliseconds))
        self.advance_to(moment + TICK / 2)

    def test_writesBetweenSeals(self) -> None:
        """A write is not delayed by more than one step that seals, whatever the number of those that wait."""
        for _ in range(4):
            self.beat.seal_for(100, self.step("seal", 2))
        self.beat.write_at(98, self.step("write"))
        self.advance_to(200)
        self.assertEqual(self.steps, [("seal", 95), ("seal", 97), ("write", 99), ("seal", 99), ("seal", 101)])

    def test_betweenEvents(self) -> None:
        """Many events that the reactor handles in a row delay no step by more than one of them."""
        self.beat.seal_for(100, self.step("seal", 1))
        self.beat.write_at(98, self.step("write"))
        for _ in range(10):
            self.clock.rightNow += 0.01
            self.beat.catch_up()
        self.assertEqual(self.steps, [("write", 100), ("seal", 100)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_notDue(self) -> None:
        """An event leads to no step before its moment."""
        self.beat.catch_up()
        self.beat.write_at(100, self.step("write"))
        self.clock.rightNow = 0.0999
        self.beat.catch_up()
        self.assertEqual(self.steps, [])
        self.advance_to(100)
        self.assertEqual(self.steps, [("write", 100)])

    def test_eventsInSteps(self) -> None:
        """A step that handles an event itself, as those that read a robot's server do, is not interrupted by others."""

        def read() -> None:
            self.beat.catch_up()
            self.steps.append(("read", 100))

        self.beat.write_at(100, read)
        self.beat.write_at(100, self.step("write"))
        self.advance_to(100)
        self.assertEqual(self.steps, [("read", 100), ("write", 100)])

    def test_overload(self) -> None:
        """When steps take all the time, other sockets still get a third of it."""
        for _ in range(100):
            self.beat.write_at(100, self.step("write", SLICE))
        self.advance_to(99)
        events = 0
        self.clock.rightNow += 0.001
        while len(self.steps) < 10:
            self.clock.rightNow += 0.001
            self.beat.catch_up()
            events += 1
        self.assertGreaterEqual(events, 9 * TURN)

    def test_checkpoints(self) -> None:
        """The clock's checkpoints are such events."""
        self.patch(timerfd, "is_available", lambda: False)
        clock = MonotonicClock(cast(IClockReactor, self.clock), self.clock.seconds)
        beat = Beat(clock, TICK)
        beat.seal_for(100, self.step("seal"))
        self.clock.rightNow = 0.2
        clock.checkpoint()
        self.assertEqual(self.steps, [("seal", 200)])

    def test_slices(self) -> None:
        """Steps that take long are made up for in slices, between which the reactor has its turn."""
        for _ in range(8):
            self.beat.write_at(100, self.step("write", SLICE / 4))
        self.clock.callLater(0.1, self.step("other"))
        self.clock.advance(0.1)
        self.assertEqual([name for name, _moment in self.steps], ["write"] * 4 + ["other"] + ["write"] * 4)

    def test_forgetBetweenSlices(self) -> None:
        """A step that is forgotten while it waits for the next slice is not called."""
        last = self.step("last")
        self.beat.write_at(100, self.step("first", SLICE))
        self.beat.write_at(100, last)
        self.clock.callLater(0.1, self.beat.forget, 100, last)
        self.clock.advance(0.1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([name for name, _moment in self.steps], ["first"])

    def test_lead(self) -> None:
        """Sealing begins earlier if it took longer than the lead, in steps of the grid, up to half a tick."""
        for number, (milliseconds, lead) in enumerate(((4.0, 5), (7.0, 10), (11.0, 15), (3.0, 15), (1000.0, 50)), 1):
            self.seal(number * 2000, milliseconds)
            self.assertEqual(self.beat.lead, lead)
        self.steps.clear()
        self.seal(20_000, 1)
        self.assertEqual(self.steps, [("seal", 20_000 - TICK / 2)])

    def test_leadOfMany(self) -> None:
        """The lead is that of all that is sealed for one moment."""
        for _ in range(10):
            self.beat.seal_for(100, self.step("seal", 1))
        self.advance_to(200)
        self.assertEqual(self.beat.lead, 10)

    def test_leadShrinks(self) -> None:
        """After some moments without such a load the lead is short again; a few of a hundred do not matter."""
        times = [20] * 50 + [1] * COSTS + [20] * 3 + [1] * 5 + [20]
        leads = []
        for number, milliseconds in enumerate(times, 10):
            self.seal(number * TICK, milliseconds)
            leads.append(self.beat.lead)
        self.assertEqual(set(leads[:50]), {20})
        self.assertEqual(set(leads[-10:]), {LEAD})

    def test_shortTick(self) -> None:
        """With the shortest tick, the lead does not grow: sealing would begin before the tick before."""
        self.beat = Beat(self.clock, 10)
        self.seal(1000, 20)
        self.assertEqual(self.beat.lead, LEAD)

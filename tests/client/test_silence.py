"""Noticing silence."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.silence import Silence


class CountingClock(Clock):
    """A clock that counts the timers that were set."""

    timers = 0

    def callLater(self, when, what, *a, **kw):  # type: ignore[no-untyped-def,override]
        self.timers += 1
        return super().callLater(when, what, *a, **kw)


class SilenceTests(SynchronousTestCase):
    """A silence of ten seconds."""

    def setUp(self) -> None:
        self.clock = CountingClock()
        self.ended: list[float] = []
        self.silence = Silence(self.clock, 10, lambda: self.ended.append(self.clock.seconds()))

    def test_ends(self) -> None:
        """The function is called once, when nothing was heard for ten seconds."""
        self.clock.advance(5)
        self.silence.heard()
        self.silence.watch()
        self.clock.advance(9.9)
        self.assertFalse(self.silence.has_lasted)
        self.clock.advance(0.1)
        self.assertTrue(self.silence.has_lasted)
        self.clock.advance(100)
        self.assertEqual(self.ended, [15])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_beganBefore(self) -> None:
        """The silence before it is watched counts."""
        self.clock.advance(7)
        self.silence.watch()
        self.clock.advance(3)
        self.assertEqual(self.ended, [10])

    def test_oneTimer(self) -> None:
        """A thousand records within eight seconds do not set a timer each."""
        self.silence.watch()
        self.silence.watch()
        for _record in range(1024):
            self.clock.advance(2**-7)
            self.silence.heard()
        self.assertEqual(self.clock.timers, 1)
        self.clock.advance(10)
        self.assertEqual(self.ended, [18])

    def test_stops(self) -> None:
        """Nothing is called after the watch was stopped; it can be resumed."""
        self.silence.stop()
        self.silence.watch()
        self.silence.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(8)
        self.silence.watch()
        self.clock.advance(2)
        self.assertEqual(self.ended, [10])

    def test_held(self) -> None:
        """The silence does not count while it is held."""
        self.silence.watch()
        self.clock.advance(9)
        self.silence.is_held = True
        self.clock.advance(31)
        self.silence.is_held = False
        self.silence.heard()
        self.clock.advance(9)
        self.assertEqual(self.ended, [])
        self.clock.advance(1)
        self.assertEqual(self.ended, [50])

    def test_pausedProcess(self) -> None:
        """What arrived while this process was paused is heard before the silence is declared over."""
        self.silence.watch()
        self.clock.callLater(10, self.silence.heard)  # in the same iteration of the reactor, but after the timer
        self.clock.advance(100)
        self.clock.advance(9)
        self.assertEqual(self.ended, [])
        self.clock.advance(1)
        self.assertEqual(self.ended, [110])

    def test_pausedProcessAfterAStop(self) -> None:
        """The same holds if the watch was stopped just before the silence was declared over, and resumed."""
        self.silence.watch()
        self.clock.callLater(10, self.silence.stop)
        self.clock.advance(10)
        self.silence.heard()
        self.silence.watch()
        self.clock.callLater(10, self.silence.heard)
        self.clock.advance(100)
        self.assertEqual(self.ended, [])

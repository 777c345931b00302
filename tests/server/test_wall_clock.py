"""What the log says of the system clock."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.server.wall_clock import EARLIEST, LOOK_INTERVAL, MIN_STEP, WallClock
from tests.harness.logs import logged_lines

YEAR = 365 * 24 * 3600.0


class WallClockTests(SynchronousTestCase):
    """A system clock beside a monotonic one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.offset = EARLIEST + YEAR
        self.watch = WallClock(self.clock, lambda: self.clock.seconds() + self.offset)
        self.addCleanup(self.watch.stop)
        self.lines = logged_lines(self)

    def look(self) -> None:
        self.clock.advance(LOOK_INTERVAL)

    def test_set(self) -> None:
        """That it was set is logged once, in either direction."""
        self.watch.start()
        self.look()
        self.assertEqual(self.lines, [])
        self.offset += 3600
        self.look()
        self.look()
        self.offset -= YEAR
        self.look()
        self.look()
        self.assertEqual(
            self.lines,
            [
                "the system clock was set forward by 3600 s, or the machine was suspended",
                "the system clock was set back by 31536000 s",
            ],
        )

    def test_synchronized(self) -> None:
        """A correction of less than two seconds is normal."""
        self.watch.start()
        for _look in range(10):
            self.offset += 0.9 * MIN_STEP
            self.look()
            self.offset -= 0.9 * MIN_STEP
            self.look()
        self.assertEqual(self.lines, [])

    def test_wrongAtTheStart(self) -> None:
        """A daemon that starts in 1970, as a machine without a battery does, says so."""
        self.offset = 86_400.0
        self.watch.start()
        self.assertEqual(self.lines, ["the system clock is wrong (1970-01-02): keys do not expire in time"])

    def test_stop(self) -> None:
        """Nothing is left when the daemon stops."""
        self.watch.start()
        self.watch.stop()
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

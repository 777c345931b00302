"""When garbage is collected."""

import gc
import weakref

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.server import garbage
from securechat.server.garbage import LOOK_INTERVAL, GarbageCollection


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


class GarbageTests(SynchronousTestCase):
    """Garbage that only the collector finds."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.is_idle = True
        self.patch(garbage, "FEW", 1000)
        self.patch(garbage, "MANY", 20_000)
        self.collection = GarbageCollection(self.clock, lambda: self.is_idle)
        self.collection.start()
        self.addCleanup(self.collection.stop)

    def leave(self, number: int) -> "weakref.ref[Knot]":
        """Leave so many knots behind; one of them."""
        knots = [Knot() for _ in range(number)]
        return weakref.ref(knots[0])

    def test_idle(self) -> None:
        """It is collected while nothing is sent, but not at once."""
        left = self.leave(3000)
        self.assertIsNotNone(left())
        self.clock.advance(LOOK_INTERVAL)
        self.assertIsNone(left())

    def test_busy(self) -> None:
        """It is not collected while records are sent at ticks, until the process is idle again."""
        self.is_idle = False
        left = self.leave(5000)
        self.clock.pump([LOOK_INTERVAL] * 10)
        self.assertIsNotNone(left())
        self.is_idle = True
        self.clock.advance(LOOK_INTERVAL)
        self.assertIsNone(left())

    def test_much(self) -> None:
        """If there may be much of it, it is collected in any case."""
        self.is_idle = False
        left = self.leave(30_000)
        self.clock.advance(LOOK_INTERVAL)
        self.assertIsNone(left())

    def test_little(self) -> None:
        """An idle process does not look for what little there may be."""
        self.clock.advance(LOOK_INTERVAL)
        left = self.leave(3)
        self.clock.advance(LOOK_INTERVAL)
        self.assertIsNotNone(left())

    def test_stop(self) -> None:
        """In the end, collection is left to Python."""
        self.assertFalse(gc.isenabled())
        self.collection.stop()
        self.assertTrue(gc.isenabled())
        self.assertEqual(gc.get_freeze_count(), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.collection.stop()

"""The robot of all sessions, replaced while it answers."""

from typing import cast

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from securechat.robots.interface import IApiRobot
from securechat.server.current_robot import CurrentRobot


class Closable:
    """A robot of which only the end matters."""

    def __init__(self, error: Exception | None = None) -> None:
        self.closed = 0
        self._error = error

    def close(self) -> Deferred[None]:
        self.closed += 1
        return Deferred() if self._error is None else fail(self._error)


class CurrentRobotTests(SynchronousTestCase):
    """Which robot answers, and when the one before it is closed."""

    def setUp(self) -> None:
        self.old, self.new = Closable(), Closable()
        self.current = CurrentRobot(cast(IApiRobot, self.old))

    def replace(self) -> None:
        self.current.replace(cast(IApiRobot, self.new))

    def test_unused(self) -> None:
        """A robot without replies is closed at once."""
        self.replace()
        self.assertEqual((self.old.closed, self.new.closed), (1, 0))
        self.assertIs(self.current.robot, self.new)

    def test_inUse(self) -> None:
        """Replies in progress end with the robot that began them; it is closed after the last one."""
        with self.current.in_use as first:
            with self.current.in_use:
                self.replace()
                self.assertIs(first, self.old)
                with self.current.in_use as robot:
                    self.assertIs(robot, self.new)
            self.assertEqual(self.old.closed, 0)
        self.assertEqual((self.old.closed, self.new.closed), (1, 0))

    def test_failedReply(self) -> None:
        """A reply that fails has ended, too."""
        with self.assertRaises(ValueError), self.current.in_use:
            self.replace()
            raise ValueError
        self.assertEqual(self.old.closed, 1)

    def test_failedClose(self) -> None:
        """A robot that cannot be closed is logged."""
        self.current = CurrentRobot(cast(IApiRobot, Closable(OSError("stuck"))))
        self.replace()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

"""Any exception of a robot as a RobotError."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.errors import robot_error


def inner() -> None:
    raise KeyError("secret")


FIRST_LINE = inner.__code__.co_firstlineno


class ErrorTests(SynchronousTestCase):
    """Exceptions that robots raise."""

    def test_robotError(self) -> None:
        """A RobotError stays as it is."""
        error = RobotError(Fault.BUSY, "test", 3.0)
        self.assertIs(robot_error(error), error)

    def test_anyOther(self) -> None:
        """Any other is an internal fault, with its type and the line that raised it, and without its text."""
        try:
            inner()
        except KeyError as error:
            found = robot_error(error)
        self.assertIs(found.fault, Fault.INTERNAL)
        self.assertEqual(str(found), f"KeyError at {__file__}:{FIRST_LINE + 1}")
        self.assertEqual(str(robot_error(ValueError("secret"))), "ValueError at ?")

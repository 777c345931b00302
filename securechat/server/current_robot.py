"""The robot that sessions ask, which can be replaced while replies are in progress."""

from types import TracebackType

from twisted.logger import Logger

from securechat.robots.interface import IApiRobot

log = Logger()


class _InUse:
    """A robot with the number of its replies in progress; ``with`` counts one."""

    __slots__ = ("_is_replaced", "_replies", "robot")

    def __init__(self, robot: IApiRobot) -> None:
        self.robot = robot
        self._replies = 0
        self._is_replaced = False

    def __enter__(self) -> IApiRobot:
        self._replies += 1
        return self.robot

    def __exit__(self, _type: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        self._replies -= 1
        self._close_if_unused()

    def replaced(self) -> None:
        """No further replies begin."""
        self._is_replaced = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._is_replaced and not self._replies:
            closed = self.robot.close()
            closed.addErrback(lambda failure: log.failure("cannot close the replaced robot", failure))


class CurrentRobot:
    """The robot for new replies. One that was replaced is closed when its last reply has ended."""

    def __init__(self, robot: IApiRobot) -> None:
        self.in_use = _InUse(robot)

    @property
    def robot(self) -> IApiRobot:
        return self.in_use.robot

    def replace(self, robot: IApiRobot) -> None:
        before, self.in_use = self.in_use, _InUse(robot)
        before.replaced()

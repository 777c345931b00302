"""Timeouts for whole exchanges and for the steps of one."""

from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from securechat.errors import Fault, RobotError
from securechat.robots.http.response import Response, timed_out

T = TypeVar("T")


def within(reactor: IReactorTime, seconds: float, work: Awaitable[T]) -> "Deferred[T]":
    """Wait for `work`. RobotError (timed out) if it takes longer; it is cancelled then."""

    async def wait() -> T:
        return await work

    def give_up(result: T | Failure, seconds: float) -> T | Failure:
        if isinstance(result, Failure):
            result.trap(CancelledError)
            raise timed_out(seconds)
        return result

    return Deferred.fromCoroutine(wait()).addTimeout(seconds, reactor, give_up)


class TimeBudget:
    """A timeout for several steps. Time passes only while one of them runs, not while a slow user delays the next."""

    def __init__(self, reactor: IReactorTime, seconds: float) -> None:
        self.left = seconds
        self._reactor = reactor
        self._whole = seconds

    def reset(self, seconds: float) -> None:
        """Start again with this timeout."""
        self.left = self._whole = seconds

    def wait(self, work: Awaitable[T]) -> Coroutine[Any, Any, T]:
        """Wait for `work` in the time that is left. RobotError (timed out) if it takes longer."""
        return self._spend(within(self._reactor, max(self.left, 0.0), work))

    def read(self, response: Response) -> Coroutine[Any, Any, bytes]:
        """As `wait(response.read())`, but without a timer and a Deferred for each read."""
        return self._spend(response.read(max(self.left, 0.0)))

    async def _spend(self, waiting: Awaitable[T]) -> T:
        before = self._reactor.seconds()
        try:
            return await waiting
        except RobotError as error:
            if error.fault is Fault.TIMED_OUT:
                problem = f"nothing received within {self._whole:g} s"
                raise RobotError(Fault.TIMED_OUT, problem) from None
            raise
        finally:
            self.left -= self._reactor.seconds() - before

"""Dialling the server again after a session was lost."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securechat.client.backoff import LASTING_REASONS, MAX_DELAY, Backoff, jitter
from securechat.errors import Category, RemoteProtocolError, SecureChatError
from securechat.wire.events import GoodbyeReceived

CUTS: Final = (Category.CUT, Category.TIMEOUT)  # how a session ends if the line drops

T = TypeVar("T")


def is_passing(reason: SecureChatError | GoodbyeReceived | None) -> bool:
    """Whether a session that has ended for this reason can be continued in another one. None: it was too old."""
    if isinstance(reason, GoodbyeReceived):
        return reason.reason not in LASTING_REASONS
    return reason is None or (isinstance(reason, RemoteProtocolError) and reason.category in CUTS)


class Redial:
    """Dials after a delay that grows with each failure, or at once when the user does not want to wait."""

    def __init__(self, clock: IReactorTime, jitter: Callable[[], float] = jitter) -> None:
        self.problem = ""  # why the last attempt failed
        self.is_lazy = False  # whether the first attempt waits until the user needs a session
        self._is_idle = False  # whether no message is unanswered or queued
        self._clock = clock
        self._backoff = Backoff(jitter)
        self._since = 0.0  # when there was a session last
        self._timer: IDelayedCall | None = None
        self._waiting: Deferred[None] | None = None
        self._cancel: Callable[[], None] = lambda: None

    @property
    def seconds(self) -> float | None:
        """The time until the next attempt; None during one, and while there is no need of one."""
        return None if self._timer is None else self._timer.getTime() - self._clock.seconds()

    async def run(self, dial: Callable[[], Awaitable[T]]) -> T:
        """The result of the first `dial` that raises no SecureChatError, or an error that would come again."""
        running = Deferred.fromCoroutine(self._run(dial))
        self._cancel = running.cancel
        return await running

    async def _run(self, dial: Callable[[], Awaitable[T]]) -> T:
        while True:
            await self._delay()
            try:
                return await dial()
            except SecureChatError as error:
                if self._backoff.is_lasting(error):
                    raise
                self.problem = str(error)

    def _delay(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred(lambda _waiting: self._stop())
        self._waiting = waiting
        if not self.is_lazy:
            self._timer = self._clock.callLater(self._backoff.next(is_idle=self._is_idle), self.now)
        return waiting

    def _stop(self) -> None:
        self._waiting = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def now(self) -> None:
        """Dial at once, unless that is being done."""
        waiting = self._waiting
        self.is_lazy = False
        self._stop()
        if waiting is not None:
            waiting.callback(None)

    def cancel(self) -> None:
        """Dial no longer: `run` raises an error."""
        self._cancel()

    def succeeded(self) -> None:
        """There is a session."""
        self.problem = ""
        self._backoff.succeeded()
        self._since = self._clock.seconds()

    def lost(self, *, is_lazy: bool, is_idle: bool) -> None:
        """The session has ended. The delays start over if it lasted. `is_idle`: no message is unanswered or queued."""
        self.is_lazy = is_lazy
        self._is_idle = is_idle
        if self._clock.seconds() - self._since >= MAX_DELAY:
            self._backoff.reset()

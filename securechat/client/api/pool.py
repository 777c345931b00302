"""The sessions that carry requests: opened when there are requests for them, kept for the next ones, and made anew.

A request never waits for another one while a session is free or can be opened. Beyond that, requests wait in a queue.
"""

import math
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from securechat.client.api.calls import Receiver, Unavailable
from securechat.client.api.session import ApiSession, PendingCall
from securechat.client.backoff import LASTING_REASONS, Backoff, jitter
from securechat.client.explain import of_goodbye
from securechat.errors import SecureChatError
from securechat.i18n import _
from securechat.wire.events import GoodbyeReceived
from securechat.wire.messages import Reason

log = Logger()

MAX_BODY: Final = 16 * 1024 * 1024  # bytes; also the maximum of common servers of this API
PATH_SPACE: Final = 512  # bytes of a message that are kept for the path, with some to spare
MAX_QUEUED: Final = 64  # requests that wait for a session
MAX_QUEUED_SIZE: Final = 64 * 1024 * 1024  # bytes of their bodies
QUEUE_RETRY: Final = 5  # seconds after which a client may try again when the queue was full

ATTEMPT: Final = 2  # seconds after which a tool may try again while the server is being dialled

RETIREMENT: Final = 23 * 60 * 60.0  # seconds after which a session gets no more requests; it may last 24 hours

_ORDINARY_REASONS: Final = (Reason.LEAVING, Reason.IDLE, Reason.TOO_OLD)


class SessionPool:
    """The `Calls` that the local API sends its requests through."""

    def __init__(
        self,
        open_session: "Callable[[SessionPool], Coroutine[Deferred[Any], Any, ApiSession]]",
        size: int,
        clock: IReactorTime,
        report: Callable[[str | None], None],
        jitter: Callable[[], float] = jitter,
    ) -> None:
        """`open_session` raises SecureChatError.

        `report` is called with the reason when there is no connection any more, and with None when there is one again.
        """
        self._open_session = open_session
        self._size = size
        self._clock = clock
        self._report = report
        self._backoff = Backoff(jitter)
        self._sessions: dict[ApiSession, float] = {}  # and when they were opened
        self._free: list[ApiSession] = []  # the last one is used first
        self._latest: ApiSession | None = None  # the one whose request ended last
        self._queue: deque[PendingCall] = deque()
        self._attempts: set[Deferred[ApiSession]] = set()  # to open a session
        self._retry: IDelayedCall | None = None  # until then, none is opened
        self._problem: str | None = None  # why there is no connection
        self._moment: Deferred[None] | None = None  # while the queue waits for it
        self._dispatching: IDelayedCall | None = None
        self._max_message = MAX_BODY + PATH_SPACE  # until the server tells its own
        self._is_stopping = False
        self._idle: Deferred[None] | None = None  # fires when no request is left
        self._gone: Deferred[None] | None = None  # fires when no session is left

    @property
    def size(self) -> int:
        """The number of sessions that are open."""
        return len(self._sessions)

    # Calls

    @property
    def max_body(self) -> int:
        return min(MAX_BODY, self._max_message - PATH_SPACE)

    def start(self, path: str, body: bytes, receiver: Receiver) -> PendingCall:
        if self._is_stopping:
            raise Unavailable(503, _("the client is shutting down"))
        if self._problem is not None:
            text = _("there is no connection to the server: {problem}")
            raise Unavailable(503, text.format(problem=self._problem), self._seconds_to_retry())
        if len(body) > self.max_body:
            text = _("the request has {size} bytes, and the server accepts {limit}")
            raise Unavailable(413, text.format(size=len(body), limit=self.max_body))
        size = sum(len(call.body) for call in self._queue) + len(body)
        if len(self._queue) >= MAX_QUEUED or size > MAX_QUEUED_SIZE:
            text = _("{sessions} requests are running, and {queued} are waiting")
            text = text.format(sessions=self._size, queued=len(self._queue))
            raise Unavailable(429, text, QUEUE_RETRY)
        call = PendingCall(path, body, receiver, self)
        self._queue.append(call)
        if self._dispatching is None:  # later, so that `start` returns before the first callback
            self._dispatching = self._clock.callLater(0, self._dispatch)
        return call

    def _seconds_to_retry(self) -> int:
        return max(1, math.ceil(self._retry.getTime() - self._clock.seconds())) if self._retry is not None else ATTEMPT

    # Carrier of the requests in the queue

    def callPaused(self, call: PendingCall) -> None:
        """Nothing arrives yet."""

    def callCancelled(self, call: PendingCall) -> None:
        self._queue.remove(call)
        self._check_idle()

    # From the queue to the sessions

    def _dispatch(self) -> None:
        """Let the requests leave the queue, at a moment that does not show when the last result ended.

        It is that of the session which carried it (protocol, section 10), whichever sessions carry the next requests.
        """
        self._dispatching = None
        if not self._queue or self._moment is not None:
            return
        latest = self._latest
        if latest is None or latest.is_busy:
            self._assign(None)
            return
        self._moment = moment = latest.client.call_room()
        moment.addCallbacks(lambda _room: self._assign(latest), lambda failure: failure.trap(CancelledError))

    def _assign(self, ready: ApiSession | None) -> None:
        """Send what waits, as far as there are sessions; that of `ready` has its moment now."""
        self._moment = None
        while self._queue and self._free:
            session = self._free.pop()
            if self._clock.seconds() >= self._sessions[session] + RETIREMENT:
                self._forget(session)
                session.client.leaveQuietly()
            elif session.client.is_open:
                session.start(self._queue.popleft(), at_once=session is ready)
        if self._retry is None:
            room = self._size - len(self._sessions) - len(self._attempts)
            for _session in range(min(len(self._queue) - len(self._attempts), room)):
                self._open()

    def _stop_waiting(self) -> None:
        moment, self._moment = self._moment, None
        if moment is not None:
            moment.cancel()

    # Opening sessions

    def add(self, session: ApiSession) -> None:
        """Keep a session that has just been opened."""
        self._max_message = session.about.max_message
        self._sessions[session] = self._clock.seconds()
        self._free.append(session)
        self._dispatch()

    def _open(self) -> None:
        attempt = Deferred.fromCoroutine(self._open_session(self))
        self._attempts.add(attempt)
        attempt.addBoth(self._tried, attempt)

    def _tried(self, result: ApiSession | Failure, attempt: Deferred[ApiSession]) -> None:
        self._attempts.discard(attempt)
        if isinstance(result, Failure):
            self._not_opened(result)
            return
        self._backoff.succeeded()
        self._backoff.reset()
        self._stop_retrying()
        if self._problem is not None:
            self._problem = None
            self._report(None)
        self.add(result)

    def _not_opened(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        error = failure.value
        if not isinstance(error, SecureChatError):
            log.failure("unexpected error in opening a session", failure)
        problem = str(error) if isinstance(error, SecureChatError) else type(error).__name__
        self._try_later(is_lasting=self._backoff.is_lasting(error))
        if not self._sessions and not self._attempts:
            self._lose(problem)

    def _try_later(self, *, is_lasting: bool) -> None:
        if self._retry is None:
            self._retry = self._clock.callLater(self._backoff.next(is_lasting=is_lasting), self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        if self._problem is not None:
            self._open()
        else:
            self._dispatch()

    def _stop_retrying(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _lose(self, problem: str) -> None:
        """There is no connection any more: nothing can wait for a session."""
        if problem != self._problem:
            self._problem = problem
            self._report(problem)
        self._break_queue()

    def _break_queue(self) -> None:
        while self._queue:
            receiver = self._queue.popleft().end()
            if receiver is not None:
                receiver.broken()
        self._check_idle()

    # Keeper of the sessions

    def sessionFree(self, session: ApiSession) -> None:
        if session in self._sessions:
            self._latest = session
            self._free.append(session)
        self._dispatch()
        self._check_idle()

    def sessionEnded(
        self, session: ApiSession, reason: SecureChatError | GoodbyeReceived | None, unsent: PendingCall | None
    ) -> None:
        if unsent is not None:
            unsent.carrier = self
            self._queue.appendleft(unsent)
        if session in self._sessions:
            self._forget(session)
            goodbye = reason.reason if isinstance(reason, GoodbyeReceived) else None
            is_ordinary = reason is None or goodbye in _ORDINARY_REASONS
            if not is_ordinary and not self._sessions and not self._attempts and not self._is_stopping:
                self._try_later(is_lasting=goodbye in LASTING_REASONS)
                self._lose(of_goodbye(goodbye) if goodbye is not None else str(reason))
        self._dispatch()
        self._check_idle()
        self._check_gone()

    def _forget(self, session: ApiSession) -> None:
        del self._sessions[session]
        if session in self._free:
            self._free.remove(session)
        if session is self._latest:
            self._latest = None
            self._stop_waiting()

    # The end

    def stop(self) -> Deferred[None]:
        """Accept no more requests; fires when those that were accepted have ended. It can be cancelled."""
        self._is_stopping = True
        idle: Deferred[None] = Deferred()
        self._idle = idle
        self._check_idle()
        return idle

    def _check_idle(self) -> None:
        if self._idle is not None and not self._queue and not any(session.is_busy for session in self._sessions):
            idle, self._idle = self._idle, None
            idle.callback(None)

    def leave(self, *, at_once: bool = False) -> Deferred[None]:
        """End all sessions, quietly (protocol, section 10) if not `at_once`; fires when they have ended.

        Requests that have not ended are broken.
        """
        self._is_stopping = True
        self._stop_waiting()
        self._stop_retrying()
        if self._dispatching is not None:
            self._dispatching.cancel()
            self._dispatching = None
        for attempt in list(self._attempts):
            attempt.cancel()
        self._break_queue()
        for session in list(self._sessions):
            if at_once:
                session.client.leave()
            else:
                session.client.leaveQuietly()
        gone: Deferred[None] = Deferred()
        self._gone = gone
        self._check_gone()
        return gone

    def _check_gone(self) -> None:
        if self._gone is not None and not self._sessions:
            gone, self._gone = self._gone, None
            gone.callback(None)

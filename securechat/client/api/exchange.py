"""A forwarded request, and the response to the tool."""

from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from securechat.client.api.call_log import CallRecord
from securechat.client.api.calls import Call, Calls, Unavailable
from securechat.client.api.errors import HttpError, error_of_fault, passing_error
from securechat.client.api.interface import Dialect
from securechat.client.api.request import ApiRequest
from securechat.errors import Fault
from securechat.i18n import _
from securechat.wire.items import Head, Piece, ServerEvent

STATUS_TIME: Final = 60  # seconds to wait for the server's status before a stream begins without it
FIRST_TIME: Final = 290  # seconds to wait for it in all: tools written with Node wait for 300
SILENCE: Final = 15  # seconds after which a stream gets a comment
STALL_TIME: Final = 120  # seconds without reading after which a tool is disconnected

_ROUNDING: Final = 1e-3  # seconds


class _State(Enum):
    WAITING = auto()  # for the head
    WRITING = auto()  # the body
    ENDED = auto()


@implementer(IPushProducer)
class Exchange:
    """The `Receiver` of a call: writes the response as the dialect translates it.

    A tool that disconnects cancels its call. One that reads slowly pauses it.
    """

    def __init__(self, request: ApiRequest, dialect: Dialect, record: CallRecord, clock: IReactorTime) -> None:
        self._request = request
        self._dialect = dialect
        self._record = record
        self._clock = clock
        self._state = _State.WAITING
        self._status = 0
        self._written = 0.0  # the time
        self._call: Call | None = None
        self._timer: IDelayedCall | None = None  # for the head, then for comments
        self._stall: IDelayedCall | None = None

    def start(self, calls: Calls, path: str, body: bytes) -> None:
        """Send the request."""
        self._request.notifyFinish().addErrback(self._disconnected)
        try:
            self._call = calls.start(path, body, self)
        except Unavailable as error:
            self._fail(passing_error(error.status, error.message, error.retry_after))
            return
        self._request.registerProducer(self, True)
        self._timer = self._clock.callLater(STATUS_TIME, self._head_is_late)

    # The response

    def itemsReceived(self, items: list[Head | Piece | ServerEvent]) -> None:
        """Write parts of the response."""
        if self._state is _State.ENDED:
            return
        self._record.tokens += sum(isinstance(item, ServerEvent) for item in items)
        try:
            self._write(self._dialect.items(items))
        except HttpError as error:
            self._cancel()
            self._fail(error)

    def ended(self) -> None:
        """The response is complete."""
        if self._state is _State.ENDED:
            return
        try:
            self._write(self._dialect.end())
        except HttpError as error:
            self._fail(error)
            return
        if self._state is _State.WAITING:
            self._fail(error_of_fault(Fault.BROKEN_ANSWER, has_begun=False))
        else:
            self._finish("" if self._status < 400 else "error")

    def failed(self, fault: Fault) -> None:
        """The response is an error, or ends with one."""
        if self._state is _State.WAITING and fault is Fault.CANCELLED:
            self._reset(fault.name.lower())
        elif self._state is not _State.ENDED:
            error = error_of_fault(fault, has_begun=self._state is _State.WRITING)
            self._fail(error, fault.name.lower())

    def broken(self) -> None:
        """The session has ended. The tool must not take the response for complete."""
        if self._state is _State.WAITING:
            self._fail(passing_error(503, _("the connection to the server was lost; try again")), "broken")
        elif self._state is _State.WRITING:
            self._reset("broken")

    def _write(self, parts: Iterable[Head | bytes]) -> None:
        for part in parts:
            if isinstance(part, Head):
                self._begin(part)
            elif part:
                self._request.write(part)
        self._written = self._clock.seconds()

    def _begin(self, head: Head) -> None:
        self._state = _State.WRITING
        self._status = head.status
        self._request.begin(head)
        self._stop_timer()
        if self._dialect.comment:
            self._timer = self._clock.callLater(SILENCE, self._look)

    def _fail(self, error: HttpError, outcome: str = "error") -> None:
        """The response is this error, or ends with it."""
        if self._state is _State.WAITING:
            self._status = error.status
            self._end(outcome)
            self._request.respond_error(error)
            return
        text = self._dialect.error(error)
        if text is None:
            self._reset(outcome)
        else:
            self._request.write(text)
            self._finish(outcome)

    def _finish(self, outcome: str) -> None:
        self._end(outcome)
        self._request.finish()

    def _reset(self, outcome: str) -> None:
        self._end(outcome)
        self._request.reset()

    def _end(self, outcome: str) -> None:
        self._state = _State.ENDED
        self._stop_timer()
        self._stop_stall()
        self._call = None
        self._request.unregisterProducer()
        self._record.ended(self._status, outcome)

    # The tool

    def _disconnected(self, reason: Failure) -> None:
        self.stopProducing()

    def stopProducing(self) -> None:
        """The tool has disconnected."""
        if self._state is not _State.ENDED:
            self._cancel()
            self._end("cancelled")

    def pauseProducing(self) -> None:
        """The tool does not read fast enough."""
        if self._call is not None and self._stall is None:
            self._stall = self._clock.callLater(STALL_TIME, self._stalled)
            self._call.pause()

    def resumeProducing(self) -> None:
        """The tool has read enough."""
        if self._call is not None and self._stall is not None:
            self._stop_stall()
            self._call.resume()

    def _stalled(self) -> None:
        self._stall = None
        self._cancel()
        self._reset("stalled")

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()

    # Time

    def _head_is_late(self) -> None:
        self._timer = None
        head = self._dialect.head_without_status()
        if head is None:
            self._timer = self._clock.callLater(FIRST_TIME - STATUS_TIME, self._first_is_late)
        else:
            self._write([head])

    def _first_is_late(self) -> None:
        self._timer = None
        self._cancel()
        self._fail(error_of_fault(Fault.TIMED_OUT, has_begun=False), "timed_out")

    def _look(self) -> None:
        """Write a comment if nothing was written for 15 seconds; one timer serves for all events."""
        now = self._clock.seconds()
        if now - self._written > SILENCE - _ROUNDING:
            self._written = now
            if self._stall is None:
                self._request.write(self._dialect.comment)
        self._timer = self._clock.callLater(self._written + SILENCE - now, self._look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

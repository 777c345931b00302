"""HTTP responses, whose bodies are read on demand and limited in size and time."""

from types import TracebackType
from typing import Final, Self

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from securechat.errors import Fault, RobotError
from securechat.i18n import _
from securechat.robots.http.body import Body
from securechat.robots.http.content_coding import ContentDecoder, decoder_for

CONTENT_CODING: Final = b"X-Content-Encoding"  # the client hides the content coding from treq in this header


def timed_out(seconds: float) -> RobotError:
    return RobotError(Fault.TIMED_OUT, _("no response within {seconds:g} s").format(seconds=seconds))


class Response:
    """A response, which has to be closed: it is a context manager.

    `limit` is the maximum size of the body in bytes, after decoding.
    """

    def __init__(self, reactor: IReactorTime, response: IResponse) -> None:
        self.code: int = response.code
        self.headers: Headers = response.headers
        self.limit: int | None = None
        self._reactor = reactor
        self._body = Body()
        self._decoder: ContentDecoder | None = None
        self._has_more = False  # there may be another piece without further input
        self._timer: IDelayedCall | None = None
        self._timeout = self._deadline = 0.0  # of the present read: seconds, and a time of the reactor
        response.deliverBody(self._body)

    async def read(self, timeout: float | None = None) -> bytes:
        """The next bytes of the body; empty at its end. `timeout` is in seconds.

        RobotError if nothing arrives in time (timed out), or if the body was truncated, cannot be decoded or exceeds
        `limit` (broken answer).
        """
        if timeout is not None:
            self._start_timer(timeout)
        if self._decoder is None:
            self._decoder = decoder_for(self.headers.getRawHeaders(CONTENT_CODING, []))
        if self._has_more:
            await deferLater(self._reactor, 0)  # many pieces in a row must not block the reactor
        self._has_more = True
        while not (data := self._decoder.take()):
            self._has_more = False
            received = await self._body.read()
            if not received:
                self._decoder.finish()
                return b""
            self._decoder.feed(received)
        if self.limit is not None:
            self.limit -= len(data)
            if self.limit < 0:
                raise RobotError(Fault.BROKEN_ANSWER, _("the response is too large"))
        return data

    async def read_all(self, limit: int) -> bytes:
        """The whole body; RobotError as in `read`. Closes the response."""
        self.limit = limit
        parts = []
        with self:
            while part := await self.read():
                parts.append(part)
        return b"".join(parts)

    def _start_timer(self, timeout: float) -> None:
        """One timer serves all reads of a stream: if it expires before the deadline, it is started again."""
        self._timeout = timeout
        self._deadline = self._reactor.seconds() + timeout
        if self._timer is None:
            self._timer = self._reactor.callLater(timeout, self._check_deadline)
        elif self._timer.getTime() > self._deadline:
            self._timer.reset(timeout)

    def _check_deadline(self) -> None:
        self._timer = None
        left = self._deadline - self._reactor.seconds()
        if left > 0:
            self._timer = self._reactor.callLater(left, self._check_deadline)
        else:
            self._body.fail(timed_out(self._timeout))

    def close(self) -> None:
        """Abort the connection, so that the server stops generating, unless the whole body has arrived."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

"""HTTP responses, whose bodies are read on demand and limited in size and time."""

from types import TracebackType
from typing import Final, Self

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from securechat.conversation import Upstream
from securechat.errors import Fault, RobotError
from securechat.robots.http.body import Body
from securechat.robots.http.content_coding import ContentDecoder, decoder_for

CONTENT_CODING: Final = b"X-Content-Encoding"  # the client hides the content coding from treq in this header


def timed_out(seconds: float) -> RobotError:
    return RobotError(Fault.TIMED_OUT, f"no response within {seconds:g} s")


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
        self._upstream: Upstream | None = None  # whose `poll` is ours
        self._turn: Deferred[None] | None = None  # set while a read waits for the next piece's turn
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
        if self._decoder.has_more:
            await self._next_turn()  # many pieces in a row must not block the reactor
        while not (data := self._decoder.take()):
            received = await self._body.read()
            if not received:
                self._decoder.finish()
                return b""
            self._decoder.feed(received)
        if self.limit is not None:
            self.limit -= len(data)
            if self.limit < 0:
                raise RobotError(Fault.BROKEN_ANSWER, "the response is too large")
        return data

    def poll_only(self, upstream: Upstream) -> None:
        """From now on, until it is closed, read from the connection only when `upstream.poll` is called."""
        self._upstream = upstream
        upstream.poll = self._poll
        self._body.poll_only()

    def _poll(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.callback(None)
        else:
            self._body.poll()

    def _next_turn(self) -> "Deferred[None]":
        if self._upstream is None:
            return deferLater(self._reactor, 0)
        self._turn = Deferred()
        return self._turn

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
            return
        if self._upstream is not None and self._timeout:
            self._body.poll()  # what has arrived since the last poll is in time
        if self._timer is None:  # or else a further read has begun
            self._body.fail(timed_out(self._timeout))

    def close(self) -> None:
        """Abort the connection, so that the server stops generating, unless the whole body has arrived."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._upstream is not None:
            self._upstream.poll = None
        self._body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

"""HTTP as the robots need it: bodies that are bounded, exchanges that end, and errors that say whose they are."""

from collections.abc import Awaitable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.python.reflect import qual
from twisted.python.url import URL
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from securechat.errors import Fault, RobotError
from securechat.i18n import _
from securechat.robots.http.body import Body, Bytes, ContentDecoder, coding_of
from securechat.robots.http.endpoint import Endpoints, TrackedConnection, Uniform

# Seconds that a connection is kept for the next request. Servers (uvicorn, Node, cpp-httplib) close theirs after 5: a
# request that meets such a close on its way may have been heard or not, and cannot be sent again. So we close first.
IDLE_TIMEOUT: Final = 4

CODING: Final = b"X-Content-Encoding"  # where a response's content coding is kept from treq

T = TypeVar("T")


@implementer(IAgent)
class _PlainAgent:
    """An agent for one request, without the compression and the cookies that treq adds.

    A few compressed bytes may be a body larger than memory, before anyone counts; cookies would tie users together.
    The address is the one given here: treq takes an IPv6 address for a name, and finds that it is none.
    """

    def __init__(self, agent: Agent, address: bytes) -> None:
        self._agent = agent
        self._address = address

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        headers = Headers() if headers is None else headers.copy()
        headers.removeHeader(b"accept-encoding")
        answered: Deferred[IResponse] = self._agent.request(method, self._address, headers, bodyProducer)
        return answered.addCallback(_plain)


def _plain(response: IResponse) -> IResponse:
    response.headers.setRawHeaders(CODING, response.headers.getRawHeaders(b"content-encoding", []))
    response.headers.removeHeader(b"content-encoding")
    response.headers.removeHeader(b"set-cookie")
    return response


class Response:
    """A response: its head, and its body as it is asked for. Whoever has it closes it.

    `limit` bounds the body, decompressed, in bytes.
    """

    def __init__(self, reactor: Any, response: IResponse, line: TrackedConnection) -> None:
        self.code: int = response.code
        self.headers: Headers = response.headers
        self.limit: int | None = None
        self._reactor = reactor
        self._line = line
        self._body = Body()
        self._coding: ContentDecoder | None = None
        self._takes_turns = False
        self._watch: IDelayedCall | None = None
        self._seconds = self._deadline = 0.0  # for one read, and when that is over
        response.deliverBody(self._body)

    async def read(self, seconds: float | None = None) -> bytes:
        """The next bytes; none at the end.

        RobotError if it was cut, or is more than it may be (broken answer), or if nothing comes in so many seconds.
        """
        if seconds is not None:
            self._give_up_after(seconds)
        if self._coding is None:
            self._coding = coding_of(self.headers.getRawHeaders(CODING, []))
        if self._takes_turns:
            await deferLater(self._reactor, 0)  # a little data that becomes much: others want to go on, too
        self._takes_turns = True
        while not (data := self._coding.take()):
            self._takes_turns = False
            received = await self._body.read()
            if not received:
                self._coding.finish()
                return b""
            self._coding.feed(received)
        if self.limit is not None:
            self.limit -= len(data)
            if self.limit < 0:
                raise RobotError(Fault.BROKEN_ANSWER, _("the answer is too large"))
        return data

    def _give_up_after(self, seconds: float) -> None:
        """One watch serves all the reads of a stream: one that comes too early looks again."""
        self._seconds = seconds
        self._deadline = self._reactor.seconds() + seconds
        if self._watch is None:
            self._watch = self._reactor.callLater(seconds, self._look)
        elif self._watch.getTime() > self._deadline:
            self._watch.reset(seconds)

    def _look(self) -> None:
        self._watch = None
        left = self._deadline - self._reactor.seconds()
        if left > 0:
            self._watch = self._reactor.callLater(left, self._look)
        else:
            self._body.give_up(_late(self._seconds))

    def close(self) -> None:
        """Let go of it; if it is not over, by closing the connection, at once: the server is to stop its work."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if not self._body.is_over:
            self._line.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()


class _Lent:
    """The pool as one request sees it: it knows which connection it got."""

    persistent = True

    def __init__(self, pool: HTTPConnectionPool) -> None:
        self._pool = pool
        self.line: TrackedConnection | None = None

    def getConnection(self, key: object, endpoint: IStreamClientEndpoint) -> "Deferred[Any]":
        return self._pool.getConnection(key, endpoint).addCallback(self._remember, key, endpoint)

    def _remember(self, connection: Any, key: object, endpoint: IStreamClientEndpoint) -> Any:
        if connection.line.is_aborted:
            # It was left just before the end of its answer came, with which it got into the pool. Nothing was sent.
            return self.getConnection(key, endpoint)
        self.line = connection.line
        connection.line.expect_head()
        return connection


class Http:
    """An HTTP client with a pool of kept-alive connections of its own."""

    def __init__(self, reactor: Any, *, uniform: Uniform | None = None) -> None:
        self._reactor = reactor
        self._endpoints = Endpoints(reactor, uniform)
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.cachedConnectionTimeout = IDLE_TIMEOUT
        self._pool.retryAutomatically = False  # it would only GETs; nothing that may have been sent is sent twice

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """POST to a URI and wait for the answer's head. Twisted's errors if there is none.

        Redirects are not followed: a request holds a key, and it is for the server that the operator named.
        """
        return await self._request("POST", url, headers, body)

    async def get(self, url: str, headers: Mapping[str, str]) -> Response:
        """GET, as `post`."""
        return await self._request("GET", url, headers, None)

    async def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        lent = _Lent(self._pool)
        agent = Agent.usingEndpointFactory(self._reactor, self._endpoints, lent)
        client = HTTPClient(_PlainAgent(agent, url.encode("ascii")), data_to_body_producer=Bytes)
        response = await client.request(
            method,
            URL.fromText(url).replace(host="server"),
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=body,
            allow_redirects=False,
            unbuffered=True,
        )
        assert lent.line is not None
        lent.line.expect_body()
        # At once, so that there is no moment in which the connection is back in the pool and the body not known over.
        return Response(self._reactor, response, lent.line)

    def within(self, seconds: float, work: Awaitable[T]) -> "Deferred[T]":
        """Do `work`, all of it, in so many seconds; RobotError if that is not enough or HTTP fails."""
        done: Deferred[T] = Deferred.fromCoroutine(_translated(work))
        return done.addTimeout(seconds, self._reactor, _timed_out)

    def patience(self, seconds: float) -> "TimeBudget":
        """A time for several steps."""
        return TimeBudget(self, self._reactor, seconds)

    def close(self) -> "Deferred[None]":
        """Close all connections, those that are kept and those in use."""
        done: Deferred[None] = self._pool.closeCachedConnections()
        self._endpoints.abort()  # the pool loses them, which over TLS would wait for a server that may be gone
        return done


class TimeBudget:
    """Seconds that are left for the network: they pass while we wait for it, not while somebody waits for us."""

    def __init__(self, http: Http, reactor: Any, seconds: float) -> None:
        self._http = http
        self._reactor = reactor
        self.left = seconds
        self._whole = seconds

    def renew(self, seconds: float) -> None:
        """Something came: so long for the next."""
        self.left = self._whole = seconds

    async def wait(self, work: Awaitable[T]) -> T:
        """Do `work` in the time that is left; RobotError if that is not enough or HTTP fails."""
        return await self._spend(self._http.within(max(self.left, 0.0), work))

    async def read(self, answer: Response) -> bytes:
        """An answer's next bytes, likewise."""
        return await self._spend(answer.read(max(self.left, 0.0)))

    async def _spend(self, waiting: Awaitable[T]) -> T:
        before = self._reactor.seconds()
        try:
            return await waiting
        except RobotError as error:
            if error.fault is Fault.TIMED_OUT:
                raise RobotError(
                    Fault.TIMED_OUT, _("nothing came within {seconds:g} s").format(seconds=self._whole)
                ) from None
            raise
        finally:
            self.left -= self._reactor.seconds() - before


def _timed_out(result: T | Failure, seconds: float) -> T | Failure:
    """What to make of work that was cancelled because its time was over."""
    if isinstance(result, Failure):
        result.trap(CancelledError)
        raise _late(seconds)
    return result


def _late(seconds: float) -> RobotError:
    return RobotError(Fault.TIMED_OUT, _("no answer within {seconds:g} s").format(seconds=seconds))


async def _translated(work: Awaitable[T]) -> T:
    """Do `work`; of Twisted's errors, cancelling is one, and the others are RobotErrors."""
    try:
        return await work
    except (ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed) as error:
        if any(reason.check(CancelledError) for reason in error.reasons):
            raise CancelledError from None
        # The types only: the errors' texts may have what the server sent.
        causes = ", ".join(qual(reason.type) for reason in error.reasons)
        raise RobotError(Fault.BROKEN_ANSWER, f"{type(error).__name__}: {causes}") from None


async def read_body(answer: Response, limit: int) -> bytes:
    """The whole body, and the answer closed; RobotError (broken answer) if it is more than `limit` bytes, or cut."""
    answer.limit = limit
    parts = []
    with answer:
        while part := await answer.read():
            parts.append(part)
    return b"".join(parts)

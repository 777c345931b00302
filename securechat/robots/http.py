"""HTTP as the robots need it: connections with a deadline, bodies that are bounded and read only as fast as they are
wanted, exchanges that end, and errors that say whose they are.
"""

import random
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.python.reflect import qual
from twisted.python.url import URL
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from securechat.errors import Fault, RobotError
from securechat.i18n import _

CONNECT_TIMEOUT: Final = 3.0  # seconds to reach a server, its name looked up and second attempts included
RETRY_PAUSES: Final = (
    0.1,
    0.3,
)  # seconds before another attempt at a server that refuses connections, or up to twice it
IDLE_TIMEOUT: Final = 4  # seconds that a connection is kept for the next request; uvicorn closes its after five

ENCODING: Final = b"X-Content-Encoding"  # where a response's encoding is kept from treq

T = TypeVar("T")


@implementer(IStreamClientEndpoint)
class _Connecting:
    """An endpoint with a deadline. It tries again if it is refused: nothing was sent then."""

    def __init__(self, endpoint: Any, reactor: Any, jitter: Callable[[], float]) -> None:
        self._endpoint = endpoint
        self._reactor = reactor
        self._jitter = jitter

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        connected: Deferred[IProtocol] = Deferred.fromCoroutine(self._connect(protocolFactory))
        return connected.addTimeout(CONNECT_TIMEOUT, self._reactor).addErrback(_not_connected)

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        for pause in RETRY_PAUSES:
            try:
                return await self._attempt(factory)
            except ConnectionRefusedError:
                await deferLater(self._reactor, pause * (1 + self._jitter()))
        return await self._attempt(factory)

    def _attempt(self, factory: IProtocolFactory) -> "Deferred[IProtocol]":
        connected: Deferred[IProtocol] = self._endpoint.connect(factory)
        return connected


def _not_connected(failure: Failure) -> Failure:
    if failure.check(CancelledError, ConnectingCancelledError):
        raise CancelledError
    if failure.check(TimedOut):
        raise RobotError(Fault.UNREACHABLE, _("no connection within {seconds:g} s").format(seconds=CONNECT_TIMEOUT))
    raise RobotError(Fault.UNREACHABLE, type(failure.value).__name__)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Where an agent connects to."""

    def __init__(self, reactor: Any, jitter: Callable[[], float]) -> None:
        self._reactor = reactor
        self._jitter = jitter
        self._tls = BrowserLikePolicyForHTTPS()

    def endpointForURI(self, uri: URI) -> _Connecting:
        endpoint: Any = HostnameEndpoint(self._reactor, uri.host, uri.port)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._tls.creatorForNetloc(uri.host, uri.port), endpoint)
        return _Connecting(endpoint, self._reactor, self._jitter)


@implementer(IAgent)
class _PlainAgent:
    """An agent without compression and cookies, both of which treq adds.

    A few compressed bytes may be a body larger than memory, before anyone counts; cookies would tie users together.
    A body that comes compressed all the same is opened by `Body`, which counts.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        headers = Headers() if headers is None else headers.copy()
        headers.removeHeader(b"accept-encoding")
        answered: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        return answered.addCallback(_plain)


def _plain(response: IResponse) -> IResponse:
    response.headers.setRawHeaders(ENCODING, response.headers.getRawHeaders(b"content-encoding", []))
    response.headers.removeHeader(b"content-encoding")
    response.headers.removeHeader(b"set-cookie")
    return response


class Body(Protocol):
    """A response's body, read piece by piece. While nobody reads, neither do we."""

    transport: Any

    def __init__(self, limit: int, *, compressed: bool = False) -> None:
        """`limit`: bytes, decompressed, over which it is a broken answer."""
        self._limit = limit
        self._pieces: deque[bytes] = deque()
        self._reader: Deferred[None] | None = None
        self._end: Failure | None = None
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32) if compressed else None

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)
        self.transport.pauseProducing()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end = reason
        self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)

    async def read(self) -> bytes:
        """The next piece; nothing at the end. RobotError (broken answer) if it is cut, or more than the limit."""
        while True:
            if self._pieces:
                piece = self._opened(self._pieces.popleft())
                self._limit -= len(piece)
                if self._limit < 0:
                    raise RobotError(Fault.BROKEN_ANSWER, _("the answer is too large"))
                if piece:
                    return piece
            elif self._end is None:
                self._reader = Deferred()
                self.transport.resumeProducing()
                await self._reader
            else:
                self._check_end(self._end)
                return b""

    def _check_end(self, end: Failure) -> None:
        whole = end.check(ResponseDone, PotentialDataLoss)  # the latter: a body whose end is the connection's
        if not whole or (self._inflate is not None and not self._inflate.eof):
            raise RobotError(Fault.BROKEN_ANSWER, _("the answer was cut"))

    def _opened(self, piece: bytes) -> bytes:
        if self._inflate is None:
            return piece
        try:
            return self._inflate.decompress(piece, self._limit + 1)
        except zlib.error:
            raise RobotError(Fault.BROKEN_ANSWER, _("the answer's compression is broken")) from None

    def close(self) -> None:
        """Let go of the connection, unless the body has ended."""
        if self._end is None:
            self.transport.loseConnection()


class Answer:
    """An HTTP response, and its body."""

    def __init__(self, response: IResponse, limit: int) -> None:
        """`limit` is that of the body, in bytes; RobotError (broken answer) if it is packed in a way we cannot undo."""
        encodings = [encoding.strip().lower() for encoding in response.headers.getRawHeaders(ENCODING, [])]
        self.status: int = response.code
        self.headers: Headers = response.headers
        self.body = Body(limit, compressed=bool(encodings))
        response.deliverBody(self.body)
        if encodings not in ([], [b"gzip"], [b"x-gzip"], [b"deflate"], [b"identity"]):
            self.body.close()
            raise RobotError(Fault.BROKEN_ANSWER, _("the answer's encoding is unknown"))


async def read_all(answer: Answer, limit: int) -> bytes:
    """A body that is no stream; RobotError (broken answer) if it has more than `limit` bytes."""
    body = b""
    while piece := await answer.body.read():
        body += piece
        if len(body) > limit:
            raise RobotError(Fault.BROKEN_ANSWER, _("the answer is too large"))
    return body


class Http:
    """An HTTP client with a pool of kept-alive connections of its own."""

    def __init__(self, reactor: Any, jitter: Callable[[], float] = random.random) -> None:
        """`jitter` gives numbers from 0 to 1."""
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.cachedConnectionTimeout = IDLE_TIMEOUT
        self._pool.retryAutomatically = False  # what may have been sent is not sent again
        agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, jitter), self._pool)
        self._client = HTTPClient(_PlainAgent(agent))

    async def post(self, url: URL | str, body: bytes, headers: dict[bytes | str, bytes | str], limit: int) -> Answer:
        """POST and wait for the answer's head. Twisted's errors if there is none.

        Redirects are not followed: a request holds a key, and it is for the server that the operator named.
        """
        response = await self._client.post(url, data=body, headers=headers, allow_redirects=False, unbuffered=True)
        return Answer(response, limit)

    async def get(self, url: URL | str, headers: dict[bytes | str, bytes | str], limit: int) -> Answer:
        """GET, likewise."""
        response = await self._client.get(url, headers=headers, allow_redirects=False, unbuffered=True)
        return Answer(response, limit)

    def within(self, seconds: float, work: Awaitable[T]) -> "Deferred[T]":
        """Do `work`, all of it, in so many seconds; RobotError if that is not enough or HTTP fails."""
        done: Deferred[T] = Deferred.fromCoroutine(_translated(work))
        return done.addTimeout(seconds, self._reactor, _timed_out)

    def close(self) -> "Deferred[None]":
        """Close the connections that are kept."""
        done: Deferred[None] = self._pool.closeCachedConnections()
        return done


def _timed_out(result: T | Failure, seconds: float) -> T | Failure:
    """What to make of work that was cancelled because its time was over."""
    if isinstance(result, Failure):
        result.trap(CancelledError)
        raise RobotError(Fault.TIMED_OUT, _("no answer within {seconds:g} s").format(seconds=seconds))
    return result


async def _translated(work: Awaitable[T]) -> T:
    """Do `work`; of Twisted's errors, cancelling is one, and the others are RobotErrors."""
    try:
        return await work
    except (ResponseFailed, RequestTransmissionFailed) as error:
        if any(reason.check(CancelledError) for reason in error.reasons):
            raise CancelledError from None
        # The types only: the errors' texts may have what the server sent.
        causes = ", ".join(qual(reason.type) for reason in error.reasons)
        raise RobotError(Fault.BROKEN_ANSWER, f"{type(error).__name__}: {causes}") from None

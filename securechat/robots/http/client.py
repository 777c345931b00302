"""An HTTP client for robots: treq, over an agent of our own.

What is done outside treq, and why:

- `_PlainAgent`, below treq, removes `Accept-Encoding` from requests and `Set-Cookie` from responses: treq decompresses
  without a limit, and cookies would link users. Responses that are compressed all the same go through
  `content_coding`, which limits each step.
- `EndpointFactory`: the timeout of a Twisted endpoint covers one attempt and ends before the TLS handshake. This one
  covers name look-up, all attempts and the handshake.
- `Connection`: a reply that is cancelled closes its connection at once, so that a language model stops generating;
  Twisted would send what is unsent and wait for the peer's close_notify. It also limits the head of a response.
- `ConnectionPool`: Twisted's, except that connections which the server has closed are not used again.
- `Response`, above treq: a body that is read on demand, with a limit on its size and on the time of each read.
  `treq.collect` has no back-pressure, and treq's timeout ends at the head.
"""

from collections.abc import Mapping
from random import SystemRandom
from typing import Any, Final

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer, IReactorPluggableNameResolver, IReactorTCP, IReactorTime
from twisted.python.reflect import qual
from twisted.python.url import URL
from twisted.web.client import (
    Agent,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from securechat import __version__
from securechat.errors import Fault, RobotError
from securechat.robots.errors import UnansweredError
from securechat.robots.http.connection import StaleConnectionError
from securechat.robots.http.endpoint import EndpointFactory, RandomDelay
from securechat.robots.http.pool import ConnectionPool
from securechat.robots.http.response import CONTENT_CODING, Response

# Sites behind Cloudflare and others answer requests without a User-Agent with 403.
USER_AGENT: Final = f"securechat/{__version__}"


class IHttpReactor(IReactorTCP, IReactorTime, IReactorPluggableNameResolver):
    """The reactor, as far as HTTP uses it."""


class HttpClient:
    """An HTTP client with a connection pool of its own.

    Redirects are not followed, because a request contains a key and the conversation, which are for one server only.
    A request is sent a second time, on a new connection, only if it was sent on a connection that had been used before
    and that the server closed without a single byte of a response.
    """

    def __init__(self, reactor: IHttpReactor, *, retries: bool = True, random_delay: RandomDelay | None = None) -> None:
        """`retries`: whether a refused connection is retried."""
        self._reactor = reactor
        self._endpoints = EndpointFactory(reactor, random_delay or SystemRandom().uniform, retries=retries)
        self._pool = ConnectionPool(reactor, persistent=True)
        self._treq = self._client(self._pool)
        self._unpooled_treq = self._client(ConnectionPool(reactor, persistent=False))

    def _client(self, pool: ConnectionPool) -> HTTPClient:
        return HTTPClient(_PlainAgent(Agent.usingEndpointFactory(self._reactor, self._endpoints, pool)))

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """Send a POST request and wait for the head of the response. RobotError if there is none.

        `url` is in ASCII, percent-encoded.
        """
        return await self._request("POST", url, headers, body)

    async def get(self, url: str, headers: Mapping[str, str]) -> Response:
        """Send a GET request, as `post`."""
        return await self._request("GET", url, headers, None)

    async def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        def send(treq: HTTPClient) -> "Deferred[Any]":
            return treq.request(
                method,
                _EncodedURL.from_text(url),
                headers=Headers({name: [value] for name, value in {"User-Agent": USER_AGENT, **headers}.items()}),
                data=None if body is None else _RequestBody(body),
                allow_redirects=False,
                unbuffered=True,
            )

        try:
            response = await _response(send(self._treq))
        except StaleConnectionError:
            response = await _response(send(self._unpooled_treq))
        return Response(self._reactor, response)

    async def settled(self) -> None:
        """Wait until the connections of requests that were given up are closed.

        A robot waits for this at the end of each reply, so that a cancelled one counts as concurrent until then.
        """
        await self._endpoints.aborted()

    def close(self) -> "Deferred[None]":
        """Close all connections, idle and in use."""
        done: Deferred[None] = self._pool.closeCachedConnections()
        self._endpoints.abort()  # the pool would wait for a TLS peer
        return done


async def _response(sending: "Deferred[Any]") -> IResponse:
    """The response; RobotError (broken answer), StaleConnectionError or CancelledError if there is none."""
    try:
        response: IResponse = await sending
    except (ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed) as error:
        for kind in (CancelledError, StaleConnectionError):
            if any(reason.check(kind) for reason in error.reasons):
                raise kind from None
        # Only the types: the texts of these errors may contain data from the server.
        causes = ", ".join(qual(reason.type) for reason in error.reasons)
        kind_of_error = UnansweredError if isinstance(error, ResponseNeverReceived) else RobotError
        raise kind_of_error(Fault.BROKEN_ANSWER, f"{type(error).__name__}: {causes}") from None
    return response


@implementer(IBodyProducer)
class _RequestBody:
    """The body of a request, written in one piece. Twisted's producer would wait for further turns of the reactor."""

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        # Twisted's objects for a request refer to each other and to this one. They stay until garbage is collected.
        data, self._data = self._data, b""
        consumer.write(data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to be produced."""

    resumeProducing = stopProducing = pauseProducing


class _EncodedURL(URL):
    """A URL that treq does not encode again: hyperlink would reject an IPv6 address as an invalid host name."""

    def to_uri(self) -> URL:
        return self


@implementer(IAgent)
class _PlainAgent:
    """Keeps content codings and cookies from treq."""

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        headers = Headers() if headers is None else headers.copy()
        headers.removeHeader(b"accept-encoding")
        return self._agent.request(method, uri, headers, bodyProducer).addCallback(_plain)


def _plain(response: IResponse) -> IResponse:
    response.headers.setRawHeaders(CONTENT_CODING, response.headers.getRawHeaders(b"content-encoding", []))
    response.headers.removeHeader(b"content-encoding")
    response.headers.removeHeader(b"set-cookie")
    return response

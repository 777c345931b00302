"""An HTTP client for robots: treq, with an agent of our own below it and a body of our own above.

What treq and twisted.web leave to us, and where it is:

- `_PlainAgent`: no cookies, which would link users to each other, and no `Accept-Encoding`. treq asks for gzip and
  decompresses it without a limit; `content_coding` does so a piece at a time.
- `EndpointFactory`: one timeout for a connection with its name look-up, TLS handshake and retries. An endpoint's own
  timeout is for one attempt, and it is done before the handshake.
- `Connection`: whoever stops reading a body closes the connection at once, over TLS as well, so that the server of a
  language model stops computing. It also limits the head of a response.
- `Response`: a body that is read on demand, with a limit and a timeout for each read. `treq.collect` takes it as fast
  as the server sends it, and treq's `timeout` ends with the head.
- `BytesProducer`: a request that is sent as a whole. Twisted's `FileBodyProducer` sends it in pieces, and if it is
  cancelled between two of them the connection is in no defined state.
"""

from collections.abc import Mapping
from random import SystemRandom
from typing import Final

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer, IReactorPluggableNameResolver, IReactorTCP, IReactorTime
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
from securechat.robots.http.endpoint import EndpointFactory, RandomDelay
from securechat.robots.http.response import CONTENT_CODING, Response

# Seconds for which an idle connection is kept. Servers (uvicorn, Node, cpp-httplib) close theirs after 5: a request
# that is sent just then may have been received or not, and must not be sent again. So the client closes first.
IDLE_TIMEOUT: Final = 4


class IHttpReactor(IReactorTCP, IReactorTime, IReactorPluggableNameResolver):
    """What HTTP needs of the reactor."""


class HttpClient:
    """An HTTP client with a pool of connections of its own. Requests are sent once and redirects not followed."""

    def __init__(self, reactor: IHttpReactor, *, random_delay: RandomDelay | None = None) -> None:
        self._reactor = reactor
        self._endpoints = EndpointFactory(reactor, random_delay or SystemRandom().uniform)
        self._pool = HTTPConnectionPool(reactor)
        self._pool.cachedConnectionTimeout = IDLE_TIMEOUT
        self._pool.retryAutomatically = False
        self._treq = HTTPClient(_PlainAgent(Agent.usingEndpointFactory(reactor, self._endpoints, self._pool)))

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """POST, and wait for the head of the response. RobotError if there is none.

        The URL is a URI: percent-encoded, in ASCII. A redirect is a response like any other: the request holds a key
        that is for this server only.
        """
        return await self._request("POST", url, headers, BytesProducer(body))

    async def get(self, url: str, headers: Mapping[str, str]) -> Response:
        """GET, as `post`."""
        return await self._request("GET", url, headers, None)

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: "BytesProducer | None"
    ) -> Response:
        try:
            response = await self._treq.request(
                method,
                _EncodedURL.from_text(url),
                headers=Headers({name: [value] for name, value in headers.items()}),
                data=body,
                allow_redirects=False,
                unbuffered=True,
            )
        except (ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed) as error:
            if any(reason.check(CancelledError) for reason in error.reasons):
                raise CancelledError from None
            # The types only: the errors' texts may hold what the server sent.
            causes = ", ".join(qual(reason.type) for reason in error.reasons)
            raise RobotError(Fault.BROKEN_ANSWER, f"{type(error).__name__}: {causes}") from None
        return Response(self._reactor, response)

    def close(self) -> "Deferred[None]":
        """Close all connections, idle or in use."""
        done: Deferred[None] = self._pool.closeCachedConnections()
        self._endpoints.abort()  # the pool's way of closing them waits for a TLS peer
        return done


class _EncodedURL(URL):
    """A URL that needs no encoding. treq encodes it, and hyperlink takes an IPv6 address for a name that is invalid."""

    def to_uri(self) -> URL:
        return self


@implementer(IAgent)
class _PlainAgent:
    """Hides content codings and cookies from treq."""

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


@implementer(IBodyProducer)
class BytesProducer:
    """The body of a request, written at once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass

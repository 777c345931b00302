"""HTTP as the robots need it: bodies that are bounded, exchanges that end, and errors that say whose they are."""

from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError, TCPTimedOutError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.python.reflect import qual
from twisted.web.client import Agent, HTTPConnectionPool, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from securechat.errors import Fault, RobotError

CONNECT_TIMEOUT: Final = 10.0  # seconds to reach a server
IDLE_TIMEOUT: Final = 30  # seconds that a connection is kept for the next request

T = TypeVar("T")


@implementer(IAgent)
class _PlainAgent:
    """An agent without compression and cookies, both of which treq adds.

    A few compressed bytes may be a body larger than memory, before anyone counts; cookies would tie users together.
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
    response.headers.removeHeader(b"content-encoding")
    response.headers.removeHeader(b"set-cookie")
    return response


class Http:
    """An HTTP client with a pool of kept-alive connections of its own."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.cachedConnectionTimeout = IDLE_TIMEOUT
        self._client = HTTPClient(_PlainAgent(Agent(reactor, connectTimeout=CONNECT_TIMEOUT, pool=self._pool)))

    async def post(self, url: str, body: bytes, headers: dict[bytes | str, bytes | str]) -> IResponse:
        """POST and wait for the answer's head. Twisted's errors if there is none.

        Redirects are not followed: a request holds a key, and it is for the server that the operator named.
        """
        response: IResponse = await self._client.post(
            url, data=body, headers=headers, allow_redirects=False, unbuffered=True
        )
        return response

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
        raise RobotError(Fault.TIMED_OUT, f"no answer within {seconds:g} s")
    return result


async def _translated(work: Awaitable[T]) -> T:
    """Do `work`; of Twisted's errors, cancelling is one, and the others are RobotErrors."""
    try:
        return await work
    except ConnectingCancelledError:
        raise CancelledError from None
    except (ConnectTimeout, TCPTimedOutError):
        raise RobotError(Fault.TIMED_OUT, "no connection in time") from None
    except (ConnectError, DNSLookupError) as error:
        raise RobotError(Fault.UNREACHABLE, type(error).__name__) from None
    except (ResponseFailed, RequestTransmissionFailed) as error:
        if any(reason.check(CancelledError) for reason in error.reasons):
            raise CancelledError from None
        # The types only: the errors' texts may have what the server sent.
        causes = ", ".join(qual(reason.type) for reason in error.reasons)
        raise RobotError(Fault.BROKEN_ANSWER, f"{type(error).__name__}: {causes}") from None


class _Body(Protocol):
    """Collects a body up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self.done: Deferred[bytes] = Deferred(lambda _done: self._stop())

    def _stop(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        self._limit -= len(data)
        self._parts.append(data)
        if self._limit < 0:
            self.done.errback(RobotError(Fault.BROKEN_ANSWER, "the answer is too large"))
            self._stop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):  # the latter: a body whose end is the connection's
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(RobotError(Fault.BROKEN_ANSWER, "the answer was cut"))


def read_body(response: IResponse, limit: int) -> "Deferred[bytes]":
    """The whole body, of at most `limit` bytes; RobotError (broken answer) if it is more, or cut."""
    body = _Body(limit)
    response.deliverBody(body)
    return body.done

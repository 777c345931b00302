"""The way to an HTTP server: a step of its own, with one short deadline for all of it.

Name, connection, TLS and the attempts after a refused connection are all in it. Nothing of a request has been sent
before it is over, so it is the only step that is ever tried again.
"""

from collections.abc import Callable, Iterator
from random import SystemRandom
from typing import Any, Final, cast

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    ISSLTransport,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from securechat.errors import Fault, RobotError
from securechat.i18n import _

CONNECT_TIMEOUT: Final = 3.0  # seconds from the name to the end of the TLS handshake; a user waits meanwhile
MAX_HEAD: Final = 128 * 1024  # bytes of an answer before its body, and of what of this comes along with them
BACK_OFFS: Final = ((0.1, 0.2), (0.3, 0.6))  # seconds, from and to, before each further attempt: a server that restarts

Uniform = Callable[[float, float], float]  # a random number between two others


@implementer(IHandshakeListener)
class TrackedConnection(Protocol):
    """A connection that tells when it may be used; what comes over it is for `user`, the protocol it was made for."""

    def __init__(self, user: Any, lines: "set[TrackedConnection]") -> None:
        self._lines = lines
        self.ready: Deferred[IProtocol] = Deferred()
        self.is_aborted = False
        self._user = user
        self._head_left: int | None = None
        user.line = self  # the pool hands out users

    def expect_head(self) -> None:
        """The next answer begins. Twisted bounds the lines of its head, but not their number."""
        self._head_left = MAX_HEAD

    def expect_body(self) -> None:
        """The head is over: what comes now is counted by those who read it."""
        self._head_left = None

    def abort(self) -> None:
        """Close at once: losing it would wait for what is unsent, and for a TLS peer's good-bye."""
        transport: Any = self.transport
        self.is_aborted = True
        transport.abortConnection()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._lines.add(self)
        self._user.makeConnection(self.transport)
        if not ISSLTransport.providedBy(self.transport):
            self.ready.callback(self._user)

    def handshakeCompleted(self) -> None:
        if not self.ready.called:
            self.ready.callback(self._user)

    def dataReceived(self, data: bytes) -> None:
        if self._head_left is not None:
            self._head_left -= len(data)
            if self._head_left < 0:
                self.abort()
                return
        self._user.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ready.called:
            self.ready.errback(reason)
        self._lines.discard(self)
        self._user.connectionLost(reason)


class _Lines(Factory):
    noisy = False

    def __init__(self, users: IProtocolFactory, lines: set[TrackedConnection]) -> None:
        self._users = users
        self._lines = lines

    def buildProtocol(self, addr: IAddress | None) -> TrackedConnection | None:
        user = self._users.buildProtocol(addr)  # type: ignore[arg-type]  # None is what Twisted itself gives
        return TrackedConnection(user, self._lines) if user is not None else None


@implementer(IStreamClientEndpoint)
class _PatientEndpoint:
    """Connects within CONNECT_TIMEOUT, or fails with a RobotError; CancelledError if it is cancelled."""

    def __init__(
        self, reactor: Any, endpoint: IStreamClientEndpoint, uniform: Uniform, lines: set[TrackedConnection]
    ) -> None:
        self._reactor = reactor
        self._lines = lines
        self._endpoint = endpoint
        self._uniform = uniform

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        connecting: Deferred[IProtocol] = Deferred.fromCoroutine(self._connect(_Lines(protocolFactory, self._lines)))
        return connecting.addTimeout(CONNECT_TIMEOUT, self._reactor, _timed_out)

    async def _connect(self, lines: _Lines) -> IProtocol:
        back_offs: Iterator[tuple[float, float]] = iter(BACK_OFFS)
        while True:
            try:
                return await self._attempt(lines)
            except ConnectionRefusedError:
                back_off = next(back_offs, None)
                if back_off is None:
                    raise RobotError(Fault.UNREACHABLE, _("the connection was refused")) from None
            except (CancelledError, RobotError):
                raise
            except (ConnectTimeout, DNSLookupError, ConnectError) as error:
                raise RobotError(Fault.UNREACHABLE, type(error).__name__) from None
            except (SSL.Error, VerificationError) as error:
                raise RobotError(Fault.UNREACHABLE, f"TLS: {_tls_problem(error)}") from None
            except Exception as error:
                # Closed during the handshake, a host name that is none: whatever it was, nothing was sent.
                raise RobotError(
                    Fault.UNREACHABLE, _("no connection: {problem}").format(problem=type(error).__name__)
                ) from None
            await deferLater(self._reactor, self._uniform(*back_off))

    async def _attempt(self, lines: _Lines) -> IProtocol:
        line = await _cancellable(self._endpoint.connect(lines))
        try:
            return await line.ready
        except CancelledError:
            line.abort()
            raise


def _cancellable(connecting: "Deferred[Any]") -> "Deferred[TrackedConnection]":
    """The same, but cancelling gives a CancelledError: cancelled while it resolves the name, Twisted's endpoint says
    that there is no such name."""

    def cancel(_connected: Deferred[TrackedConnection]) -> None:
        connected.errback(CancelledError())
        connecting.cancel()

    def succeed(line: TrackedConnection) -> None:
        if connected.called:  # too late: nobody wants it any more
            line.ready.addErrback(lambda _failure: None)
            line.abort()
        else:
            connected.callback(line)

    def fail(reason: Failure) -> None:
        if not connected.called:
            connected.errback(reason)

    connected: Deferred[TrackedConnection] = Deferred(cancel)
    connecting.addCallbacks(succeed, fail)
    return connected


def _timed_out(result: IProtocol | Failure, seconds: float) -> IProtocol:
    if isinstance(result, Failure):
        result.trap(CancelledError)
        raise RobotError(Fault.UNREACHABLE, _("no connection within {seconds:g} s").format(seconds=seconds))
    return result


def _tls_problem(error: Exception) -> str:
    """OpenSSL's own words, such as "certificate verify failed"; never the server's."""
    try:
        return ", ".join(str(reason) for _library, _function, reason in error.args[0]) or type(error).__name__
    except (IndexError, TypeError, ValueError):
        return type(error).__name__


@implementer(IAgentEndpointFactory)
class Endpoints:
    """Gives an HTTP agent its connections."""

    def __init__(self, reactor: Any, uniform: Uniform | None = None) -> None:
        self._reactor = reactor
        self._uniform = uniform or SystemRandom().uniform
        self._policy = BrowserLikePolicyForHTTPS()
        self._lines: set[TrackedConnection] = set()

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        # No timeouts of the reactor's, which follow the wall clock: CONNECT_TIMEOUT is for all attempts.
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            self._reactor, uri.host.decode("ascii"), uri.port, timeout=cast(float, None)
        )
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _PatientEndpoint(self._reactor, endpoint, self._uniform, self._lines)

    def abort(self) -> None:
        """Close all connections that there are, at once."""
        for line in list(self._lines):
            line.abort()

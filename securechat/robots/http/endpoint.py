"""Endpoints of HTTP servers, with one timeout for name look-up, connection, TLS handshake and retries.

Only connecting is retried, because no part of a request has been sent then.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from securechat.errors import Fault, RobotError
from securechat.robots.http.connection import Connection, ConnectionFactory

CONNECT_TIMEOUT: Final = 3.0  # seconds from the name look-up to the end of the TLS handshake
RETRY_DELAYS: Final = ((0.1, 0.2), (0.3, 0.6))  # seconds before each retry, least and most; a server may be restarting

RandomDelay = Callable[[float, float], float]  # returns a number between its arguments


@implementer(IStreamClientEndpoint)
class RetryingEndpoint:
    """Connects within CONNECT_TIMEOUT; retries refused connections. RobotError (unreachable) if it fails."""

    def __init__(
        self,
        reactor: IReactorTime,
        endpoint: IStreamClientEndpoint,
        random_delay: RandomDelay,
        open_connections: dict[Connection, int],
        *,
        retries: bool = True,
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._random_delay = random_delay
        self._open_connections = open_connections
        self._retries = retries

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        checkpoint = getattr(self._reactor, "checkpoint", _no_checkpoint)  # MonotonicReactor's
        factory = ConnectionFactory(protocolFactory, self._open_connections, checkpoint)
        connecting: Deferred[IProtocol] = Deferred.fromCoroutine(self._connect(factory))
        return connecting.addTimeout(CONNECT_TIMEOUT, self._reactor, _timed_out)

    async def _connect(self, factory: ConnectionFactory) -> IProtocol:
        try:
            for delay in RETRY_DELAYS if self._retries else ():
                try:
                    return await self._attempt(factory)
                except ConnectionRefusedError:
                    await deferLater(self._reactor, self._random_delay(*delay))
            return await self._attempt(factory)
        except CancelledError:
            raise
        except Exception as error:
            raise RobotError(Fault.UNREACHABLE, _problem(error)) from None

    async def _attempt(self, factory: ConnectionFactory) -> IProtocol:
        connection = await _cancellable(self._endpoint.connect(factory))
        try:
            return await connection.ready
        except CancelledError:
            connection.abort()
            raise


def _cancellable(connecting: "Deferred[Any]") -> "Deferred[Connection]":
    """`connecting`, but CancelledError if it is cancelled: during the name look-up, Twisted's endpoint fails with a
    DNSLookupError."""

    def cancel(_connected: Deferred[Connection]) -> None:
        connected.errback(CancelledError())
        connecting.cancel()

    def succeed(connection: Connection) -> None:
        if connected.called:  # it has been cancelled
            connection.ready.addErrback(lambda _failure: None)
            connection.abort()
        else:
            connected.callback(connection)

    def fail(reason: Failure) -> None:
        if not connected.called:
            connected.errback(reason)

    connected: Deferred[Connection] = Deferred(cancel)
    connecting.addCallbacks(succeed, fail)
    return connected


def _no_checkpoint() -> None:
    """For other reactors."""


def _timed_out(result: IProtocol | Failure, seconds: float) -> IProtocol:
    if isinstance(result, Failure):
        result.trap(CancelledError)
        raise RobotError(Fault.UNREACHABLE, f"connection timed out after {seconds:g} s")
    return result


def _problem(error: Exception) -> str:
    """For the log. Most errors by their type only: the text may contain data from the server."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, SSL.Error | VerificationError):
        return f"TLS: {_tls_problem(error)}"
    return f"cannot connect: {type(error).__name__}"


def _tls_problem(error: Exception) -> str:
    """The reason that OpenSSL gives, such as "certificate verify failed"."""
    try:
        return ", ".join(str(reason) for _library, _function, reason in error.args[0]) or type(error).__name__
    except (IndexError, TypeError, ValueError):
        return type(error).__name__


def _kind(host: str) -> type[TCP4ClientEndpoint | TCP6ClientEndpoint | HostnameEndpoint]:
    """The kind of endpoint for a host. HostnameEndpoint would look up an address, too, in a thread."""
    if isIPAddress(host):
        return TCP4ClientEndpoint
    return TCP6ClientEndpoint if isIPv6Address(host) else HostnameEndpoint


@implementer(IAgentEndpointFactory)
class EndpointFactory:
    """Creates the endpoints of an HTTP agent."""

    def __init__(self, reactor: IReactorTime, random_delay: RandomDelay, *, retries: bool = True) -> None:
        self._reactor = reactor
        self._random_delay = random_delay
        self._retries = retries
        self._tls_policy = BrowserLikePolicyForHTTPS()
        self._open_connections: dict[Connection, int] = {}

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii")
        # Without the reactor's own timeout, which follows the wall clock: CONNECT_TIMEOUT is for all attempts.
        endpoint: IStreamClientEndpoint = _kind(host)(self._reactor, host, uri.port, timeout=cast(float, None))
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._tls_policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return RetryingEndpoint(
            self._reactor, endpoint, self._random_delay, self._open_connections, retries=self._retries
        )

    async def aborted(self) -> None:
        """Wait until all connections that were aborted are closed. Cancelling it has no effect."""
        for connection in list(self._open_connections):
            while connection.is_aborted and connection in self._open_connections:
                with suppress(CancelledError):
                    await connection.closed()

    def abort(self) -> None:
        """Close all connections at once."""
        for connection in list(self._open_connections):
            connection.abort()

"""Connecting to HTTP servers: with a fake clock and over real sockets."""

import gc
import os
import random
import socket
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, DNSLookupError, NoRouteError
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from securechat.clock import MonotonicReactor
from securechat.errors import Fault, RobotError
from securechat.robots.http import endpoint
from securechat.robots.http.client import HttpClient, IHttpReactor
from securechat.robots.http.endpoint import CONNECT_TIMEOUT, RETRY_DELAYS, RetryingEndpoint
from tests.harness.http import (
    HANG_UP,
    DeadResolver,
    FakeEndpoint,
    HttpTestCase,
    ServerContext,
    Silent,
    certificate,
    until,
)

reactor: Any = installed


class ConnectingTests(SynchronousTestCase):
    """Retries and the timeout."""

    def connect(self, *results: Any, random_delay: Any = max) -> "Deferred[Any]":
        self.clock = Clock()
        self.endpoint = FakeEndpoint(*results)
        return RetryingEndpoint(self.clock, self.endpoint, random_delay, {}).connect(Factory.forProtocol(Protocol))

    def assertFault(self, connecting: "Deferred[Any]", words: str) -> None:
        error = self.failureResultOf(connecting, RobotError).value
        self.assertEqual(error.fault, Fault.UNREACHABLE)
        self.assertIn(words, str(error))

    def test_refused(self) -> None:
        """A refused connection is retried twice, the second time after a longer delay."""
        done = self.connect(*[ConnectionRefusedError()] * 3)
        self.assertEqual(self.endpoint.attempts, 1)
        self.clock.advance(0.19)
        self.assertEqual(self.endpoint.attempts, 1)
        self.clock.advance(0.02)
        self.assertEqual(self.endpoint.attempts, 2)
        self.clock.advance(0.58)
        self.assertNoResult(done)
        self.clock.advance(0.03)
        self.assertEqual(self.endpoint.attempts, 3)
        self.assertFault(done, "refused")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refusedOnce(self) -> None:
        """The first retry can succeed."""
        done = self.connect(ConnectionRefusedError(), None)
        self.clock.advance(0.2)
        self.assertIsInstance(self.successResultOf(done), Protocol)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noRetries(self) -> None:
        """A client that has another server to ask fails at once."""
        endpoint = FakeEndpoint(ConnectionRefusedError())
        retrying = RetryingEndpoint(Clock(), endpoint, max, {}, retries=False)
        self.assertFault(retrying.connect(Factory.forProtocol(Protocol)), "refused")
        self.assertEqual(endpoint.attempts, 1)

    def test_randomDelays(self) -> None:
        """Delays are random within their bounds, so that clients do not all retry at the same moment."""
        delays = {tuple(random.Random(seed).uniform(*bounds) for bounds in RETRY_DELAYS) for seed in range(9)}
        self.assertEqual(len(delays), 9)
        asked: list[tuple[float, float]] = []

        def random_delay(low: float, high: float) -> float:
            asked.append((low, high))
            return low

        done = self.connect(*[ConnectionRefusedError()] * 3, random_delay=random_delay)
        self.clock.pump([0.1, 0.3])
        self.assertFault(done, "refused")
        self.assertEqual(asked, list(RETRY_DELAYS))

    def test_otherErrors(self) -> None:
        """Other errors are not retried, and only their types are logged."""
        for error in (DNSLookupError("secret"), NoRouteError("secret"), ValueError("secret")):
            done = self.connect(error)
            self.assertFault(done, type(error).__name__)
            self.assertEqual(self.endpoint.attempts, 1)

    def test_deadline(self) -> None:
        """All attempts together have one timeout of three seconds."""
        late: Deferred[Any] = Deferred(lambda _cancelled: None)
        done = self.connect(ConnectionRefusedError(), late)
        self.clock.advance(0.2)
        self.clock.advance(CONNECT_TIMEOUT - 0.21)
        self.assertNoResult(done)
        self.clock.advance(0.01)
        self.assertFault(done, "3 s")

    def test_cancelled(self) -> None:
        """It can be cancelled during an attempt and between attempts."""
        done = self.connect(Deferred(lambda cancelled: cancelled.errback(DNSLookupError())))
        done.cancel()
        self.failureResultOf(done, CancelledError)
        done = self.connect(ConnectionRefusedError())
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connectedAfterCancellation(self) -> None:
        """A connection that is established after the cancellation is aborted."""

        def connects_nevertheless(connecting: "Deferred[Any]") -> None:
            connecting.callback(None)

        done = self.connect(Deferred(connects_nevertheless))
        alsoProvides(self.endpoint.transport, ISSLTransport)  # whose handshake is not complete
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertTrue(self.endpoint.transport.disconnected or self.endpoint.transport.disconnecting)
        self.endpoint.connection.connectionLost(Failure(ConnectionDone()))
        del self.endpoint
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])


class NetworkTests(HttpTestCase):
    """Connecting over real sockets."""

    async def test_deadNameService(self) -> None:
        """The timeout includes the name look-up, which can be cancelled."""
        self.patch(endpoint, "CONNECT_TIMEOUT", 0.1)
        previous = reactor.installNameResolver(DeadResolver())
        self.addCleanup(reactor.installNameResolver, previous)
        await self.assertFault(Fault.UNREACHABLE, "0.1 s", self.ask("", "http://name.example"))
        asking = Deferred.fromCoroutine(self.ask("", "http://name.example"))
        asking.cancel()
        with self.assertRaises(CancelledError):
            await asking

    async def test_address(self) -> None:
        """An address is not looked up."""
        previous = reactor.installNameResolver(DeadResolver())
        self.addCleanup(reactor.installNameResolver, previous)
        for address, host in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
            port = reactor.listenTCP(0, self.peer, interface=address)
            self.addCleanup(port.stopListening)
            with await self.ask("hello", f"http://{host}:{port.getHost().port}") as answer:
                self.assertEqual(answer.code, 200)

    async def test_refused(self) -> None:
        """A port on which no server listens is unreachable."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            await self.assertFault(
                Fault.UNREACHABLE, "refused", self.ask("", url, HttpClient(reactor, random_delay=_soon))
            )

    async def test_serverThatStarts(self) -> None:
        """A server that starts a moment later is reached, and receives one request."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            number = unused.getsockname()[1]
        http = HttpClient(reactor, random_delay=lambda low, high: 0.05)
        self.addCleanup(http.close)
        asking = Deferred.fromCoroutine(self.ask("hello", f"http://127.0.0.1:{number}", http))
        await deferLater(reactor, 0.02)
        port = reactor.listenTCP(number, self.peer, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        with await asking as answer:
            self.assertEqual(answer.code, 200)
        self.assertEqual(len(self.peer.asked), 1)

    async def test_clock(self) -> None:
        """While it connects, all its timers are those of the reactor that it was given."""
        with socket.socket() as busy, socket.socket() as first:
            busy.bind(("127.0.0.1", 0))
            busy.listen(0)
            first.connect(busy.getsockname())  # the queue is full: the kernel answers no other connection
            monotonic = MonotonicReactor(reactor)
            self.addCleanup(monotonic.close)
            http = HttpClient(cast(IHttpReactor, monotonic))
            await deferLater(reactor, 0)  # by now trial has its own timer
            before = reactor.getDelayedCalls()
            asking = Deferred.fromCoroutine(http.get(f"http://127.0.0.1:{busy.getsockname()[1]}", {}))
            await deferLater(reactor, 0.02)
            later = reactor.seconds() + 0.5  # what Twisted calls in the next turn is no timer
            made = [call for call in reactor.getDelayedCalls() if call not in before and call.getTime() > later]
            self.assertEqual(made, [])
            self.assertGreater(len(monotonic.getDelayedCalls()), 0)
            asking.cancel()
            with self.assertRaises(CancelledError):
                await asking
        await http.close()


def _soon(low: float, high: float) -> float:
    return 0.01


class TlsTests(HttpTestCase):
    """HTTPS: the TLS handshake is a part of connecting."""

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp()).absolute()
        self.path.write_bytes(certificate("localhost"))

    def trust(self) -> None:
        """Trust the server's certificate, with the variable that OpenSSL reads."""
        environ = patch.dict(os.environ, SSL_CERT_FILE=str(self.path))
        environ.start()
        self.addCleanup(environ.stop)

    async def test_trusted(self) -> None:
        """With a trusted certificate there is a response, and closing it aborts the connection at once."""
        self.trust()
        url = f"https://localhost:{self.listen(self.peer, ServerContext(str(self.path)))}"
        self.assertIn(b"hello", await self.ask_all("hello", url))
        answer = await self.ask("hang between", url)
        self.assertIn(b"Hel", await answer.read())
        await self.assertHangsUp(answer.close)

    async def test_wrongCertificate(self) -> None:
        """With an untrusted certificate, or one for another name, no request is sent."""
        port = self.listen(self.peer, ServerContext(str(self.path)))
        await self.assertFault(
            Fault.UNREACHABLE, "certificate verify failed", self.ask("hello", f"https://localhost:{port}")
        )
        self.trust()
        await self.assertFault(Fault.UNREACHABLE, "TLS", self.ask("hello", f"https://127.0.0.1:{port}"))
        self.assertEqual(self.peer.asked, [])

    async def test_noTls(self) -> None:
        """A server that does not complete the TLS handshake is unreachable; cancelling aborts it at once."""
        self.patch(endpoint, "CONNECT_TIMEOUT", 0.1)
        silent = Silent()
        url = f"https://localhost:{self.listen(silent)}"
        await self.assertFault(Fault.UNREACHABLE, "0.1 s", self.ask("hello", url))
        await until(lambda: silent.lost == 1)
        silent.received.clear()
        asking = Deferred.fromCoroutine(self.ask("hello", url))
        await until(lambda: silent.received)
        asking.cancel()
        with self.assertRaises(CancelledError):
            await asking
        await until(lambda: silent.lost == 2, HANG_UP)
        silent.answer = b"SSH-2.0-not-this\r\n"
        await self.assertFault(Fault.UNREACHABLE, "TLS", self.ask("hello", url))

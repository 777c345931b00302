"""HTTP for robots: connecting, reading, hanging up; over real sockets, and over a clock where time is the matter."""

import gc
import gzip
import os
import random
import socket
import zlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, DNSLookupError, NoRouteError
from twisted.internet.interfaces import IHostnameResolver, IOpenSSLContextFactory, ISSLTransport, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, LoopingCall, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import alsoProvides, implementer

from securechat.clock import MonotonicReactor
from securechat.errors import Fault, RobotError
from securechat.robots.http import endpoint as connecting
from securechat.robots.http.body import MAX_PIECE, coding_of
from securechat.robots.http.client import IDLE_TIMEOUT, Http, Response, read_body
from securechat.robots.http.endpoint import BACK_OFFS, CONNECT_TIMEOUT, TrackedConnection, _PatientEndpoint
from tests.harness.openai_peer import OpenAIPeer

reactor: Any = installed

HANG_UP = 0.2  # seconds within which the server has to see that nobody listens any more


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something is so."""
    end = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError("it does not come")
        await deferLater(reactor, 0.002)


@implementer(IStreamClientEndpoint)
class FakeEndpoint:
    """Connects as a test wants it: with an error, with a connection, or in its own time."""

    def __init__(self, *results: "Exception | Deferred[Any] | None") -> None:
        self.results = list(results)
        self.attempts = 0
        self.transport = StringTransport()

    def connect(self, protocolFactory: Any) -> "Deferred[Any]":
        self.attempts += 1
        result = self.results.pop(0)
        if isinstance(result, Exception):
            return fail(result)
        line = protocolFactory.buildProtocol(None)
        if isinstance(result, Deferred):
            return result.addCallback(lambda _nothing: self._connected(line))
        return succeed(self._connected(line))

    def _connected(self, line: Any) -> Any:
        self.line = line
        line.makeConnection(self.transport)
        return line


class ConnectingTests(SynchronousTestCase):
    """The one step that is tried again, because nothing was sent yet."""

    def connect(self, *results: Any, uniform: Any = max) -> "Deferred[Any]":
        self.clock = Clock()
        self.endpoint = FakeEndpoint(*results)
        return _PatientEndpoint(self.clock, self.endpoint, uniform, set()).connect(Factory.forProtocol(Protocol))

    def assertFault(self, connecting: "Deferred[Any]", words: str) -> None:
        error = self.failureResultOf(connecting, RobotError).value
        self.assertEqual(error.fault, Fault.UNREACHABLE)
        self.assertIn(words, str(error))

    def test_refused(self) -> None:
        """A refused connection is tried twice more, each time after a longer wait."""
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
        """A server that was just starting is reached."""
        done = self.connect(ConnectionRefusedError(), None)
        self.clock.advance(0.2)
        self.assertIsInstance(self.successResultOf(done), Protocol)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_jitter(self) -> None:
        """The waits are random within their bounds, so that many do not come back at the same moment."""
        waits = {tuple(random.Random(seed).uniform(*bounds) for bounds in BACK_OFFS) for seed in range(9)}
        self.assertEqual(len(waits), 9)
        asked: list[tuple[float, float]] = []

        def uniform(low: float, high: float) -> float:
            asked.append((low, high))
            return low

        done = self.connect(*[ConnectionRefusedError()] * 3, uniform=uniform)
        self.clock.pump([0.1, 0.3])
        self.assertFault(done, "refused")
        self.assertEqual(asked, list(BACK_OFFS))

    def test_otherErrors(self) -> None:
        """No such name, no route, or whatever else: it is not tried again, and says no more than its type."""
        for error in (DNSLookupError("secret"), NoRouteError("secret"), ValueError("secret")):
            done = self.connect(error)
            self.assertFault(done, type(error).__name__)
            self.assertEqual(self.endpoint.attempts, 1)

    def test_deadline(self) -> None:
        """All of it together has three seconds; then it is given up, and what comes later is closed."""
        late: Deferred[Any] = Deferred(lambda _cancelled: None)
        done = self.connect(ConnectionRefusedError(), late)
        self.clock.advance(0.2)
        self.clock.advance(CONNECT_TIMEOUT - 0.21)
        self.assertNoResult(done)
        self.clock.advance(0.01)
        self.assertFault(done, "3 s")

    def test_cancelled(self) -> None:
        """Cancelled while connecting or while waiting, it is cancelled, whatever the endpoint says of it."""
        done = self.connect(Deferred(lambda cancelled: cancelled.errback(DNSLookupError())))
        done.cancel()
        self.failureResultOf(done, CancelledError)
        done = self.connect(ConnectionRefusedError())
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connectedTooLate(self) -> None:
        """A connection that is there after all when nobody wants it any more is closed."""

        def connects_nevertheless(connecting: "Deferred[Any]") -> None:
            connecting.callback(None)

        done = self.connect(Deferred(connects_nevertheless))
        alsoProvides(self.endpoint.transport, ISSLTransport)  # whose handshake is not over
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertTrue(self.endpoint.transport.disconnected or self.endpoint.transport.disconnecting)
        self.endpoint.line.connectionLost(Failure(ConnectionDone()))
        del self.endpoint
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])


@implementer(IHostnameResolver)
class DeadResolver:
    """A name service that does not answer: the network is cut."""

    def resolveHostName(self, resolutionReceiver: Any, *args: Any, **more: Any) -> Any:
        return resolutionReceiver


def certificate(name: str) -> bytes:
    """A key and a certificate for a name, signed by itself, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem + made.public_bytes(serialization.Encoding.PEM)


@implementer(IOpenSSLContextFactory)
class ServerContext:
    """What a TLS server needs. Twisted's own still uses what pyOpenSSL has deprecated."""

    def __init__(self, path: str) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_privatekey_file(path)
        self._context.use_certificate_file(path)

    def getContext(self) -> SSL.Context:
        return self._context


class HttpTestCase(TestCase):
    """A server on a real port and a client."""

    def setUp(self) -> None:
        self.peer = OpenAIPeer(reactor)
        self.http = Http(reactor)
        self.addCleanup(self.http.close)

    def listen(self, factory: Any, context: Any = None) -> int:
        port = (
            reactor.listenTCP(0, factory, interface="127.0.0.1")
            if context is None
            else reactor.listenSSL(0, factory, context, interface="127.0.0.1")
        )
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def ask(self, text: str, url: str | None = None, http: Http | None = None) -> Response:
        """The answer's head."""
        if url is None:
            url = f"http://127.0.0.1:{self.listen(self.peer)}"
        body = b'{"stream": true, "messages": [{"content": "%b"}]}' % text.encode()
        http = http or self.http
        return await http.within(5.0, http.post(url + "/v1/chat/completions", body, {}))

    async def assertFault(self, fault: Fault, words: str, work: Awaitable[object]) -> None:
        with self.assertRaises(RobotError) as caught:
            await work
        self.assertEqual(caught.exception.fault, fault)
        self.assertIn(words, str(caught.exception))

    async def assertHangsUp(self, hang_up: Callable[[], object]) -> None:
        """After this, the server sees at once that the client is gone."""
        before = reactor.seconds()
        hang_up()
        await until(lambda: self.peer.lost)
        self.assertLess(self.peer.lost[0] - before, HANG_UP)


class NetworkTests(HttpTestCase):
    """What real networks do before there is a connection."""

    async def test_deadNameService(self) -> None:
        """Names that are never resolved have the same three seconds; cancelled meanwhile, it is cancelled."""
        self.patch(connecting, "CONNECT_TIMEOUT", 0.1)
        previous = reactor.installNameResolver(DeadResolver())
        self.addCleanup(reactor.installNameResolver, previous)
        await self.assertFault(Fault.UNREACHABLE, "0.1 s", self.ask("", "http://name.example"))
        asking = Deferred.fromCoroutine(self.ask("", "http://name.example"))
        asking.cancel()
        with self.assertRaises(CancelledError):
            await asking

    async def test_refused(self) -> None:
        """A port where nobody listens is unreachable, after two more attempts."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            await self.assertFault(Fault.UNREACHABLE, "refused", self.ask("", url, Http(reactor, uniform=_soon)))

    async def test_reachedWhileItStarts(self) -> None:
        """A server that listens a moment later is reached, and asked once."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            number = unused.getsockname()[1]
        http = Http(reactor, uniform=lambda low, high: 0.05)
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
            http = Http(monotonic)
            await deferLater(reactor, 0)  # by now trial has its own timer
            before = reactor.getDelayedCalls()
            asking = Deferred.fromCoroutine(self.ask("", f"http://127.0.0.1:{busy.getsockname()[1]}", http))
            await deferLater(reactor, 0.02)
            self.assertEqual([call for call in reactor.getDelayedCalls() if call not in before], [])
            self.assertGreater(len(monotonic.getDelayedCalls()), 0)
            asking.cancel()
            with self.assertRaises(CancelledError):
                await asking
        await http.close()


def _soon(low: float, high: float) -> float:
    return 0.01


class TlsTests(HttpTestCase):
    """HTTPS: the handshake is part of connecting."""

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp()).absolute()
        self.path.write_bytes(certificate("localhost"))

    def trust(self) -> None:
        """As an operator does for a server with a certificate of its own."""
        environ = patch.dict(os.environ, SSL_CERT_FILE=str(self.path))
        environ.start()
        self.addCleanup(environ.stop)

    async def test_trusted(self) -> None:
        """With a certificate that is right there is an answer, and hanging up is seen at once."""
        self.trust()
        url = f"https://localhost:{self.listen(self.peer, ServerContext(str(self.path)))}"
        self.assertIn(b"hello", await read_body(await self.ask("hello", url), 10_000))
        answer = await self.ask("hang between", url)
        self.assertIn(b"Hel", await answer.read())
        await self.assertHangsUp(answer.close)

    async def test_wrongCertificate(self) -> None:
        """A certificate that nobody vouches for, or for another name: unreachable, and nothing is sent."""
        port = self.listen(self.peer, ServerContext(str(self.path)))
        await self.assertFault(
            Fault.UNREACHABLE, "certificate verify failed", self.ask("hello", f"https://localhost:{port}")
        )
        self.trust()
        await self.assertFault(Fault.UNREACHABLE, "TLS", self.ask("hello", f"https://127.0.0.1:{port}"))
        self.assertEqual(self.peer.asked, [])

    async def test_noTls(self) -> None:
        """A server that speaks no TLS, or does not go on with it, is unreachable; cancelled, it is left at once."""
        self.patch(connecting, "CONNECT_TIMEOUT", 0.1)
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


class Silent(Factory):
    """A server that says one thing, or nothing."""

    noisy = False

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.received: list[bytes] = []
        self.lost = 0

    def buildProtocol(self, addr: object) -> Protocol:
        server = self

        class Connection(Protocol):
            def dataReceived(self, data: bytes) -> None:
                server.received.append(data)
                if server.answer:
                    wire: Any = self.transport
                    wire.write(server.answer)

            def connectionLost(self, reason: object = None) -> None:
                server.lost += 1

        return Connection()


class PoolTests(HttpTestCase):
    """Connections that are kept, and those that are not."""

    async def test_isKept(self) -> None:
        """After a whole answer the connection serves the next question."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        for _ in range(3):
            self.assertIn(b"hello", await read_body(await self.ask("hello", url), 10_000))
        self.assertEqual(self.peer.connections, 1)

    async def test_isNotKeptAfterHangingUp(self) -> None:
        """A connection that was left in the middle is not used again."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        (await self.ask("hang between", url)).close()
        await read_body(await self.ask("hello", url), 10_000)
        self.assertEqual(self.peer.connections, 2)

    async def test_abortedInThePool(self) -> None:
        """A connection that was left in the moment in which it got into the pool is passed over."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        answer = await self.ask("hello", url)
        await read_body(answer, 10_000)
        answer._line.abort()
        self.assertIn(b"hello", await read_body(await self.ask("hello", url), 10_000))
        self.assertEqual(self.peer.connections, 2)

    async def test_ipv6(self) -> None:
        """Servers at an IPv6 address, written in brackets, are reached."""
        port = reactor.listenTCP(0, self.peer, interface="::1")
        self.addCleanup(port.stopListening)
        with await self.ask("hello", f"http://[::1]:{port.getHost().port}") as answer:
            self.assertEqual(answer.code, 200)

    async def test_closed(self) -> None:
        """When it is closed, no connection is left, kept or in use."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        for text in ("hello", "hang between"):
            answers = [await self.ask(text, url) for _ in range(2)]
        await self.http.close()
        await until(lambda: self.peer.open == 0, HANG_UP)
        await self.assertFault(Fault.BROKEN_ANSWER, "cut", read_body(answers[0], 10_000))

    async def test_closingAfterTheEnd(self) -> None:
        """Closing an answer that is over does not harm the next one on the same connection."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        first = await self.ask("hello", url)
        await read_body(first, 10_000)
        second = await self.ask("hello", url)
        first.close()
        self.assertIn(b"hello", await read_body(second, 10_000))
        self.assertEqual(self.peer.connections, 1)

    async def test_nothingIsSentTwice(self) -> None:
        """A server that closes a kept connection as the next request comes gets that request once."""
        server = Silent(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        url = f"http://127.0.0.1:{self.listen(server)}"
        for method in (self.http.post(url, b"1", {}), self.http.get(url, {})):
            self.assertEqual(await read_body(await self.http.within(5, method), 10), b"{}")
        closing = Closing()
        url = f"http://127.0.0.1:{self.listen(closing)}"
        for number, work in enumerate((lambda: self.http.post(url, b"1", {}), lambda: self.http.get(url, {})), 1):
            await read_body(await self.http.within(5, work()), 10)
            await self.assertFault(Fault.BROKEN_ANSWER, "ResponseNeverReceived", self.http.within(5, work()))
            self.assertEqual((closing.requests, closing.connections), (2 * number, number))

    def test_isKeptShorterThanByServers(self) -> None:
        """Connections are closed before servers do it, which is after five seconds."""
        self.assertLess(IDLE_TIMEOUT, 5)
        self.assertEqual(self.http._pool.cachedConnectionTimeout, IDLE_TIMEOUT)
        self.assertFalse(self.http._pool.retryAutomatically)


class Closing(Factory):
    """A server that answers the first request of a connection, and closes when the second is there."""

    noisy = False
    connections = 0
    requests = 0

    def buildProtocol(self, addr: object) -> Protocol:
        self.connections += 1
        server = self

        class Connection(Protocol):
            answered = False

            def dataReceived(self, data: bytes) -> None:
                wire: Any = self.transport
                if not data.endswith((b"\r\n\r\n1", b"\r\n\r\n")) or data.startswith(b"1"):
                    return
                server.requests += 1
                if self.answered:
                    wire.abortConnection()
                else:
                    wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                self.answered = True

        return Connection()


class ReadingTests(HttpTestCase):
    """Bodies: no faster than they are asked for, and no further than they may go."""

    async def test_backPressure(self) -> None:
        """Of what nobody asks for, nothing more is read, however much the server has."""
        with await self.ask("flood") as answer:
            self.assertTrue(await answer.read())
            await deferLater(reactor, 0.2)
            sent = self.peer.sent
            await deferLater(reactor, 0.1)
            self.assertEqual(self.peer.sent, sent, "the server could go on")
            self.assertLess(sum(map(len, answer._body._received)), 256 * 1024)
            for _ in range(1000):
                await answer.read()
            self.assertGreater(self.peer.sent, sent)
            await self.assertHangsUp(answer.close)

    async def test_hangsUp(self) -> None:
        """Closed or cancelled at any moment, the connection is closed at once."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        asking = Deferred.fromCoroutine(self.ask("hang", url))
        await until(lambda: self.peer.asked)
        await self.assertHangsUp(asking.cancel)
        with self.assertRaises(CancelledError):
            await asking
        self.peer.lost.clear()
        with await self.ask("hang after head", url) as answer:
            reading = Deferred.fromCoroutine(answer.read())
            reading.cancel()
            with self.assertRaises(CancelledError):
                await reading
            await self.assertHangsUp(answer.close)

    async def test_takesTurns(self) -> None:
        """While a little data becomes much, everybody else goes on."""
        counted: list[int] = []
        turns = LoopingCall(counted.append, 1)
        turns.start(0.0)
        with await self.ask("bomb") as answer:
            before = len(counted)
            for _ in range(100):
                await answer.read()
        turns.stop()
        self.assertGreater(len(counted) - before, 50)

    async def test_limit(self) -> None:
        """More than the limit is a broken answer, and the rest is not fetched; as much as the limit is none."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        await self.assertFault(Fault.BROKEN_ANSWER, "too large", read_body(await self.ask("flood", url), 100_000))
        await until(lambda: self.peer.lost, HANG_UP)
        size = len(await read_body(await self.ask("whole", url), 100_000))
        self.assertEqual(len(await read_body(await self.ask("whole", url), size)), size)
        await self.assertFault(Fault.BROKEN_ANSWER, "too large", read_body(await self.ask("whole", url), size - 1))

    async def test_cut(self) -> None:
        """A body that ends before its end is a broken answer."""
        for text in ("cut", "reset"):
            await self.assertFault(Fault.BROKEN_ANSWER, "cut", read_body(await self.ask(text), 10_000))

    async def test_endlessHead(self) -> None:
        """A head, or interim answers, without end are a broken answer."""
        for text in ("head", "interim"):
            await self.assertFault(Fault.BROKEN_ANSWER, "ConnectionAborted", self.ask(text))

    async def test_slowReader(self) -> None:
        """Time passes only while we wait for the network: whoever reads slowly loses nothing."""
        patience = self.http.patience(0.2)
        with await self.ask("slow") as answer:
            for _ in range(3):
                self.assertTrue(await patience.read(answer))
                patience.renew(0.2)
                await deferLater(reactor, 0.3)
        with await self.ask("hang between") as answer:
            await patience.read(answer)
            await self.assertFault(Fault.TIMED_OUT, "0.2 s", patience.read(answer))


class PatienceTests(SynchronousTestCase):
    """A time for several steps."""

    def test_together(self) -> None:
        """Steps share their time, pauses between them cost nothing, and a new time is whole."""
        clock = Clock()
        patience = Http(clock).patience(10.0)

        def wait() -> tuple["Deferred[int]", "Deferred[int]"]:
            step: Deferred[int] = Deferred()
            return step, Deferred.fromCoroutine(patience.wait(step))

        for _ in range(2):
            step, done = wait()
            clock.advance(4.0)
            step.callback(7)
            self.assertEqual(self.successResultOf(done), 7)
            clock.advance(100.0)
        step, done = wait()
        clock.advance(1.9)
        self.assertNoResult(done)
        clock.advance(0.2)
        self.assertEqual(self.failureResultOf(done, RobotError).value.fault, Fault.TIMED_OUT)
        step, done = wait()
        clock.advance(0.0)
        self.failureResultOf(done, RobotError)
        patience.renew(3.0)
        step, done = wait()
        clock.advance(2.9)
        step.callback(8)
        self.assertEqual(self.successResultOf(done), 8)
        self.assertEqual(clock.getDelayedCalls(), [])


class CodingTests(SynchronousTestCase):
    """Compression that nobody asked for."""

    def decode(self, *pieces: bytes, coding: bytes = b"gzip") -> bytes:
        found = coding_of([coding])
        decoded = b""
        for piece in pieces:
            found.feed(piece)
            while data := found.take():
                self.assertLessEqual(len(data), MAX_PIECE if coding == b"gzip" else len(piece))
                decoded += data
        found.finish()
        return decoded

    def test_gzip(self) -> None:
        """It is undone however it is cut, also if it is several, and large ones a piece at a time."""
        text = random.Random(1).randbytes(300_000) + bytes(1_000_000)
        data = gzip.compress(text[:99]) + gzip.compress(b"") + gzip.compress(text[99:])
        self.assertEqual(self.decode(data), text)
        self.assertEqual(self.decode(*(data[start : start + 1000] for start in range(0, len(data), 1000))), text)
        small = gzip.compress(b"hello") * 2
        self.assertEqual(self.decode(*(bytes([byte]) for byte in small)), b"hello" * 2)

    def test_flushed(self) -> None:
        """What the server flushed is there at once, before the end."""
        packer = zlib.compressobj(wbits=31)
        found = coding_of([b"x-gzip"])
        found.feed(packer.compress(b"data: a\n\n") + packer.flush(zlib.Z_SYNC_FLUSH))
        self.assertEqual(found.take(), b"data: a\n\n")
        self.assertEqual(found.take(), b"")

    def test_heldBack(self) -> None:
        """What the decompressor still holds when it has read all its input is not left for the next input."""
        for rest in range(1, 300):
            packer = zlib.compressobj(wbits=31)
            data = packer.compress(bytes(MAX_PIECE + rest)) + packer.flush(zlib.Z_SYNC_FLUSH)
            for missing in (4, 5):  # bytes of the flush's mark, which tells nothing
                expected = len(zlib.decompressobj(31).decompress(data[:-missing]))
                found = coding_of([b"gzip"])
                found.feed(data[:-missing])
                self.assertEqual(sum(len(found.take()) for _ in range(3)), expected)

    def test_bomb(self) -> None:
        """A gigabyte in a megabyte is inflated as far as it is asked for."""
        packer = zlib.compressobj(wbits=31)
        bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100))
        found = coding_of([b"gzip"])
        found.feed(bomb)
        self.assertEqual(len(found.take()), MAX_PIECE)

    def test_others(self) -> None:
        """None at all is fine; others are broken answers, and so is gzip that is none, or is cut."""
        self.assertEqual(self.decode(b"as it is", coding=b"identity"), b"as it is")
        for coding in (b"deflate", b"br", b"gzip, gzip", b"zstd"):
            error = self.assertRaises(RobotError, self.decode, b"", coding=coding)
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)
        for data in (b"no gzip", gzip.compress(b"hello")[:-1], gzip.compress(b"hello") + b"x"):
            error = self.assertRaises(RobotError, self.decode, data)
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)


class LineTests(SynchronousTestCase):
    """A connection as the pool's users have it."""

    def test_nothingAfterTooMuch(self) -> None:
        """After a head that is too large nothing more is passed on."""
        received: list[bytes] = []

        class User(Protocol):
            def dataReceived(self, data: bytes) -> None:
                received.append(data)

        line = TrackedConnection(User(), set())
        transport = StringTransport()
        line.makeConnection(transport)
        line.expect_head()
        line.dataReceived(b"x" * connecting.MAX_HEAD)
        line.dataReceived(b"x")
        line.dataReceived(b"x")
        self.assertEqual(len(received), 1)
        self.assertTrue(transport.disconnecting or transport.disconnected)

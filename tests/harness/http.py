"""For tests of HTTP: a client and a server on a real port, and connections under the test's control."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IHostnameResolver, IOpenSSLContextFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from securechat.errors import Fault, RobotError
from securechat.robots.http.client import HttpClient
from securechat.robots.http.response import Response
from securechat.robots.http.time_budget import within
from tests.harness.openai_peer import OpenAIPeer

reactor: Any = installed

HANG_UP = 2.0  # seconds within which the server loses an aborted connection; less than any timeout here


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until a condition is true; AssertionError after so many seconds."""
    end = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError("timed out")
        await deferLater(reactor, 0.002)


async def turns_until(condition: Callable[[], object]) -> int:
    """Wait until a condition is true; the hundredths of a second in which the reactor has run meanwhile.

    Unlike a time, this does not count how long other programs kept the processor.
    """
    turns: list[None] = []
    counting = LoopingCall(turns.append, None)  # which leaves out the calls that it has missed
    counting.start(0.01, now=False)
    try:
        await until(condition)
    finally:
        counting.stop()
    return len(turns)


class FakeTransport(StringTransport):
    """As StringTransport, but can be resumed after it was closed, as real transports can."""

    def resumeProducing(self) -> None:
        if not self.disconnecting:
            super().resumeProducing()


@implementer(IStreamClientEndpoint)
class FakeEndpoint:
    """Each attempt fails with an exception, connects at once (None), or connects when a Deferred fires."""

    make_transport: Callable[[], FakeTransport] = FakeTransport

    def __init__(self, *results: "Exception | Deferred[Any] | None") -> None:
        self.results = list(results)
        self.attempts = 0

    def connect(self, protocolFactory: Any) -> "Deferred[Any]":
        self.attempts += 1
        self.transport = self.make_transport()
        result = self.results.pop(0)
        if isinstance(result, Exception):
            return fail(result)
        connection = protocolFactory.buildProtocol(None)
        if isinstance(result, Deferred):
            return result.addCallback(lambda _nothing: self._connected(connection))
        return succeed(self._connected(connection))

    def _connected(self, connection: Any) -> Any:
        self.connection = connection
        connection.makeConnection(self.transport)
        return connection


@implementer(IHostnameResolver)
class DeadResolver:
    """Never answers, as if there were no network."""

    def resolveHostName(self, resolutionReceiver: Any, *args: Any, **more: Any) -> Any:
        return resolutionReceiver


def certificate(name: str) -> bytes:
    """A key and a self-signed certificate, in PEM."""
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
    """The context of a TLS server. Twisted's own uses deprecated functions of pyOpenSSL."""

    def __init__(self, path: str) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_privatekey_file(path)
        self._context.use_certificate_file(path)

    def getContext(self) -> SSL.Context:
        return self._context


class Silent(Factory):
    """A server that answers anything with the same bytes, or not at all."""

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


class HttpTestCase(TestCase):
    """A client, and a server on a real port."""

    def setUp(self) -> None:
        self.peer = OpenAIPeer(reactor)
        self.http = HttpClient(reactor)
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

    async def ask(self, text: str, url: str | None = None, http: HttpClient | None = None) -> Response:
        """Send a message; the response."""
        if url is None:
            url = f"http://127.0.0.1:{self.listen(self.peer)}"
        body = b'{"stream": true, "messages": [{"content": "%b"}]}' % text.encode()
        http = http or self.http
        return await within(reactor, 20.0, http.post(url + "/v1/chat/completions", body, {}))

    async def ask_all(self, text: str, url: str | None = None, limit: int = 10_000) -> bytes:
        """Send a message; the body of the response."""
        answer = await self.ask(text, url)
        return await answer.read_all(limit)

    async def assertFault(self, fault: Fault, words: str, work: Awaitable[object]) -> None:
        with self.assertRaises(RobotError) as caught:
            await work
        self.assertEqual(caught.exception.fault, fault)
        self.assertIn(words, str(caught.exception))

    async def assertHangsUp(self, hang_up: Callable[[], object]) -> None:
        """After `hang_up` the server loses the connection at once."""
        before = reactor.seconds()
        hang_up()
        await until(lambda: self.peer.lost)
        self.assertLess(self.peer.lost[0] - before, HANG_UP)

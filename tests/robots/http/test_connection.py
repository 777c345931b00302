"""A connection between its transport and twisted.web's protocol."""

from typing import Any

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from securechat.robots.http.connection import MAX_HEAD, ConnectionFactory
from securechat.robots.http.endpoint import RetryingEndpoint
from tests.harness.http import FakeEndpoint


@implementer(IAgentEndpointFactory)
class Endpoints:
    """Always returns the same endpoint."""

    def __init__(self, endpoint: FakeEndpoint) -> None:
        self._endpoint = RetryingEndpoint(Clock(), endpoint, max, {})

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        return self._endpoint


class ConnectionTests(SynchronousTestCase):
    """A connection between its transport and twisted.web's protocol."""

    def setUp(self) -> None:
        self.checkpoints = 0

    def note_checkpoint(self) -> None:
        self.checkpoints += 1

    def connect(self, factory: Any) -> "tuple[Any, StringTransport]":
        connection = ConnectionFactory(factory, {}, self.note_checkpoint).buildProtocol(None)
        transport = StringTransport()
        connection.makeConnection(transport)
        return connection, transport

    def test_checkpoints(self) -> None:
        """After each event of the socket comes a checkpoint, when all that it led to is done."""
        test, seen = self, list[int]()

        class Witness(Protocol):
            def connectionMade(self) -> None:
                seen.append(test.checkpoints)

            def dataReceived(self, data: bytes) -> None:
                seen.append(test.checkpoints)

        connection, _transport = self.connect(Factory.forProtocol(Witness))
        self.assertEqual(self.checkpoints, 1)
        for number in (2, 3):
            connection.dataReceived(b"data")
            self.assertEqual(self.checkpoints, number)
        self.assertEqual(seen, [0, 1, 2])

    def test_headTooLarge(self) -> None:
        """After a head that is too large, nothing is passed on. Bodies and other heads do not count."""
        received: list[bytes] = []

        class Recorder(Protocol):
            def dataReceived(self, data: bytes) -> None:
                received.append(data)

        for send in (lambda wire: wire.write(b"request"), lambda wire: wire.writeSequence([b"request"])):
            connection, transport = self.connect(Factory.forProtocol(Recorder))
            for _ in range(2):
                send(connection)
                connection.dataReceived(b"x" * MAX_HEAD)
                connection.resumeProducing()
                connection.dataReceived(b"body")
            self.assertEqual(len(received), 4)
            send(connection)
            connection.dataReceived(b"x" * MAX_HEAD)
            received.clear()
            for _ in range(2):
                connection.dataReceived(b"x")
            self.assertEqual((received, transport.disconnecting), ([], True))

    def test_stoppedJustBeforeTheEnd(self) -> None:
        """A connection is not used again if a body is stopped while its end is already in the buffer."""
        endpoint = FakeEndpoint(None, None)
        agent = Agent.usingEndpointFactory(Clock(), Endpoints(endpoint), HTTPConnectionPool(Clock()))

        class Impatient(Protocol):
            def dataReceived(self, data: bytes) -> None:
                body: Any = self.transport
                body.stopProducing()

        for attempt in (1, 2):
            response = agent.request(b"GET", b"http://server/")
            response.addCallback(lambda response: response.deliverBody(Impatient()))
            self.assertEqual(endpoint.attempts, attempt)
            endpoint.connection.dataReceived(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
            )
            self.successResultOf(response)
            self.assertTrue(endpoint.transport.disconnected)

    def test_stoppedWithoutALength(self) -> None:
        """Stopping a body that ends with its connection logs no error, however often it is stopped."""
        endpoint = FakeEndpoint(None)
        agent = Agent.usingEndpointFactory(Clock(), Endpoints(endpoint), HTTPConnectionPool(Clock()))
        body: Any = Protocol()
        response = agent.request(b"GET", b"http://server/")
        response.addCallback(lambda response: response.deliverBody(body))
        endpoint.connection.dataReceived(b"HTTP/1.0 200 OK\r\n\r\ntext")
        self.successResultOf(response)
        body.transport.stopProducing()
        body.transport.stopProducing()
        self.assertTrue(endpoint.transport.disconnected)
        endpoint.connection.connectionLost(Failure(ConnectionAborted()))
        body.transport.stopProducing()

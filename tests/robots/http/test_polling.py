"""Responses that are read only when they are polled, over a transport that notes what is done to it."""

import gzip
from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from securechat.conversation import Upstream
from securechat.errors import Fault, RobotError
from securechat.robots.http.content_coding import MAX_PIECE
from securechat.robots.http.endpoint import RetryingEndpoint
from securechat.robots.http.pool import ConnectionPool
from securechat.robots.http.response import CONTENT_CODING, Response
from tests.harness.http import FakeEndpoint, FakeTransport

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


class NotedTransport(FakeTransport):
    """A transport whose socket has what `arrived`; it can be closed by the peer."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.arrived: list[bytes] = []
        self.is_closed = False
        self.connection: Any = None

    def pauseProducing(self) -> None:
        self.done.append("pause")
        self.producerState = "paused"

    def resumeProducing(self) -> None:
        self.done.append("resume")
        self.producerState = "producing"

    def doRead(self) -> ConnectionDone | None:
        self.done.append("read")
        if self.arrived:
            self.connection.dataReceived(self.arrived.pop(0))
        elif self.is_closed:
            return CONNECTION_DONE
        return None

    def fileno(self) -> int:
        raise AssertionError("asked for")


@implementer(IAgentEndpointFactory)
class Endpoints:
    """Always returns the same endpoint."""

    def __init__(self, endpoint: FakeEndpoint) -> None:
        self._endpoint = RetryingEndpoint(Clock(), endpoint, max, {})

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        return self._endpoint


class PollingTests(SynchronousTestCase):
    """One response."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.upstream = Upstream()

    def respond(self, *arrived: bytes, coding: bytes = b"") -> Response:
        """A response whose head has arrived with the first of these bytes; the others wait in the socket."""
        endpoint = FakeEndpoint(None)
        endpoint.make_transport = NotedTransport
        agent = Agent.usingEndpointFactory(self.clock, Endpoints(endpoint), ConnectionPool(self.clock, persistent=True))
        asking = agent.request(b"GET", b"http://server/")
        transport = endpoint.transport
        assert isinstance(transport, NotedTransport)
        transport.connection = endpoint.connection
        first, *transport.arrived = arrived
        endpoint.connection.dataReceived(HEAD + first)
        found = self.successResultOf(asking)
        found.headers.setRawHeaders(CONTENT_CODING, [coding])
        response = Response(self.clock, found)
        response.poll_only(self.upstream)
        transport.done.clear()
        self.transport = transport
        return response

    def start(self, work: Awaitable[bytes]) -> "Deferred[bytes]":
        async def wait() -> bytes:
            return await work

        return Deferred.fromCoroutine(wait())

    def poll(self) -> None:
        assert self.upstream.poll is not None
        self.upstream.poll()

    def assertDone(self, *done: str) -> None:
        self.assertEqual(self.transport.done, list(done))
        self.transport.done.clear()

    def test_onlyAtPolls(self) -> None:
        """A poll reads the socket once if there is a reader; nothing else does, nor is the transport resumed."""
        response = self.respond(b"", chunk(b"a") + chunk(b"b"), chunk(b"c"))
        self.poll()
        self.assertDone()
        reading = self.start(response.read(9))
        self.clock.advance(5)
        self.assertNoResult(reading)
        self.assertDone()
        self.poll()
        self.assertEqual(self.successResultOf(reading), b"ab")
        self.poll()
        self.assertDone("read")
        reading = self.start(response.read(9))
        self.poll()
        self.assertEqual(self.successResultOf(reading), b"c")
        self.assertDone("read")

    def test_withTheHead(self) -> None:
        """What arrived with the head is read without a poll."""
        response = self.respond(chunk(b"a"))
        self.assertEqual(self.successResultOf(self.start(response.read(9))), b"a")
        self.assertDone()

    def test_incomplete(self) -> None:
        """Chunks that arrive in parts are joined."""
        response = self.respond(b"", b"5\r\nab", b"cde", b"\r", b"\n2", b"\r\nfg\r\n")
        content = b""
        for _ in range(4):
            reading = self.start(response.read(9))
            while not reading.called:
                self.poll()
            content += self.successResultOf(reading)
            if content == b"abcdefg":
                break
        self.assertEqual(content, b"abcdefg")

    def test_end(self) -> None:
        """The content before the end of the body is read first; then the connection is the pool's, and not polled."""
        response = self.respond(b"", chunk(b"a") + END)
        with response:
            reading = self.start(response.read(9))
            self.poll()
            self.assertEqual(self.successResultOf(reading), b"a")
            self.assertDone("read", "resume")
            self.assertEqual(self.successResultOf(self.start(response.read(9))), b"")
            self.poll()
        self.assertDone()
        self.assertIsNone(self.upstream.poll)
        self.assertFalse(self.transport.disconnecting)

    def test_closedByTheServer(self) -> None:
        """If the server has closed the connection, the reactor reads it, and learns that."""
        response = self.respond(b"")
        reading = self.start(response.read(9))
        self.transport.is_closed = True
        self.poll()
        self.assertDone("read", "resume")
        self.transport.connection.connectionLost(Failure(CONNECTION_DONE))
        self.assertEqual(self.failureResultOf(reading, RobotError).value.fault, Fault.BROKEN_ANSWER)

    def test_closed(self) -> None:
        """A response that is closed, in a read or between two, is not polled, and its connection is aborted."""
        for is_reading in (True, False):
            response = self.respond(b"")
            with response:
                if is_reading:
                    reading = self.start(response.read(9))
                    reading.cancel()
                    self.failureResultOf(reading, CancelledError)
            self.assertIsNone(self.upstream.poll)
            self.assertTrue(self.transport.disconnecting)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_timeout(self) -> None:
        """Nothing may arrive for the timeout; what is in the socket at its end has arrived."""
        response = self.respond(b"", chunk(b"a"))
        reading = self.start(response.read(2))
        self.clock.advance(2)
        self.assertEqual(self.successResultOf(reading), b"a")
        self.assertDone("read")
        reading = self.start(response.read(2))
        self.clock.advance(1.9)
        self.assertNoResult(reading)
        self.clock.advance(0.1)
        self.assertEqual(self.failureResultOf(reading, RobotError).value.fault, Fault.TIMED_OUT)

    def test_timeoutWithoutProgress(self) -> None:
        """Once the time has run out, no further data is waited for."""
        response = self.respond(b"", *[chunk(b":")] * 9)
        reading = self.start(response.read(0))
        self.clock.advance(0)
        self.assertEqual(self.failureResultOf(reading, RobotError).value.fault, Fault.TIMED_OUT)

    def test_compressed(self) -> None:
        """A poll decompresses no more than a piece, however many bytes it stands for."""
        bomb = gzip.compress(bytes(3 * MAX_PIECE))
        response = self.respond(b"", chunk(bomb) + END, coding=b"gzip")
        sizes = []
        while True:
            reading = self.start(response.read(9))
            polls = 0
            while not reading.called:
                self.poll()
                polls += 1
            data = self.successResultOf(reading)
            if not data:
                break
            sizes.append((len(data), polls))
        self.assertEqual(sum(size for size, _polls in sizes), 3 * MAX_PIECE)
        self.assertLessEqual(max(size for size, _polls in sizes), MAX_PIECE)
        self.assertEqual([polls for _size, polls in sizes], [1, 1, 1])

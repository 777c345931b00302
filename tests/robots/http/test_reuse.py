"""Connections that the server closes while they are kept: no request is lost, and none is sent twice without need."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from securechat.errors import Fault
from securechat.robots.http.pool import IDLE_TIMEOUT, ConnectionPool
from securechat.robots.http.time_budget import within
from tests.harness.http import HttpTestCase, ServerContext, certificate, until

reactor: Any = installed

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSE = None
HANG = b""


class Script(Factory):
    """A server that answers each request with the next bytes of a list, or closes the connection instead (CLOSE)."""

    noisy = False

    def __init__(self, *answers: bytes | None, closes: bool = False) -> None:
        self.answers = list(answers)
        self.closes = closes  # after each answer, and without saying so
        self.requests: list[int] = []  # the number of the connection of each
        self.wires: list[Any] = []
        self.open = 0

    def buildProtocol(self, addr: object) -> Protocol:
        return _Connection(self)


class _Connection(Protocol):
    def __init__(self, server: Script) -> None:
        self._server = server
        self._received = b""

    def connectionMade(self) -> None:
        self._server.wires.append(self.transport)
        self._server.open += 1

    def connectionLost(self, reason: object = None) -> None:
        self._server.open -= 1

    def dataReceived(self, data: bytes) -> None:
        wire: Any = self.transport
        self._received += data
        end = b"\r\n\r\nquestion" if self._received.startswith(b"POST") else b"\r\n\r\n"
        if not self._received.endswith(end):
            return
        self._received = b""
        self._server.requests.append(1 + self._server.wires.index(wire))
        answer = self._server.answers.pop(0) if self._server.answers else ANSWER
        if answer is not CLOSE:
            wire.write(answer)
        if self._server.closes or answer is CLOSE:
            wire.loseConnection()


class ReuseTests(HttpTestCase):
    """Connections that the server closes while they are kept."""

    def serve(self, *answers: bytes | None, closes: bool = False) -> Script:
        server = Script(*answers, closes=closes)
        self.url = f"http://127.0.0.1:{self.listen(server)}"
        return server

    async def post(self) -> bytes:
        answer = await within(reactor, 5, self.http.post(self.url, b"question", {}))
        return await answer.read_all(10)

    async def get(self) -> bytes:
        answer = await within(reactor, 5, self.http.get(self.url, {}))
        return await answer.read_all(10)

    async def test_closesAfterEachAnswer(self) -> None:
        """If the server closes after each response without saying so, every request is answered."""
        server = self.serve(closes=True)
        for _ in range(20):
            self.assertEqual(await self.post(), b"{}")
        self.assertEqual(len(server.requests), 20)

    async def test_closeThatHasArrived(self) -> None:
        """A connection whose close has arrived, but has not been processed yet, is not used again."""
        heads: list[bytes] = []
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"

            def serve() -> None:
                for _ in range(2):
                    wire, _address = listening.accept()
                    with wire:
                        heads.append(wire.recv(65536))
                        wire.sendall(ANSWER)

            server = Thread(target=serve, daemon=True)
            server.start()
            self.assertEqual(await self.get(), b"{}")
            time.sleep(0.05)  # the close arrives, while the reactor is blocked
            self.assertEqual(await self.get(), b"{}")
            server.join(5.0)
        self.assertEqual(len(heads), 2)
        self.assertNotIn(b"Connection: close", heads[1])  # as in a second attempt

    async def test_closedBeforeTheFirstByte(self) -> None:
        """If a kept connection is closed before the first byte of a response, the request is sent once more."""
        for method in (self.post, self.get):
            server = self.serve(ANSWER, CLOSE, ANSWER)
            for _ in range(2):
                self.assertEqual(await method(), b"{}")
            self.assertEqual(server.requests, [1, 1, 2])

    async def test_closedAgain(self) -> None:
        """A request is sent at most twice, and on a new connection at most once."""
        for method in (self.post, self.get):
            server = self.serve(CLOSE)
            await self.assertFault(Fault.BROKEN_ANSWER, "ResponseNeverReceived", method())
            self.assertEqual(server.requests, [1])
            server = self.serve(ANSWER, CLOSE, CLOSE)
            await method()
            await self.assertFault(Fault.BROKEN_ANSWER, "ResponseNeverReceived", method())
            self.assertEqual(server.requests, [1, 1, 2])

    async def test_otherConnectionsAreNotTried(self) -> None:
        """The second attempt does not use another kept connection, which may be closed as well."""
        server = self.serve(HANG, HANG, CLOSE, ANSWER)
        first, second = (Deferred.fromCoroutine(self.post()) for _ in range(2))
        await until(lambda: len(server.requests) == 2)
        for wire in server.wires:
            wire.write(ANSWER)
        self.assertEqual([await first, await second], [b"{}"] * 2)
        self.assertEqual(await self.post(), b"{}")
        self.assertEqual(server.requests[3], 3)

    async def test_closedAfterTheFirstByte(self) -> None:
        """After a single byte of a response, the request is not sent again."""
        for method in (self.post, self.get):
            for part in (b"H", b"HTTP/1.1 100 Continue\r\n\r\n", ANSWER[:-3]):
                server = self.serve(ANSWER, part)
                await method()
                server.closes = True
                await self.assertFault(Fault.BROKEN_ANSWER, "ResponseFailed", method())
                self.assertEqual(server.requests, [1, 1])

    async def test_cancelled(self) -> None:
        """A request that is cancelled, or whose client is closed, is not sent again."""
        hang_up: tuple[Callable[[Deferred[bytes]], object], ...] = (
            lambda asking: asking.cancel(),
            lambda _asking: self.http.close(),
        )
        for stop, error in zip(hang_up, (CancelledError, Exception), strict=True):
            server = self.serve(ANSWER, HANG)
            await self.post()
            asking = Deferred.fromCoroutine(self.post())
            await until(lambda server=server: len(server.requests) == 2)  # type: ignore[misc]
            stop(asking)
            with self.assertRaises(error):
                await asking
            await until(lambda server=server: server.open == 0)  # type: ignore[misc]
            await deferLater(reactor, 0.05)
            self.assertEqual(server.requests, [1, 1])

    async def test_tls(self) -> None:
        """The same holds with TLS."""
        path = Path(self.mktemp()).absolute()
        path.write_bytes(certificate("localhost"))
        environ = patch.dict("os.environ", SSL_CERT_FILE=str(path))
        environ.start()
        self.addCleanup(environ.stop)
        for server, requests in ((Script(closes=True), [1, 2, 3, 4]), (Script(ANSWER, CLOSE), [1, 1, 2, 2])):
            self.url = f"https://localhost:{self.listen(server, ServerContext(str(path)))}"
            while len(server.requests) < 4:
                self.assertEqual(await self.post(), b"{}")
            self.assertEqual(len(server.requests), len(requests))

    def test_idleTimeout(self) -> None:
        """Idle connections are closed before servers close them, which is after five seconds."""
        self.assertLess(IDLE_TIMEOUT, 5)
        pool = ConnectionPool(reactor, persistent=True)
        self.assertEqual((pool.cachedConnectionTimeout, pool.retryAutomatically), (IDLE_TIMEOUT, False))

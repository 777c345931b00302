"""The HTTP client's connections: kept, closed and never used for a request twice."""

from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogPublisher

from securechat.errors import Fault
from securechat.robots.http.client import IDLE_TIMEOUT
from securechat.robots.http.time_budget import within
from tests.harness.http import HANG_UP, HttpTestCase, Silent, until

reactor: Any = installed


class PoolTests(HttpTestCase):
    """Connections that are kept, and those that are not."""

    async def test_isKept(self) -> None:
        """After a whole answer the connection serves the next question."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        for _ in range(3):
            self.assertIn(b"hello", await self.ask_all("hello", url))
        self.assertEqual(self.peer.connections, 1)

    async def test_isNotKeptAfterHangingUp(self) -> None:
        """A connection that was left in the middle is not used again."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        (await self.ask("hang between", url)).close()
        await self.ask_all("hello", url)
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
        await self.assertFault(Fault.BROKEN_ANSWER, "cut", answers[0].read_all(10_000))

    async def test_closingAfterTheEnd(self) -> None:
        """Closing an answer that is over does not harm the next one on the same connection."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        first = await self.ask("hello", url)
        await first.read_all(10_000)
        second = await self.ask("hello", url)
        first.close()
        self.assertIn(b"hello", await second.read_all(10_000))
        self.assertEqual(self.peer.connections, 1)

    async def test_nothingIsSentTwice(self) -> None:
        """A server that closes a kept connection as the next request comes gets that request once."""
        server = Silent(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        url = f"http://127.0.0.1:{self.listen(server)}"
        for method in (self.http.post(url, b"1", {}), self.http.get(url, {})):
            answer = await within(reactor, 5, method)
            self.assertEqual(await answer.read_all(10), b"{}")
        closing = Closing()
        url = f"http://127.0.0.1:{self.listen(closing)}"
        for number, work in enumerate((lambda: self.http.post(url, b"1", {}), lambda: self.http.get(url, {})), 1):
            answer = await within(reactor, 5, work())
            await answer.read_all(10)
            await self.assertFault(Fault.BROKEN_ANSWER, "ResponseNeverReceived", within(reactor, 5, work()))
            self.assertEqual((closing.requests, closing.connections), (2 * number, number))

    async def test_isNotLogged(self) -> None:
        """Connections and requests leave no log records."""
        logged: list[object] = []
        observer: Any = logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        logged.clear()
        await self.ask_all("hello", url)
        self.assertEqual(logged, [])

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

"""The HTTP client and its connections."""

import gc
import sys
from typing import Any

from twisted.internet import reactor as installed
from twisted.logger import globalLogPublisher

from securechat.errors import Fault, RobotError
from securechat.robots.errors import UnansweredError
from tests.harness.http import HANG_UP, HttpTestCase, until
from tests.harness.openai_peer import SCRIPTS

reactor: Any = installed


class PoolTests(HttpTestCase):
    """Which connections are used again."""

    async def test_isKept(self) -> None:
        """After a complete response, its connection is used for the next request."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        for _ in range(3):
            self.assertIn(b"hello", await self.ask_all("hello", url))
        self.assertEqual(self.peer.connections, 1)

    async def test_isNotKeptAfterAbort(self) -> None:
        """After a response that was closed before its end, its connection is not used again."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        (await self.ask("hang between", url)).close()
        await self.ask_all("hello", url)
        self.assertEqual(self.peer.connections, 2)

    async def test_unanswered(self) -> None:
        """A request that the server may not have seen is told from one that it has begun to answer."""
        for text, is_unanswered in (("reset at once", True), ("half a head", False), ("garbage", False)):
            with self.assertRaises(RobotError) as caught:
                await self.ask(text)
            self.assertEqual(isinstance(caught.exception, UnansweredError), is_unanswered, text)

    async def test_ipv6(self) -> None:
        """URLs may contain IPv6 addresses."""
        port = reactor.listenTCP(0, self.peer, interface="::1")
        self.addCleanup(port.stopListening)
        with await self.ask("hello", f"http://[::1]:{port.getHost().port}") as answer:
            self.assertEqual(answer.code, 200)

    async def test_closed(self) -> None:
        """Closing the client closes all connections, idle and in use."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        for text in ("hello", "hang between"):
            answers = [await self.ask(text, url) for _ in range(2)]
        await self.http.close()
        await until(lambda: self.peer.open == 0, HANG_UP)
        await self.assertFault(Fault.BROKEN_ANSWER, "truncated", answers[0].read_all(10_000))

    async def test_closingAfterTheEnd(self) -> None:
        """Closing a complete response does not affect the next one on the same connection."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        first = await self.ask("hello", url)
        await first.read_all(10_000)
        second = await self.ask("hello", url)
        first.close()
        self.assertIn(b"hello", await second.read_all(10_000))
        self.assertEqual(self.peer.connections, 1)

    async def test_bodyIsNotKept(self) -> None:
        """The body of a request takes no memory after the response, although garbage is collected much later."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        body = b'{"messages": [{"content": "hello"}], "stream": true}'
        gc.disable()
        self.addCleanup(gc.enable)
        before = sys.getrefcount(body)
        response = await self.http.post(f"{url}/v1/chat/completions", body, {"Content-Type": "application/json"})
        self.assertIn(b"hello", await response.read_all(10_000))
        del response
        self.assertEqual(sys.getrefcount(body), before)

    async def test_cookies(self) -> None:
        """Cookies are not sent back, because the next request may be for another user."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        for _ in range(2):
            await self.ask_all("cookie", url)
        self.assertNotIn("cookie", self.peer.headers[-1])

    async def test_compression(self) -> None:
        """Requests do not ask for compression, which could make a few bytes into more than fits into memory."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        await self.ask_all("hello", url)
        self.assertNotIn("accept-encoding", self.peer.headers[-1])

    async def test_redirects(self) -> None:
        """Redirects are not followed, because the request may contain a key."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        self.peer.models_script = SCRIPTS["redirect"]
        with await self.http.get(url + "/v1/models", {}) as answer:
            self.assertEqual(answer.code, 307)
        with await self.ask("redirect", url) as answer:
            self.assertEqual(answer.code, 307)

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

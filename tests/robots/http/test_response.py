"""Reading responses over real sockets."""

import tracemalloc
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater

from securechat.errors import Fault
from securechat.robots.http.time_budget import TimeBudget
from tests.harness.http import HANG_UP, HttpTestCase, Silent, until

reactor: Any = installed


class ReadingTests(HttpTestCase):
    """Back-pressure, limits and aborts."""

    async def test_backPressure(self) -> None:
        """While a body is not read, the server cannot send more."""
        with await self.ask("flood") as answer:
            self.assertTrue(await answer.read())
            sent = await self.peer.stopped_sending()
            self.assertLess(sent, 25_000_000)
            self.assertLess(sum(map(len, answer._body._received)), 256 * 1024)
            for _ in range(1000):
                await answer.read()
            self.assertGreater(self.peer.sent, sent)
            await self.assertHangsUp(answer.close)

    async def test_aborts(self) -> None:
        """A request that is cancelled, or a response that is closed, aborts its connection at once."""
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

    async def test_abortsWhileSending(self) -> None:
        """A request that is cancelled before all of it has been sent aborts its connection at once."""
        server, size = Silent(), 50_000_000
        asking = Deferred.fromCoroutine(self.ask("x" * size, f"http://127.0.0.1:{self.listen(server)}"))
        while not server.received:
            await deferLater(reactor, 0)
        asking.cancel()
        with self.assertRaises(CancelledError):
            await asking
        await until(lambda: server.lost, HANG_UP)
        self.assertLess(sum(map(len, server.received)), size)

    async def test_isNotBuffered(self) -> None:
        """What has been read of a body is not kept in memory."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        with await self.ask("flood") as answer:
            received = len(await answer.read())
            before, _peak = tracemalloc.get_traced_memory()
            while received < 8_000_000:
                received += len(await answer.read())
            after, _peak = tracemalloc.get_traced_memory()
        self.assertLess(after - before, 2_000_000)

    async def test_doesNotBlock(self) -> None:
        """A few bytes that decompress to many do not block the reactor."""
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
        """A body that exceeds the limit is an error, and the rest is not read."""
        url = f"http://127.0.0.1:{self.listen(self.peer)}"
        await self.assertFault(Fault.BROKEN_ANSWER, "too large", self.ask_all("flood", url, limit=100_000))
        await until(lambda: self.peer.lost, HANG_UP)
        size = len(await self.ask_all("whole", url, limit=100_000))
        self.assertEqual(len(await self.ask_all("whole", url, limit=size)), size)
        await self.assertFault(Fault.BROKEN_ANSWER, "too large", self.ask_all("whole", url, limit=size - 1))

    async def test_truncated(self) -> None:
        """A truncated body is an error."""
        for text in ("cut", "reset"):
            await self.assertFault(Fault.BROKEN_ANSWER, "truncated", self.ask_all(text))

    async def test_endlessHead(self) -> None:
        """An endless head, or endless interim responses, are an error."""
        for text in ("head", "interim"):
            await self.assertFault(Fault.BROKEN_ANSWER, "ConnectionAborted", self.ask(text))

    async def test_slowReader(self) -> None:
        """A timeout for reads does not include the time between them."""
        budget = TimeBudget(reactor, 0.5)
        with await self.ask("slow") as answer:
            for _ in range(3):
                self.assertTrue(await budget.read(answer))
                budget.reset(0.5)
                await deferLater(reactor, 0.6)
        with await self.ask("hang between") as answer:
            await budget.read(answer)
            await self.assertFault(Fault.TIMED_OUT, "0.5 s", budget.read(answer))

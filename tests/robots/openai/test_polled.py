"""The robot for OpenAI-compatible servers, for sessions that send at ticks: everything that holds without them."""

import os
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater

from securechat.conversation import Upstream
from securechat.robots.circuit_breaker import CircuitBreaker
from securechat.robots.fair_queue import FairQueue
from securechat.robots.fallback import FallbackRobot
from securechat.robots.guard import GuardedRobot
from securechat.robots.interface import IRobot
from securechat.robots.openai.robot import OpenAIRobot
from securechat.robots.openai.settings import base_url
from tests.harness.http import ServerContext, certificate, until
from tests.harness.openai_peer import OpenAIPeer
from tests.robots.openai import test_robot

reactor: Any = installed

INTERVAL = 0.001  # seconds between polls


class PolledTestCase(test_robot.OpenAITestCase):
    """The server of each conversation is read at intervals, as at ticks."""

    def setUp(self) -> None:
        super().setUp()
        self.upstreams: list[Upstream] = []
        self.polling = LoopingCall(self.poll)
        self.polling.start(INTERVAL)
        self.addCleanup(self.stop_polling)

    def stop_polling(self) -> None:
        if self.polling.running:
            self.polling.stop()
        for upstream in self.upstreams:
            self.assertIsNone(upstream.poll)

    def upstream(self) -> Upstream:
        upstream = Upstream()
        self.upstreams.append(upstream)
        return upstream

    def poll(self) -> None:
        for upstream in self.upstreams:
            if upstream.poll is not None:
                upstream.poll()


class ServerTests(PolledTestCase, test_robot.ServerTests):
    pass


class EndTests(PolledTestCase, test_robot.EndTests):
    pass


class TimeTests(PolledTestCase, test_robot.TimeTests):
    async def test_silenceOfTheReader(self) -> None:
        """Data that waits in the socket, because it is not read, is no silence of the server."""
        robot = self.make(timeout=0.3, first_timeout=0.3)
        self.polling.stop()
        reply = Deferred.fromCoroutine(self.say("slow", robot))
        await deferLater(reactor, 0.7)
        self.polling.start(INTERVAL)
        self.assertEqual(await reply, "Hello")


class CancelTests(PolledTestCase, test_robot.CancelTests):
    async def test_slotIsHeldUntilClosed(self) -> None:
        """Not tested again: it finds the connection among those that the reactor reads."""


class OnlyAtPollsTests(PolledTestCase):
    """Nothing else reads the server's socket while a reply streams."""

    def setUp(self) -> None:
        super().setUp()
        self.polling.stop()

    async def test_betweenPolls(self) -> None:
        """The text of a reply is read at a poll after it was sent, and so is its end."""
        heard: list[str] = []

        async def listen() -> None:
            async for part in self.robot.reply(self.conversation("slow")):
                heard.append(part)

        listening = Deferred.fromCoroutine(listen())
        await until(lambda: self.upstreams[-1].poll)
        await deferLater(reactor, 1.0)
        self.assertLessEqual(len("".join(heard)), 1)  # what arrived with the head
        self.poll()
        self.assertEqual("".join(heard), "Hello")
        await listening

    async def test_closed(self) -> None:
        """A server that fails while it is not read is noticed at the next poll."""
        reply = Deferred.fromCoroutine(self.fault("reset"))
        await until(lambda: self.upstreams[-1].poll)
        await deferLater(reactor, 0.1)
        self.assertFalse(reply.called)
        self.polling.start(INTERVAL)
        self.assertEqual((await reply)[:2], ("Hel", "BROKEN_ANSWER"))

    async def test_connectionIsKept(self) -> None:
        """A connection on which a reply was polled to its end is used again."""
        self.polling.start(INTERVAL)
        for text in ("slow", "slow", "hello"):
            await self.say(text)
        self.assertEqual(self.peer.connections, 1)


class OtherFormsTests(PolledTestCase):
    """TLS, and replies that are not streamed."""

    def serve_tls(self) -> OpenAIRobot:
        path = Path(self.mktemp()).absolute()
        path.write_bytes(certificate("localhost"))
        environ = patch.dict(os.environ, SSL_CERT_FILE=str(path))
        environ.start()
        self.addCleanup(environ.stop)
        self.peer = OpenAIPeer(reactor)
        port = reactor.listenSSL(0, self.peer, ServerContext(str(path)), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"https://localhost:{port.getHost().port}"
        return self.make()

    async def test_tls(self) -> None:
        """Over TLS, replies are read at polls, ends and faults are noticed, and cancelled ones close the connection."""
        robot = self.serve_tls()
        for text in ("slow", "gzip", "ollama"):
            self.assertEqual((text, await self.say(text, robot)), (text, "Hello"))
        for text in ("cut", "reset"):
            self.assertEqual((text, (await self.fault(text, robot))[1]), (text, "BROKEN_ANSWER"))
        reply = Deferred.fromCoroutine(self.say("hang between", robot))
        await until(lambda: self.upstreams[-1].poll)
        lost = len(self.peer.lost)
        reply.addErrback(lambda _cancelled: None)
        reply.cancel()
        await until(lambda: len(self.peer.lost) > lost)

    async def test_behindOthers(self) -> None:
        """A robot behind a queue, after one that failed, is polled, too."""
        breakers = [CircuitBreaker(lambda: 0.0) for _ in range(2)]
        others = self.make(url=base_url("http://127.0.0.1:1")), self.robot
        guarded = [
            GuardedRobot(cast(IRobot, robot), FairQueue(1), breaker)
            for robot, breaker in zip(others, breakers, strict=True)
        ]
        robot = FallbackRobot(cast(list[IRobot], guarded))
        reply = Deferred.fromCoroutine(self.say("slow", cast(IRobot, robot)))
        await until(lambda: self.upstreams[-1].poll)
        self.assertIn("Hello", await reply)

    async def test_inOnePiece(self) -> None:
        """A reply that is not streamed is not polled."""
        robot = self.make(stream=False)
        self.polling.stop()
        self.assertEqual(await self.say("one two", robot), "one two")

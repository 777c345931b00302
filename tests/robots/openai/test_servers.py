"""Several model servers, on real ports."""

import time
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat.calls.requests import Access, ApiCall, Request, examine
from securechat.conversation import Conversation, Speaker, Turn
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.robots import circuit_breaker
from securechat.robots.counters import counters_of
from securechat.robots.guard import GuardedRobot
from securechat.robots.http import endpoint
from securechat.robots.interface import IApiRobot
from securechat.robots.registry import make_robot
from securechat.wire.items import Head, Item
from tests.harness.http import until
from tests.harness.logs import logged_lines
from tests.harness.openai_peer import RESET, OpenAIPeer, Script, error, whole

reactor: Any = installed

USER = "a" * 32
LONG = 1000.0  # seconds; more than a test may take
PAUSE = 0.2  # seconds for which a server that failed is not asked


class Peer(OpenAIPeer):
    """A model server that can be killed, and started again on the same port."""

    def __init__(self) -> None:
        super().__init__(reactor)
        self.wires: list[Any] = []
        self.call_script: Callable[[], Script] | None = None
        self.port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.address = f"127.0.0.1:{self.port.getHost().port}"

    def buildProtocol(self, addr: object) -> Any:
        protocol = super().buildProtocol(addr)
        self.wires.append(protocol)
        return protocol

    def script(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Script:
        return super().script(method, path, headers, body) if self.call_script is None else self.call_script()

    async def kill(self) -> None:
        await maybeDeferred(self.port.stopListening)
        for protocol in self.wires:
            if protocol.transport.connected:
                protocol.transport.abortConnection()
        await until(lambda: not self.open)

    def revive(self) -> None:
        self.port = reactor.listenTCP(int(self.address.rpartition(":")[2]), self, interface="127.0.0.1")


class ServersTests(TestCase):
    """Two servers; `first` is the one that the user's questions go to."""

    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        self.patch(endpoint, "RETRY_DELAYS", ((LONG, LONG),))
        self.patch(circuit_breaker, "FIRST_PAUSE", PAUSE)
        self.logged = logged_lines(self)
        self.peers = [Peer(), Peer()]
        for peer in self.peers:
            self.addCleanup(peer.kill)
        urls = [f"url=http://{peer.address}" for peer in self.peers]
        options = (*urls, "model=peer-model", "max-concurrent=2")
        self.robot = cast(IApiRobot, make_robot(reactor, "openai", options, {}))
        self.addCleanup(self.robot.close)
        self.assertEqual(await self.say("hello"), "hello ")
        self.first, self.second = sorted(self.peers, key=lambda peer: -len(peer.asked))

    async def say(self, text: str) -> str:
        conversation = Conversation(USER, [Turn(Speaker.USER, text)])
        return "".join([part async for part in self.robot.reply(conversation)])

    async def call(self, path: str = "models", body: bytes = b"") -> list[Item]:
        request = examine(path, body, Access(True, None))
        assert isinstance(request, Request)
        return [item async for item in self.robot.call(ApiCall(request, USER, "", None))]

    async def test_stays(self) -> None:
        """A user's questions and API requests all go to one server."""
        for _ in range(3):
            await self.say("hello")
        [head, _list] = await self.call()
        self.assertEqual(head, Head(200, "application/json"))
        self.assertEqual((self.first.paths[-1], self.second.paths), ("/v1/models", []))

    async def test_killed(self) -> None:
        """The server is killed: the next question goes to the other at once; when it is back, questions go there."""
        await self.first.kill()
        self.assertEqual(await self.say("hello"), "hello ")
        self.assertEqual(len(self.second.asked), 1)
        [line] = [line for line in self.logged if "UNREACHABLE" in line]
        self.assertIn(f"robot openai: {self.first.address}: UNREACHABLE: connection refused; asking another", line)
        self.assertEqual(await self.say("hello"), "hello ")
        self.assertEqual(len([line for line in self.logged if "UNREACHABLE" in line]), 1)
        self.first.revive()
        end = time.monotonic() + 20
        asked = len(self.first.asked)
        while len(self.first.asked) == asked and time.monotonic() < end:
            self.assertEqual(await self.say("hello"), "hello ")
        self.assertIn(f"robot openai: {self.first.address} answers again", self.logged)

    async def test_killedUnanswered(self) -> None:
        """The server is killed before its first byte: the other one answers, unless it is killed as well."""
        self.first.call_script = lambda: iter([0.05, RESET])
        self.assertEqual(await self.say("hello"), "hello ")
        self.assertEqual(len(self.second.asked), 1)
        self.second.call_script = self.first.call_script
        with self.assertRaises(RobotError) as caught:
            await self.say("hello")
        self.assertEqual(caught.exception.fault, Fault.BROKEN_ANSWER)

    async def test_cut(self) -> None:
        """A reply that has begun when the server is killed ends in a fault, and the question is not asked again."""
        with self.assertRaises(RobotError) as caught:
            await self.say("reset")
        self.assertEqual(caught.exception.fault, Fault.BROKEN_ANSWER)
        self.assertIn(self.first.address, str(caught.exception))
        self.assertEqual(self.second.asked, [])

    async def test_bothKilled(self) -> None:
        """With no server left the user learns that the robot is unreachable, at once."""
        for peer in self.peers:
            await peer.kill()
        for _ in range(2):
            with self.assertRaises(RobotError) as caught:
                await self.say("hello")
            self.assertEqual(caught.exception.fault, Fault.UNREACHABLE)

    async def test_loading(self) -> None:
        """A server that is still loading its model is passed over, also by API requests."""
        self.assertEqual(await self.say("hello"), "hello ")
        self.first.call_script = lambda: error(503, "Loading model", type="unavailable_error")
        self.assertEqual(await self.say("hello"), "hello ")
        [head, _list] = await self.call()
        self.assertEqual(head, Head(200, "application/json"))
        self.second.call_script = lambda: whole({"error": "wait"}, 429)
        [head, _list] = await self.call()
        self.assertEqual(head, Head(429, "application/json"))

    async def test_api(self) -> None:
        """API requests go to the other server when the user's is killed."""
        await self.first.kill()
        body = b'{"model": "peer-model", "messages": [{"role": "user", "content": "hi"}]}'
        head, *_rest = await self.call("chat/completions", body)
        self.assertEqual(head, Head(200, "application/json"))
        self.assertEqual(len(self.second.asked), 1)

    async def test_counters(self) -> None:
        """Each server is counted, and the robot as a whole."""
        await self.first.kill()
        await self.say("hello")
        [counters] = counters_of(self.robot)
        self.assertEqual((counters.name, counters.outcomes), ("openai", {"ok": 2}))
        self.assertEqual(counters.queue.limit, 4)
        found = {server.name: (server.queue.limit, server.outcomes) for server in counters.servers}
        self.assertEqual(
            found,
            {
                self.first.address: (2, {"ok": 1, "unreachable": 1}),
                self.second.address: (2, {"ok": 1}),
            },
        )


class MakingTests(SynchronousTestCase):
    """A robot from its settings."""

    def make(self, *urls: str) -> Any:
        return make_robot(reactor, "openai", [f"url={url}" for url in urls], {})

    def test_names(self) -> None:
        """Servers are called by host and port, which do not contain secrets; a second one gets a number."""
        urls = ("http://a/secret", "https://a?key=secret", "http://[::1]:80/v1", "http://a:80/other")
        [counters] = counters_of(self.make(*urls))
        self.assertEqual([server.name for server in counters.servers], ["a:80", "a:443", "[::1]:80", "a:80-2"])

    def test_one(self) -> None:
        """A robot with one server is the same as before: it has one queue, and counters of its own only."""
        robot = self.make("http://a")
        self.assertIsInstance(robot, GuardedRobot)
        [counters] = counters_of(robot)
        self.assertEqual((counters.name, counters.servers), ("openai", []))

    def test_same(self) -> None:
        """A URL that is given twice is refused, also if it is written in another way."""
        error = self.assertRaises(ConfigurationError, self.make, "http://a", "http://a/v1/")
        self.assertEqual(str(error), "url: expected one or more different URLs")

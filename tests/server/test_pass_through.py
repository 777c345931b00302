"""API requests from a client to a model's server and back: through sessions, pacing and HTTP, over real sockets."""

import json
import time
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from securechat.calls.joining import MAX_JOINED
from securechat.errors import Fault
from securechat.robots.circuit_breaker import CircuitBreaker
from securechat.robots.fair_queue import FairQueue
from securechat.robots.guard import guard
from securechat.robots.openai.robot import OpenAIRobot
from securechat.robots.openai.settings import OpenAISettings, base_url
from securechat.server.factory import ChatServerFactory
from securechat.server.quotas import Counts
from securechat.server.settings import ServerSettings
from securechat.server.users import Anyone
from securechat.wire.client_connection import ClientConnection
from securechat.wire.events import Admitted, FaultReceived, ResultReceived, ServerProved
from securechat.wire.handshake import ClientHandshake
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.shaping import Shaping
from tests.harness.api_peer import ApiPeer
from tests.harness.http import turns_until, until
from tests.harness.openai_peer import (
    CLOSE,
    DONE,
    HANG,
    HTML,
    KEY,
    RESET,
    Script,
    Step,
    chunk,
    data,
    head,
    says,
    stream,
    whole,
)
from tests.harness.pair import PQ, accept, ephemeral_key, identity

reactor: Any = installed

TICK = 0.02  # seconds
AT_ONCE = 20  # hundredths of a second within which a request that is cancelled closes its connection
SECRET = "what the user wrote"
CHAT = json.dumps({"model": "m", "user": "ann", "messages": [{"role": "user", "content": SECRET}]}).encode()
STREAMED = CHAT.replace(b"{", b'{"stream":true,', 1)
SSE = "text/event-stream"
JSON = "application/json"


class Caller(Protocol):
    """A client that sends requests. `items` and `ends` have the results by the ids of the requests."""

    def __init__(self, port: int) -> None:
        handshake = ClientHandshake(PQ, ephemeral_key(PQ), f"[localhost]:{port}", accept, b"")
        self.client = ClientConnection(handshake, time.monotonic)
        self.is_admitted = False
        self.items: dict[int, list[Head | Piece | ServerEvent]] = {}
        self.ends: dict[int, Fault | None] = {}

    def connectionMade(self) -> None:
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        for event in self.client.receive_data(data):
            match event:
                case ServerProved():
                    self.client.prove(b"")
                case Admitted():
                    self.is_admitted = True
                case ResultReceived():
                    self.items[event.id] += event.items
                    if event.last:
                        self.ends[event.id] = None
                case FaultReceived():
                    self.ends[event.id] = event.fault
        self._flush()

    def call(self, path: str, body: bytes) -> int:
        number = self.client.call(path, body)
        self.items[number] = []
        self._flush()
        return number

    def cancel(self, number: int) -> None:
        self.client.cancel(number)
        self._flush()

    def lose(self) -> None:
        wire: Any = self.transport
        wire.abortConnection()

    def _flush(self) -> None:
        wire: Any = self.transport
        wire.write(self.client.data_to_send())


class PassThroughTestCase(TestCase):
    """A client, a server with the robot for language models, and a model's server."""

    shaping = Shaping.OFF

    def setUp(self) -> None:
        self.callers: list[Caller] = []
        self.logged: list[str] = []

        def observe(event: Any) -> None:
            self.logged.append(str(formatEvent(event)) + str(event.get("log_failure", "")))

        globalLogPublisher.addObserver(cast(Any, observe))
        self.addCleanup(globalLogPublisher.removeObserver, cast(Any, observe))
        self.addCleanup(self.assertNothingLogged)

    def assertNothingLogged(self) -> None:
        for line in self.logged:
            for secret in (SECRET, KEY, "Hello", "Traceback"):
                self.assertNotIn(secret, line)

    async def start(self, *scripts: Callable[[], Script], at: str = "", **options: Any) -> Caller:
        """A client, through a server whose robot uses a peer that plays these scripts, or the server at a URL."""
        self.peer = ApiPeer(reactor, *scripts)
        port = reactor.listenTCP(0, self.peer, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        settings = {"url": (base_url(at or f"http://127.0.0.1:{port.getHost().port}"),), **options}
        robot = OpenAIRobot(reactor, OpenAISettings(**settings), KEY)
        self.addCleanup(robot.close)
        guarded = guard(cast(Any, robot), FairQueue(4), CircuitBreaker(time.monotonic))
        self.factory = ChatServerFactory(
            ServerSettings(api=True, shaping=self.shaping, tick=TICK, call_burst=1000),
            identity(),
            Anyone(),
            cast(Any, guarded),
            reactor,
        )
        door = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(door.stopListening)
        self.addCleanup(self.close)
        self.port: int = door.getHost().port
        return await self.connect()

    async def connect(self) -> Caller:
        caller: Caller = await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", self.port), Caller(self.port))
        await until(lambda: caller.is_admitted)
        self.callers.append(caller)
        return caller

    async def close(self) -> None:
        for caller in self.callers:
            caller.lose()
        await until(lambda: not self.factory.sessions)

    async def result(self, caller: Caller, path: str = "chat/completions", body: bytes = CHAT) -> Any:
        """What came of a request: its head, its body or its events, and the fault or None."""
        number = caller.call(path, body)
        await until(lambda: number in caller.ends)
        top, rest = caller.items[number][:1], caller.items[number][1:]
        found: Any = b"".join(item.data for item in rest if isinstance(item, Piece))
        if top and cast(Head, top[0]).is_stream:
            found = [(item.name, item.data) for item in rest if isinstance(item, ServerEvent)]
        heads = [(item.status, item.content_type, item.retry_after) for item in top if isinstance(item, Head)]
        return (*heads, found, caller.ends[number])

    async def assertDisconnects(self, count: int = 0) -> None:
        """The robot closes its connections at once, except for so many."""
        self.assertLess(await turns_until(lambda: self.peer.open == count), AT_ONCE)


class ResponseTests(PassThroughTestCase):
    """Responses as the client gets them."""

    async def test_whole(self) -> None:
        """Status, content type, Retry-After and body are those of the model's server, and so is the request."""
        body = b' { "a" : 1.0e1,\n"b":"\xc3\xa9" }' * 300
        caller = await self.start(lambda: whole(body), lambda: whole(b"[]", 429, Retry_After="7"))
        self.assertEqual(await self.result(caller), ((200, JSON, 0), body, None))
        self.assertEqual(await self.result(caller, "models/a:b", b""), ((429, JSON, 7), b"[]", None))
        first, second = self.peer.requests
        self.assertRegex(json.loads(first.body)["user"], "^[0-9a-f]{32}$")
        self.assertEqual(first.body.split(b'"user"')[0], CHAT.split(b'"user"')[0])
        self.assertEqual((second.method, second.path, second.body), ("GET", "/v1/models/a%3Ab", b""))

    async def test_events(self) -> None:
        """Events that cannot be joined arrive byte for byte."""
        texts = [b'{ "n" :%d, "x":1.0e1}' % number for number in range(50)] + ["é\u2028".encode(), b"", b"1\n2"]
        lines = (text.replace(b"\n", b"\ndata: ") for text in texts)
        sent = b"".join(b"event: a\ndata: " + line + b"\n\n: ping\n\n" for line in lines)
        caller = await self.start(lambda: stream(sent[:100], 0.01, sent[100:], DONE))
        events = [*(("a", text) for text in texts), ("", b"[DONE]")]
        self.assertEqual(await self.result(caller, body=STREAMED), ((200, SSE, 0), events, None))

    async def test_tokens(self) -> None:
        """Tokens may be joined; their text is the same, and so is everything else."""
        words = [f"é{number} " for number in range(500)]
        ends = [chunk(finish="stop"), {"choices": [], "usage": {"total_tokens": 7}}]
        caller = await self.start(lambda: stream(*says(*words), *map(data, ends), DONE))
        top, events, fault = await self.result(caller, body=STREAMED)
        self.assertEqual((top, fault), ((200, SSE, 0), None))
        *tokens, stop, usage, done = [text for _name, text in events]
        self.assertEqual(([json.loads(stop), json.loads(usage)], done), (ends, b"[DONE]"))
        contents = [json.loads(token)["choices"][0]["delta"]["content"] for token in tokens]
        self.assertEqual("".join(contents), "".join(words))
        self.assertEqual([json.loads(token) for token in tokens], [chunk(content) for content in contents])
        self.assertLessEqual(max(map(len, tokens)), MAX_JOINED)

    async def test_usage(self) -> None:
        """The tokens that the model's server reports count for the user, also if events before them were joined."""
        usage = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
        caller = await self.start(
            lambda: stream(*says(*map(str, range(300))), data({"choices": [], "usage": usage}), DONE),
            lambda: whole({"choices": [], "usage": usage}),
        )
        for body in (STREAMED, CHAT):
            self.assertEqual((await self.result(caller, body=body))[0][0], 200)
        [entry] = self.factory.accounts.take_changes()
        self.assertEqual(entry.counts, Counts(calls=2, prompt_tokens=60, completion_tokens=24))

    async def test_notAllowed(self) -> None:
        """A request that is refused is not sent to the model's server."""
        caller = await self.start(lambda: whole(b"{}"), model="x")
        for path, body, status in (
            ("chat/completions", CHAT, 404),
            ("models/m", b"", 404),
            ("chat/completions", b'{"model": "x", "models": ["m"]}', 400),
            ("chat/completions", b'{"model": "x", "USER": "ann"}', 400),
            ("chat/completions", b"{", 400),
        ):
            top, found, fault = await self.result(caller, path, body)
            self.assertEqual((top, fault), ((status, JSON, 0), None))
            self.assertIn("error", json.loads(found))
        self.assertEqual((await self.result(caller, "audio/speech", CHAT))[-1], Fault.NOT_FOUND)
        self.assertEqual(self.peer.requests, [])

    async def test_sideBySide(self) -> None:
        """Sessions of one user have their requests answered side by side."""
        caller = await self.start(lambda: stream(*says("Hello"), HANG), lambda: whole(b"{}"))
        other = await self.connect()
        number = caller.call("chat/completions", STREAMED)
        await until(lambda: len(caller.items[number]) == 2)
        self.assertEqual(await self.result(other), ((200, JSON, 0), b"{}", None))


class FaultTests(PassThroughTestCase):
    """Servers that fail."""

    async def test_beforeTheHead(self) -> None:
        """A server that gives no response of the API is a fault."""
        refused: list[Step] = [*whole({"error": {"message": SECRET, "code": KEY}}, 401)]
        for steps, fault in (
            (refused, Fault.REFUSED),
            ([*whole(HTML, 502, Content_Type="text/html")], Fault.BROKEN_ANSWER),
            ([*whole(b"", 307, Location="/")], Fault.BROKEN_ANSWER),
            ([RESET], Fault.BROKEN_ANSWER),
            ([HANG], Fault.TIMED_OUT),
        ):
            caller = await self.start(lambda: iter(steps), first_timeout=0.3)  # noqa: B023
            self.assertEqual(await self.result(caller), (b"", fault))
        caller = await self.start(lambda: whole(b"{}"), at="http://127.0.0.1:1")
        self.assertEqual(await self.result(caller), (b"", Fault.UNREACHABLE))

    async def test_afterTheHead(self) -> None:
        """A response that breaks off, or stops, is passed on as far as it came."""
        for steps, fault in (
            ([CLOSE], Fault.BROKEN_ANSWER),
            ([0.02, RESET], Fault.BROKEN_ANSWER),
            ([HANG], Fault.TIMED_OUT),
        ):
            for kind in (SSE, JSON):
                top = head(200, {"Content-Type": kind, "Content-Length": "500"})
                start = says("Hello")[0]
                assert isinstance(start, bytes)
                caller = await self.start(lambda: iter([top + start, *steps]), timeout=0.3)  # noqa: B023
                found = start if kind == JSON else [("", start[6:-2])]
                self.assertEqual(await self.result(caller), ((200, kind, 0), found, fault))


class CancelTests(PassThroughTestCase):
    """Requests that are cancelled."""

    async def test_cancelled(self) -> None:
        """A request that is cancelled closes its connection at once, and the next one is answered."""
        scripts: tuple[list[Step], ...] = (
            [HANG],
            [head(200, {"Content-Length": "2", "Content-Type": JSON}), HANG],
            [*stream(HANG)],
            [*stream(*says("Hello"), HANG)],
            [*stream(*says(*["Hello"] * 20_000), HANG)],
        )
        for steps in scripts:
            caller = await self.start(lambda: iter(steps), lambda: whole(b"{}"))  # noqa: B023
            number = caller.call("chat/completions", STREAMED)
            await until(lambda: self.peer.requests)
            await deferLater(reactor, 0.1)
            caller.cancel(number)
            await self.assertDisconnects()
            await until(lambda: number in caller.ends)  # noqa: B023
            self.assertEqual(caller.ends[number], Fault.CANCELLED)
            self.assertEqual(await self.result(caller), ((200, JSON, 0), b"{}", None))

    async def test_lost(self) -> None:
        """So does one whose session is lost."""
        caller = await self.start(lambda: stream(*says("Hello"), HANG))
        number = caller.call("chat/completions", STREAMED)
        await until(lambda: len(caller.items[number]) == 2)
        caller.lose()
        await self.assertDisconnects()

    async def test_many(self) -> None:
        """Many requests, of which some are cancelled at any moment, leave nothing behind."""
        caller = await self.start(lambda: stream(*says(*"Hello"), 0.01, DONE))
        callers = [caller, *[await self.connect() for _ in range(5)]]

        async def use(caller: Caller, step: int) -> None:
            for turn in range(10):
                number = caller.call("chat/completions", STREAMED)
                if turn % 2:
                    await deferLater(reactor, (turn * step % 7) / 100)
                    caller.cancel(number)
                await until(lambda: number in caller.ends)  # noqa: B023
                if not turn % 2:
                    self.assertEqual(caller.ends[number], None)

        await gatherResults([Deferred.fromCoroutine(use(caller, step)) for step, caller in enumerate(callers)])
        await until(lambda: self.peer.open <= 4)


class PacedResponseTests(ResponseTests):
    """The same, at ticks."""

    shaping = Shaping.REPLY


class PacedFaultTests(FaultTests):
    """The same, at ticks."""

    shaping = Shaping.REPLY


class PacedCancelTests(CancelTests):
    """The same, at ticks."""

    shaping = Shaping.REPLY

"""API requests to a server on a real port, and its responses."""

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import aclosing
from itertools import product
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.trial.unittest import TestCase

from securechat import __version__
from securechat.calls.requests import Access, ApiCall, Request, examine
from securechat.conversation import Upstream, Usage
from securechat.errors import Fault, RobotError
from securechat.robots.circuit_breaker import CircuitBreaker
from securechat.robots.fair_queue import FairQueue
from securechat.robots.guard import guard
from securechat.robots.interface import IApiRobot
from securechat.robots.openai import pass_through
from securechat.robots.openai.robot import OpenAIRobot
from securechat.robots.openai.settings import OpenAISettings, base_url
from securechat.wire.items import Head, Piece, ServerEvent
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
    apart,
    chunk,
    data,
    head,
    says,
    stream,
    whole,
)

reactor: Any = installed

USER = "a" * 32
PATIENCE = 20.0  # seconds; more than a busy machine needs
AT_ONCE = 20  # hundredths of a second
CHAT = b'{"model": "m", "messages": []}'
STREAMED = b'{"model": "m", "stream":true}'
JSON = "application/json"
SSE = "text/event-stream"
HEADER = "X-Secret: 0123456789"

Item = Head | Piece | ServerEvent
Result = tuple[tuple[int, str, int], Any]  # the head, and the body or the events


class ApiTestCase(TestCase):
    """A server, and a robot that passes requests to it."""

    def setUp(self) -> None:
        self.upstreams: list[Upstream] = []

    def start(self, *scripts: Callable[[], Script], key: str | None = KEY, **options: Any) -> OpenAIRobot:
        """A server that plays these scripts, and a robot that uses it."""
        self.peer = ApiPeer(reactor, *scripts)
        port = reactor.listenTCP(0, self.peer, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        usual = {"url": (base_url(self.url),), "timeout": PATIENCE, "first_timeout": PATIENCE, "header": (HEADER,)}
        self.robot = OpenAIRobot(reactor, OpenAISettings(**{**usual, **options}), key)
        self.addCleanup(self.robot.close)
        return self.robot

    def request(self, path: str = "chat/completions", body: bytes = CHAT) -> ApiCall:
        """A request, of a session that sends at ticks, if there are any."""
        request = examine(path, body, Access(True, None))
        assert isinstance(request, Request)
        return ApiCall(request, USER, "", self.upstream())

    def upstream(self) -> Upstream | None:
        return None

    async def items(self, path: str = "chat/completions", body: bytes = CHAT) -> list[Item]:
        return [item async for item in self.robot.call(self.request(path, body))]

    async def result(self, path: str = "chat/completions", body: bytes = CHAT) -> Result:
        """The whole response."""
        [first, *rest] = await self.items(path, body)
        assert isinstance(first, Head)
        found = (first.status, first.content_type, first.retry_after)
        if first.is_stream:
            return found, [(item.name, item.data) for item in rest if isinstance(item, ServerEvent)]
        return found, b"".join(item.data for item in rest if isinstance(item, Piece))

    async def fault(self, *request: Any) -> tuple[list[Item], Fault, str]:
        """What came before the fault, the fault, and the text for the log."""
        found: list[Item] = []
        with self.assertRaises(RobotError) as caught:
            async for item in self.robot.call(self.request(*request)):
                found.append(item)
        self.assertNotIn(KEY, str(caught.exception))
        return found, caught.exception.fault, str(caught.exception)

    def events(self, *texts: bytes) -> list[tuple[str, bytes]]:
        return [("", text) for text in texts]


class UsageTests(ApiTestCase):
    """The numbers of tokens in responses that pass."""

    async def usage(self, path: str, body: bytes, script: Callable[[], Script]) -> tuple[Result, Usage]:
        self.start(script)
        usage = Usage()
        call = self.request(path, body)._replace(usage=usage)
        items = [item async for item in self.robot.call(call)]
        return items, usage  # type: ignore[return-value]

    async def test_stream(self) -> None:
        """Those in an event of a stream count, and the event passes as it was."""
        last = data({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}})
        items, usage = await self.usage(
            "chat/completions", STREAMED, lambda: stream(*says("a", "b"), *apart(last, 20), DONE)
        )
        self.assertEqual(usage, Usage(9, 4))
        self.assertEqual(items[-2].data, last[6:-2])  # type: ignore[attr-defined]

    async def test_body(self) -> None:
        """So do those of a body, wherever it is cut."""
        for path, value in (
            ("chat/completions", {"choices": ["x" * 100_000], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}),
            ("embeddings", {"data": [0.1] * 50_000, "usage": {"prompt_tokens": 9, "total_tokens": 9}}),
            ("responses", {"usage": {"input_tokens": 9, "output_tokens": 4}, "text": "x"}),
        ):
            _items, usage = await self.usage(path, CHAT, lambda value=value: whole(value))  # type: ignore[misc]
            self.assertEqual(usage, Usage(9, 0 if path == "embeddings" else 4), path)

    async def test_nothing(self) -> None:
        """An error uses nothing."""
        _items, usage = await self.usage("chat/completions", CHAT, lambda: whole({"error": "x"}, 500))
        self.assertEqual(usage, Usage())


class PolledTestCase(ApiTestCase):
    """The servers of responses are read at intervals, as at ticks."""

    def setUp(self) -> None:
        super().setUp()
        self.polling = LoopingCall(self.poll)
        self.polling.start(0.001)
        self.addCleanup(self.stop_polling)

    def stop_polling(self) -> None:
        if self.polling.running:
            self.polling.stop()
        self.assertEqual([upstream.poll for upstream in self.upstreams if upstream.poll], [])

    def upstream(self) -> Upstream:
        self.upstreams.append(Upstream())
        return self.upstreams[-1]

    def poll(self) -> None:
        for upstream in self.upstreams:
            if upstream.poll is not None:
                upstream.poll()


class RequestTests(ApiTestCase):
    """What the server is sent."""

    async def test_paths(self) -> None:
        """Each path has its address below the base URL, and keeps the query of that."""
        self.start(lambda: whole(b"{}"))
        for query, prefix in product(("", "?api-version=1"), ("/v1", "/a/b%20c")):
            self.robot = OpenAIRobot(reactor, OpenAISettings(url=(base_url(self.url + prefix + query),)))
            self.addCleanup(self.robot.close)
            for path in ("chat/completions", "completions", "embeddings", "responses"):
                await self.result(path)
                self.assertEqual(self.peer.requests[-1][:2], ("POST", f"{prefix}/{path}{query}"))
            for path, address in (("models", "models"), ("models/a/b:c@d~e", "models/a/b%3Ac%40d~e")):
                await self.result(path, b"")
                self.assertEqual(self.peer.requests[-1][:2], ("GET", f"{prefix}/{address}{query}"))

    async def test_headers(self) -> None:
        """It is sent our own headers and those that are configured."""
        self.start(lambda: whole(b"{}"))
        own = {
            "host": self.url.removeprefix("http://"),
            "user-agent": f"securechat/{__version__}",
            "authorization": f"Bearer {KEY}",
            "x-secret": "0123456789",
        }
        for path, body, more in (
            ("chat/completions", CHAT, {"accept": JSON, "content-type": JSON}),
            ("responses", STREAMED, {"accept": f"{SSE}, {JSON}", "content-type": JSON}),
            ("models", b"", {"accept": JSON}),
        ):
            await self.result(path, body)
            headers = {
                name: value for name, value in self.peer.requests[-1].headers.items() if name != "content-length"
            }
            headers.pop("connection", None)
            self.assertEqual(headers, own | more)

    async def test_body(self) -> None:
        """The body arrives as the tool wrote it; a large one, too."""
        self.start(lambda: whole(b"{}"))
        for body in (b' { "model" : "m",\n"x":1.50e1 }', b'{"model": "' + b"x" * 5_000_000 + b'"}'):
            await self.result("embeddings", body)
            self.assertEqual(self.peer.requests[-1].body, body)

    async def test_policy(self) -> None:
        """What the settings are about is changed; what they refuse is not sent, and the answer says why."""
        self.start(lambda: whole(b"{}"), model="m", max_tokens=5)
        await self.result(body=b'{"user": "ann"}')
        self.assertEqual(json.loads(self.peer.requests[-1].body), {"user": USER, "max_tokens": 5})
        top, body = await self.result(body=b'{"models": ["x"]}')
        self.assertEqual(top, (400, JSON, 0))
        error = json.loads(body)["error"]
        self.assertEqual((error["type"], error["param"], error["code"]), ("invalid_request_error", "models", None))
        self.assertIn("models", error["message"])
        self.assertEqual(len(self.peer.requests), 1)

    async def test_nameOfTheLimit(self) -> None:
        """A server that refuses our max_tokens is asked again, and from then on asked as it likes."""
        refusal = {"error": {"message": "Use 'max_completion_tokens' instead.", "type": "invalid_request_error"}}
        self.start(lambda: whole(refusal, 400), lambda: whole(b"{}"), max_tokens=5)
        for _ in range(2):
            self.assertEqual(await self.result(), ((200, JSON, 0), b"{}"))
        limits = [json.loads(request.body) for request in self.peer.requests]
        self.assertEqual([value.get("max_tokens") for value in limits], [5, None, None])
        self.assertEqual([value.get("max_completion_tokens") for value in limits], [None, 5, 5])

    async def test_nameOfTheLimitIsNotLearned(self) -> None:
        """It is not learned from a refusal alone, and not tried if the limit is the tool's."""
        refusal = {"error": {"message": "max_completion_tokens", "type": "invalid_request_error"}}
        self.start(lambda: whole(refusal, 400), max_tokens=5)
        for _ in range(2):
            top, body = await self.result()
            self.assertEqual((top[0], json.loads(body)), (400, refusal))
        self.assertEqual([b"max_tokens" in request.body for request in self.peer.requests], [True, False] * 2)
        await self.result(body=b'{"max_tokens": 3}')
        self.assertEqual(len(self.peer.requests), 5)


class ResponseTests(ApiTestCase):
    """Responses that are not streams."""

    async def test_whole(self) -> None:
        """Status, content type and body are the server's; no other header is passed on."""
        for status, kind, body in (
            (200, "application/json; charset=utf-8", b'{ "a" : 1.0e1,\n"b":"\xc3\xa9" }'),
            (201, JSON, b"{}"),
            (200, "text/plain", bytes(range(1, 256)) * 1000),
            (200, "", b"{}"),
            (200, JSON, b""),
        ):
            self.start(lambda: whole(body, status, Content_Type=kind, Retry_After="5"))  # noqa: B023
            self.assertEqual(await self.result(), ((status, kind, 0), body))

    async def test_withoutContentType(self) -> None:
        """A response may have no content type, and no length."""
        self.start(lambda: iter([b"HTTP/1.0 200 OK\r\n\r\n{}", CLOSE]))
        self.assertEqual(await self.result(), ((200, "", 0), b"{}"))

    async def test_compressed(self) -> None:
        """A compressed response is passed on as what it contains."""
        self.start(lambda: whole(gzip.compress(b"{}"), Content_Encoding="gzip"))
        self.assertEqual(await self.result(), ((200, JSON, 0), b"{}"))

    async def test_errors(self) -> None:
        """An error is passed on with its status and Retry-After."""
        body = b'{ "error": {"message": "\xc3\xa9 /", "type":"x"} }'
        for status in (400, 402, 403, 404, 409, 413, 422, 429, 500, 503, 504, 529, 599):
            self.start(lambda: whole(body, status, Retry_After="7"))  # noqa: B023
            self.assertEqual(await self.result(), ((status, JSON, 7), body))
            self.assertEqual(await self.result("models", b""), ((status, JSON, 7), body))

    async def test_emptyError(self) -> None:
        """An error may have no body."""
        self.start(lambda: whole(b"", 500, Content_Type="text/plain"))
        self.assertEqual(await self.result(), ((500, "text/plain", 0), b""))

    async def test_masked(self) -> None:
        """An error does not contain the key and the configured headers."""
        text = f"no such user: {KEY} or Bearer {KEY} or 0123456789"
        self.start(lambda: whole({"error": {"message": text}}, 400))
        [_top, body] = await self.result()
        self.assertEqual(json.loads(body), {"error": {"message": "no such user: … or Bearer … or …"}})

    async def test_unreadableError(self) -> None:
        """An error whose body is too large, incomplete or late keeps its status."""
        start = head(500, {"Content-Type": JSON, "Content-Length": "9", "Retry-After": "7"})
        scripts: tuple[list[Step], ...] = (
            [*whole(b"x" * 70_000, 500, Retry_After="7")],
            [start + b"{}", CLOSE],
            [start, HANG],
        )
        for steps in scripts:
            self.start(lambda: iter(steps), timeout=0.2)  # noqa: B023
            top, body = await self.result()
            self.assertEqual(top, (500, JSON, 7))
            self.assertIn("500", json.loads(body)["error"]["message"])

    async def test_streamedError(self) -> None:
        """An error may be a stream."""
        text = b'{"error":{"message":"' + KEY.encode() + b'"}}'
        self.start(lambda: stream_with_status(400, b"data: " + text + b"\n\n", DONE))
        expected = self.events(text.replace(KEY.encode(), "…".encode()), b"[DONE]")
        self.assertEqual(await self.result(), ((400, SSE, 0), expected))
        self.start(lambda: stream_with_status(400, b"{}"))
        top, body = await self.result()
        self.assertEqual((top, "400" in json.loads(body)["error"]["message"]), ((400, JSON, 0), True))

    async def test_ownCredentials(self) -> None:
        """A server that refuses its key is a fault and not an error of the tool, whose key is another."""
        for script in (
            lambda: whole({"error": {"message": "x", "code": KEY}}, 401),
            lambda: whole(HTML, 401, Content_Type="text/html"),
            lambda: whole(b"", 407),
            lambda: whole({"error": {"message": "Your key lacks the permission"}}, 403),
        ):
            self.start(script)
            found, fault, text = await self.fault()
            self.assertEqual((found, fault), ([], Fault.REFUSED))
            self.assertIn("key was rejected", text)

    async def test_pages(self) -> None:
        """A web page is a broken answer, unless its status says that the server is busy."""
        for status, kind in product((200, 500, 502), ("text/html", JSON)):
            self.start(lambda: whole(b"\n" + HTML, status, Content_Type=kind))  # noqa: B023
            self.assertEqual((await self.fault())[:2], ([], Fault.BROKEN_ANSWER))
        for status in (429, 503):
            self.start(lambda: whole(HTML, status, Content_Type="text/html", Retry_After="7"))  # noqa: B023
            top, body = await self.result()
            self.assertEqual((top, "error" in json.loads(body)), ((status, JSON, 7), True))

    async def test_pagesAboutRequests(self) -> None:
        """A page for a path that the server does not have keeps its status, and opens no circuit."""
        for status, kind in product((403, 404, 405), ("text/html", JSON)):
            self.start(lambda: whole(b"\n" + HTML, status, Content_Type=kind))  # noqa: B023
            top, body = await self.result()
            self.assertEqual((top, "error" in json.loads(body)), ((status, JSON, 0), True))

    async def test_redirect(self) -> None:
        """A redirect is a broken answer."""
        self.start(lambda: whole(b"", 307, Location="http://127.0.0.1:1/"))
        self.assertEqual((await self.fault())[:2], ([], Fault.BROKEN_ANSWER))

    async def test_truncated(self) -> None:
        """A response that is cut is passed on as far as it came, and ends in a fault."""
        self.start(lambda: iter([head(200, {"Content-Length": "9"}) + b"{}", 0.02, RESET]))
        found, fault, _text = await self.fault()
        self.assertEqual((found[1:], fault), ([Piece(b"{}")], Fault.BROKEN_ANSWER))

    async def test_tooLarge(self) -> None:
        """A response has a maximum size."""
        self.patch(pass_through, "MAX_BODY", 1000)
        self.start(lambda: whole(b"x" * 1001))
        self.assertEqual((await self.fault())[1], Fault.BROKEN_ANSWER)

    async def test_unreachable(self) -> None:
        """A server that is down, or that hangs up, is a fault."""
        self.start(lambda: iter([RESET]))
        self.assertEqual((await self.fault())[:2], ([], Fault.BROKEN_ANSWER))
        self.robot = OpenAIRobot(reactor, OpenAISettings(url=("http://127.0.0.1:1/v1",)))
        self.addCleanup(self.robot.close)
        self.assertEqual((await self.fault())[:2], ([], Fault.UNREACHABLE))

    async def test_keptConnection(self) -> None:
        """A kept connection is used again, and one that the server has closed meanwhile costs no request."""
        self.start(lambda: whole(b"{}"), lambda: whole(b"{}"), lambda: iter([CLOSE]), lambda: whole(b"[]"))
        for _ in range(2):
            await self.result()
        self.assertEqual(self.peer.connections, 1)
        self.assertEqual(await self.result(), ((200, JSON, 0), b"[]"))
        self.assertEqual((self.peer.connections, len(self.peer.requests)), (2, 4))


class ModelTests(ApiTestCase):
    """The list of models."""

    LISTED = (
        b'{"object":"list","data":[{"id":"a","n":1.0},{"id":"b"},{"name":"c","x":{"id":"a"}}],"models":[{"name":"b"}]}'
    )

    async def test_all(self) -> None:
        """If all models are allowed, the list is the server's."""
        self.start(lambda: whole(b" " + self.LISTED))
        self.assertEqual(await self.result("models", b""), ((200, JSON, 0), b" " + self.LISTED))

    async def test_allowed(self) -> None:
        """Otherwise it has the allowed ones, as the server describes them."""
        self.start(lambda: whole(self.LISTED), model="a")
        expected = b'{"object":"list","data":[{"id":"a","n":1.0}],"models":[]}'
        self.assertEqual(await self.result("models", b""), ((200, JSON, 0), expected))
        self.assertEqual(await self.result("models/a", b""), ((200, JSON, 0), self.LISTED))

    async def test_invalid(self) -> None:
        """If it cannot be read, nobody sees it."""
        for body in (b"{}", b"7", b'{"data":7}', b'{"data":[}', b"\xff", b"[" * 100_000, HTML):
            self.start(lambda: whole(body), models=frozenset({"a", "b"}))  # noqa: B023
            self.assertEqual((await self.fault("models", b""))[:2], ([], Fault.BROKEN_ANSWER))


class StreamTests(ApiTestCase):
    """Streams of events."""

    def assertStream(self, result: Result, *texts: bytes) -> None:
        self.assertEqual(result, ((200, SSE, 0), self.events(*texts)))

    async def test_bytes(self) -> None:
        """Events are those of the server, byte for byte, however they arrive."""
        texts = [b'{"choices":[{"delta":{"content":"\\ud83d"}}], "n":1.0}', "é \u2028".encode(), b"", b"[DONE]"]
        sent = b": ping\n\nid: 1\n" + b"".join(b"data: " + text + b"\n\n" for text in texts)
        for size in (1, 7, 50, len(sent)):
            self.start(lambda: stream(*apart(sent, size)))  # noqa: B023
            self.assertStream(await self.result(body=STREAMED), *texts)
            self.assertEqual(len(self.peer.requests), 1)

    async def test_names(self) -> None:
        """Events keep their names and their lines; the last event of a response ends it."""
        sent = b"event: response.created\ndata: {}\ndata: 2\n\nevent: response.completed\ndata: {}\n\n"
        self.start(lambda: stream(sent))
        expected = [("response.created", b"{}\n2"), ("response.completed", b"{}")]
        self.assertEqual(await self.result("responses", STREAMED), ((200, SSE, 0), expected))

    async def test_notAskedFor(self) -> None:
        """A server may stream or not, whatever the request asks for."""
        self.start(lambda: stream(b"data: 1\n\n", DONE))
        self.assertStream(await self.result(), b"1", b"[DONE]")
        self.start(lambda: whole(b"{}"))
        self.assertEqual(await self.result(body=STREAMED), ((200, JSON, 0), b"{}"))

    async def test_contentType(self) -> None:
        """The content type is the server's."""
        for kind in ("Text/Event-Stream", "text/event-stream; charset=utf-8"):
            self.start(lambda: stream(DONE, headers={"Content-Type": kind}))  # noqa: B023
            self.assertEqual(await self.result(), ((200, kind, 0), self.events(b"[DONE]")))

    async def test_afterTheEnd(self) -> None:
        """Nothing after [DONE] is passed on, and a server that does not end the response is not waited for."""
        self.patch(pass_through, "END_TIMEOUT", 0.1)
        for steps in ([data("x")], [HANG], [0.02, RESET], [0.02, data("x"), HANG]):
            self.start(lambda: stream(DONE, *steps))  # noqa: B023
            self.assertStream(await self.result(body=STREAMED), b"[DONE]")
        self.start(lambda: stream(b"event: response.completed\ndata: {}\n\n", HANG))
        [_top, events] = await self.result("responses", STREAMED)
        self.assertEqual(events, [("response.completed", b"{}")])

    async def test_errors(self) -> None:
        """An error in the stream ends it, and does not contain the key."""
        for script in (
            lambda: stream(data({"error": {"message": KEY}})),
            lambda: stream(b'event: error\ndata: {"message":"' + KEY.encode() + b'"}\n\n'),
        ):
            self.start(script)
            [_top, [(_name, text)]] = await self.result(body=STREAMED)
            self.assertIn("…", json.dumps(json.loads(text), ensure_ascii=False))
            self.assertNotIn(KEY.encode(), text)

    async def test_truncated(self) -> None:
        """A stream that ends early, in an event or between two, is a fault after what came."""
        for steps, end in (
            ([], True),
            ([CLOSE], False),
            ([0.02, RESET], False),
            ([data(chunk("lo"))[:-1]], True),
            ([data(chunk("lo"))[:9], CLOSE], False),
            ([data(chunk(finish="stop"))], True),
        ):
            self.start(lambda: stream(*says("Hel"), *steps, end=end))  # noqa: B023
            found, fault, _text = await self.fault("chat/completions", STREAMED)
            self.assertEqual((fault, found[1]), (Fault.BROKEN_ANSWER, ServerEvent("", data(chunk("Hel"))[6:-2])))
        self.start(lambda: iter([*stream(*says("Hel"), end=False), b"10\r\ndata: x", CLOSE]))
        self.assertEqual((await self.fault("chat/completions", STREAMED))[1], Fault.BROKEN_ANSWER)

    async def test_empty(self) -> None:
        """A stream without events, such as JSON with the wrong content type, is a fault."""
        for steps in ([], [b"{}"], [HTML], [b": ping\n\n"]):
            self.start(lambda: stream(*steps))  # noqa: B023
            self.assertEqual((await self.fault("chat/completions", STREAMED))[1], Fault.BROKEN_ANSWER)

    async def test_tooLarge(self) -> None:
        """A stream has a maximum size."""
        self.patch(pass_through, "MAX_BODY", 1000)
        self.start(lambda: endless(data(chunk("x"))))
        self.assertEqual((await self.fault("chat/completions", STREAMED))[1], Fault.BROKEN_ANSWER)


class PolledStreamTests(PolledTestCase, StreamTests):
    """Streams that are read at ticks."""


class PollTests(PolledTestCase):
    """When the server is read."""

    async def test_atTicks(self) -> None:
        """A stream is read at ticks only."""
        self.polling.stop()
        self.start(lambda: stream(*(step for text in "Hello" for step in (*says(text), 0.02)), DONE))
        found: list[Item] = []

        async def read() -> None:
            async for item in self.robot.call(self.request(body=STREAMED)):
                found.append(item)

        reading = Deferred.fromCoroutine(read())
        await until(lambda: self.upstreams[-1].poll)
        await deferLater(reactor, 0.4)
        self.assertLessEqual(len(found), 2)  # what arrived with the head
        self.poll()
        self.assertEqual(len(found), 7)
        await reading

    async def test_whole(self) -> None:
        """Any other response is read as it comes."""
        self.polling.stop()
        self.start(lambda: whole(b"x" * 1_000_000))
        self.assertEqual(await self.result(), ((200, JSON, 0), b"x" * 1_000_000))


class TimeTests(PolledTestCase):
    """Servers that are slow."""

    async def assertTimesOut(self, *steps: Step, **timeouts: Any) -> None:
        self.start(lambda: iter(steps), **timeouts)
        before = reactor.seconds()
        self.assertEqual((await self.fault("chat/completions", STREAMED))[1], Fault.TIMED_OUT)
        self.assertLess(reactor.seconds() - before, PATIENCE / 2)

    async def test_first(self) -> None:
        """The first timeout is for everything before the first token, the other one for what follows."""
        role = data(chunk("", role="assistant"))
        pings: list[Step] = [b":\n\n", 0.05] * 100
        for steps in ([HANG], stream(HANG), stream(role, HANG), stream(role, *pings)):
            await self.assertTimesOut(*steps, first_timeout=0.3)
        await self.assertTimesOut(*stream(*says("a"), HANG), timeout=0.3)
        await self.assertTimesOut(head(200, {"Content-Length": "2"}), HANG, first_timeout=0.3)
        await self.assertTimesOut(head(200, {"Content-Length": "2"}) + b"{", HANG, timeout=0.3)

    async def test_announcements(self) -> None:
        """A server may be silent for longer than the second timeout between the role and the first token."""
        role = data(chunk("", role="assistant"))
        self.start(lambda: stream(role, 0.4, *says("a"), DONE), timeout=0.2)
        self.assertEqual(len(await self.items(body=STREAMED)), 4)

    async def test_notTooLate(self) -> None:
        """A tool is told before it gives up by itself."""
        self.assertLess(pass_through.MAX_FIRST_TIMEOUT, 300.0)
        self.patch(pass_through, "MAX_FIRST_TIMEOUT", 0.2)
        await self.assertTimesOut(HANG)


class CancelTests(PolledTestCase):
    """Requests that are cancelled."""

    async def assertDisconnects(self, cancel: Callable[[], object]) -> None:
        cancel()
        self.assertLess(await turns_until(lambda: self.peer.open == 0), AT_ONCE)

    async def test_whileWaiting(self) -> None:
        """A request that is cancelled closes its connection at once, whatever it waits for."""
        scripts: tuple[list[Step], ...] = (
            [HANG],
            [head(200, {"Content-Length": "2"}), HANG],
            [head(200, {"Content-Length": "2"}) + b"{", HANG],
            [head(500, {"Content-Length": "2"}) + b"{", HANG],
            [*stream(HANG)],
            [*stream(*says("a"), HANG)],
        )
        for steps in scripts:
            self.start(lambda: iter(steps))  # noqa: B023
            work = Deferred.fromCoroutine(self.items(body=STREAMED))
            await until(lambda: self.peer.requests)
            await deferLater(reactor, 0.03)
            await self.assertDisconnects(work.cancel)
            with self.assertRaises(CancelledError):
                await work

    async def test_whileSending(self) -> None:
        """So does one whose body the server does not read."""
        self.start(lambda: iter([HANG]))
        work = Deferred.fromCoroutine(self.items(body=b'{"x": "' + b"x" * 10_000_000 + b'"}'))
        await until(lambda: self.peer.open)
        await self.assertDisconnects(work.cancel)
        with self.assertRaises(CancelledError):
            await work

    async def test_closed(self) -> None:
        """A response that is not read on is closed at once."""
        for script in (lambda: endless(data(chunk("x" * 1000))), lambda: stream(*says("a"), HANG)):
            self.start(script)
            items = self.robot.call(self.request(body=STREAMED))
            for _ in range(2):
                await anext(items)
            await self.assertDisconnects(lambda: Deferred.fromCoroutine(items.aclose()))  # noqa: B023

    async def test_heldBack(self) -> None:
        """A server is held back while nobody reads its response."""
        self.start(lambda: endless(data(chunk("x" * 1000))))
        async with aclosing(self.robot.call(self.request(body=STREAMED))) as items:
            for _ in range(2):
                await anext(items)
            sent = await self.peer.stopped_sending()
            self.assertLess(sent, 20_000_000)
        await until(lambda: self.peer.open == 0)


class GuardTests(ApiTestCase):
    """A robot behind a queue and a circuit breaker."""

    def guarded(self, limit: int = 1) -> IApiRobot:
        return cast(IApiRobot, guard(cast(IApiRobot, self.robot), FairQueue(limit), CircuitBreaker(lambda: 0.0)))

    async def test_errorsOfRequests(self) -> None:
        """Errors that the server reports do not keep other requests from it."""
        for status in (400, 404, 429, 500, 503):
            self.start(lambda: whole(b"{}", status, Retry_After="60"))  # noqa: B023
            robot = self.guarded()
            for _ in range(5):
                [top, _piece] = [item async for item in robot.call(self.request())]
                self.assertEqual(cast(Head, top).status, status)

    async def test_down(self) -> None:
        """A server that is down is not asked for a while."""
        self.start(lambda: iter([RESET]))
        robot = self.guarded()
        for _ in range(5):
            with self.assertRaises(RobotError):
                await anext(robot.call(self.request()))
        self.assertEqual(len(self.peer.requests), 3)


def stream_with_status(status: int, *steps: bytes) -> Script:
    body = b"".join(steps)
    yield head(status, {"Content-Type": SSE, "Content-Length": str(len(body))}) + body


def endless(step: bytes) -> Iterator[Step]:
    yield head(200, {"Content-Type": SSE})
    while True:
        yield step
        yield 0.0

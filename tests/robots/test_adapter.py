"""API requests to robots that only know conversations."""

import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from securechat.calls.requests import Access, ApiCall, Request, examine
from securechat.conversation import Conversation, Notice, Speaker, Turn, Upstream
from securechat.errors import Fault, RobotError
from securechat.robots.adapter import ChatAdapter, as_api_robot
from securechat.robots.echo import EchoRobot
from securechat.robots.eliza.robot import ElizaRobot
from securechat.robots.fallback import FallbackRobot
from securechat.robots.interface import IApiRobot, IRobot
from securechat.wire.items import Head, Piece, ServerEvent
from tests.harness.robot import ApiPuppet, PuppetRobot

MAX_REPLY = 10_000  # bytes
CHAT = "chat/completions"

Items = list[Head | Piece | ServerEvent]


@implementer(IRobot)
class FixedRobot:
    """Gives the same chunks each time, and then fails if it is told to. `conversations` are those it was given."""

    name = "fixed"

    def __init__(self, chunks: Sequence[str], error: Exception | None = None) -> None:
        self.chunks = chunks
        self.error = error
        self.conversations: list[Conversation] = []
        self.closed = 0

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        self.conversations.append(conversation)
        try:
            for chunk in self.chunks:
                yield chunk
            if self.error is not None:
                raise self.error
        finally:
            self.closed += 1

    def close(self) -> "Deferred[None]":
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done


class AdapterTestCase(SynchronousTestCase):
    """Requests to an adapter, and the items that it yields."""

    def adapter(self, robot: object) -> IApiRobot:
        return as_api_robot(cast(IRobot, robot), MAX_REPLY)

    def call(self, path: str, body: bytes = b"", upstream: Upstream | None = None) -> ApiCall:
        request = examine(path, body, Access(True, None))
        assert isinstance(request, Request)
        return ApiCall(request, "user", "lane", upstream)

    def begin(self, robot: object, path: str, body: bytes = b"") -> "tuple[Items, Deferred[None]]":
        """The items so far, and what fires at the end."""
        return self.read(robot, self.call(path, body))

    def read(self, robot: object, call: ApiCall) -> "tuple[Items, Deferred[None]]":
        items: Items = []

        async def read() -> None:
            async with aclosing(self.adapter(robot).call(call)) as stream:
                async for item in stream:
                    items.append(item)

        return items, Deferred.fromCoroutine(read())

    def get(self, robot: object, path: str, body: bytes = b"") -> Items:
        items, done = self.begin(robot, path, body)
        self.successResultOf(done)
        return items

    def whole(self, items: Items) -> tuple[int, Any]:
        """The status and the JSON of a response that is not a stream."""
        head, *pieces = items
        assert isinstance(head, Head)
        self.assertEqual((head.content_type, head.is_stream), ("application/json", False))
        return head.status, json.loads(b"".join(cast(Piece, piece).data for piece in pieces))

    def error(self, items: Items) -> tuple[int, str, str | None]:
        """Status, message and parameter of an error."""
        status, body = self.whole(items)
        self.assertEqual(body.keys(), {"error"})
        error = body["error"]
        self.assertEqual(error.keys(), {"message", "type", "param", "code"})
        return status, error["message"], error["param"]

    def chunks(self, items: Items) -> list[dict[str, Any]]:
        """The chunks of a stream, which ends as it has to."""
        head, *events = items
        self.assertEqual(head, Head(200, "text/event-stream"))
        self.assertTrue(all(isinstance(event, ServerEvent) and not event.name for event in events))
        datas = [cast(ServerEvent, event).data for event in events]
        self.assertEqual(datas[-1], b"[DONE]")
        return [json.loads(data) for data in datas[:-1]]


def body(*contents: Any, **more: Any) -> bytes:
    """A request: messages of the user, or such as they are given."""
    messages = [content if isinstance(content, dict) else {"role": "user", "content": content} for content in contents]
    return json.dumps({"model": "gpt-4o", "messages": messages, **more}).encode()


class RobotTests(AdapterTestCase):
    """An adapter as a robot."""

    def test_interface(self) -> None:
        """It is a robot like any other, with the name of the one behind it."""
        robot = PuppetRobot(echo=True)
        adapter = self.adapter(robot)
        verifyObject(IApiRobot, adapter)
        self.assertEqual((adapter.name, adapter.models), ("puppet", None))
        self.successResultOf(adapter.close())
        self.assertEqual(robot.closed, 1)
        reply = adapter.reply(Conversation("user", [Turn(Speaker.USER, "hello")]))
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(anext(reply))), "hello")

    def test_robotsThatNeedNone(self) -> None:
        """A robot that answers requests itself is not wrapped; a chain is, whatever is in it."""
        robot = ApiPuppet()
        self.assertIs(self.adapter(robot), robot)
        self.assertIsInstance(self.adapter(FallbackRobot([cast(IRobot, robot)])), ChatAdapter)

    def test_models(self) -> None:
        """The list of models has the robot's name; another model does not exist."""
        model = {"id": "echo", "object": "model", "created": 0, "owned_by": "securechat"}
        robot = EchoRobot()
        self.assertEqual(self.whole(self.get(robot, "models")), (200, {"object": "list", "data": [model]}))
        self.assertEqual(self.whole(self.get(robot, "models/echo")), (200, model))
        self.assertEqual(self.error(self.get(robot, "models/a/b")), (404, "no such model; there is echo", "model"))

    def test_otherPaths(self) -> None:
        """Other parts of the API do not exist."""
        robot = FixedRobot(["x"])
        for path in ("completions", "embeddings", "responses"):
            status, message, _param = self.error(self.get(robot, path, b"{}"))
            self.assertEqual((status, message), (404, "this robot only knows chat/completions"))
        self.assertEqual(robot.conversations, [])


class WholeTests(AdapterTestCase):
    """Replies in one piece."""

    def test_completion(self) -> None:
        """The response has all that clients expect, with estimates of the tokens."""
        before = int(time.time())
        status, reply = self.whole(self.get(FixedRobot(["Hel", "", "lo"]), CHAT, body("12345678")))
        self.assertEqual(status, 200)
        self.assertRegex(reply.pop("id"), "^chatcmpl-[0-9a-f]{24}$")
        self.assertTrue(before <= reply.pop("created") <= time.time())
        self.assertEqual(
            reply,
            {
                "object": "chat.completion",
                "model": "fixed",
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
                ],
                "usage": {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4},
            },
        )

    def test_everyRobot(self) -> None:
        """Eliza and a chain answer as they do in a conversation."""
        _status, reply = self.whole(self.get(ElizaRobot(), CHAT, body("my name is Ada")))
        self.assertTrue(reply["choices"][0]["message"]["content"])
        failing = FixedRobot([], RobotError(Fault.UNREACHABLE, "down"))
        chain = FallbackRobot([cast(IRobot, failing), cast(IRobot, EchoRobot())])
        _status, reply = self.whole(self.get(chain, CHAT, body("hello")))
        self.assertEqual(
            reply["choices"][0]["message"]["content"], "[fixed cannot be reached; echo answers instead]\nhello"
        )

    def test_faults(self) -> None:
        """A fault leaves no part of a response, so that it has a status of its own."""
        for chunks in ([], ["x"], ["x" * 5000]):
            items, done = self.begin(FixedRobot(chunks, RobotError(Fault.BUSY, "full")), CHAT, body("x"))
            self.assertEqual(self.failureResultOf(done, RobotError).value.fault, Fault.BUSY)
            self.assertEqual(items, [])

    def test_tooLong(self) -> None:
        """A reply that is longer than the server allows is not collected."""
        robot = FixedRobot(["x" * 4000] * 1000)
        items, done = self.begin(robot, CHAT, body("x"))
        self.assertEqual(self.failureResultOf(done, RobotError).value.fault, Fault.TOO_LONG)
        self.assertEqual((items, robot.closed), ([], 1))
        self.get(FixedRobot(["x" * MAX_REPLY]), CHAT, body("x"))

    def test_limit(self) -> None:
        """A limit on tokens stops the robot; characters are not cut."""
        for name in ("max_tokens", "max_completion_tokens"):
            robot = FixedRobot(["é", "éé", "never"])
            _status, reply = self.whole(self.get(robot, CHAT, body("x", **{name: 1})))
            [choice] = reply["choices"]
            self.assertEqual((choice["message"]["content"], choice["finish_reason"]), ("éé", "length"))
            self.assertEqual(robot.closed, 1)
        self.get(FixedRobot(["éé", "x"], ValueError("read on")), CHAT, body("x", max_tokens=1))
        _status, reply = self.whole(self.get(FixedRobot(["abcd"]), CHAT, body("x", max_tokens=1)))
        self.assertEqual(reply["choices"][0]["finish_reason"], "stop")
        _status, reply = self.whole(self.get(FixedRobot(["aé"]), CHAT, body("x", max_tokens=1)))
        self.assertEqual(reply["choices"][0]["message"]["content"], "aé")
        _status, reply = self.whole(self.get(FixedRobot(["abcé"]), CHAT, body("x", max_tokens=1)))
        self.assertEqual(reply["choices"][0]["message"]["content"], "abc")

    def test_halfCharacters(self) -> None:
        """Half of a surrogate pair, which JSON cannot have, does no harm."""
        _status, reply = self.whole(self.get(FixedRobot(["a\ud800b"]), CHAT, body("x")))
        self.assertEqual(reply["choices"][0]["message"]["content"], "a?b")


class StreamTests(AdapterTestCase):
    """Replies in chunks."""

    def test_stream(self) -> None:
        """Role, chunks and finish reason, each in an event with the fields that clients expect, then [DONE]."""
        chunks = self.chunks(self.get(FixedRobot(["Hel", "", "lo"]), CHAT, body("x", stream=True)))
        for chunk in chunks:
            self.assertEqual((chunk["object"], chunk["model"]), ("chat.completion.chunk", "fixed"))
            self.assertEqual((chunk["id"], chunk["created"]), (chunks[0]["id"], chunks[0]["created"]))
            self.assertEqual(chunk.keys(), {"id", "object", "created", "model", "choices"})
        self.assertEqual(
            [chunk["choices"] for chunk in chunks],
            [
                [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
                [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}],
                [{"index": 0, "delta": {"content": "lo"}, "finish_reason": None}],
                [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            ],
        )

    def test_usage(self) -> None:
        """Usage is sent if it is asked for, in a chunk of its own before [DONE]."""
        options = {"include_usage": True}
        *_rest, last = self.chunks(
            self.get(FixedRobot(["a" * 40]), CHAT, body("x", stream=True, stream_options=options))
        )
        self.assertEqual(last["choices"], [])
        self.assertEqual(last["usage"], {"prompt_tokens": 1, "completion_tokens": 10, "total_tokens": 11})
        for none in ({}, None, {"include_usage": False}, {"include_usage": None, "x": 1}):
            chunks = self.chunks(self.get(FixedRobot(["a"]), CHAT, body("x", stream=True, stream_options=none)))
            self.assertFalse(any("usage" in chunk for chunk in chunks))

    def test_noText(self) -> None:
        """A reply without text is a complete stream."""
        for texts in ([], [""]):
            chunks = self.chunks(self.get(FixedRobot(texts), CHAT, body("x", stream=True)))
            self.assertEqual(len(chunks), 2)

    def test_limit(self) -> None:
        """A stream that reaches its limit says so."""
        robot = FixedRobot(["ab", "cdef", "never"])
        *_rest, part, last = self.chunks(self.get(robot, CHAT, body("x", stream=True, max_tokens=1)))
        self.assertEqual(part["choices"][0]["delta"], {"content": "cd"})
        self.assertEqual(last["choices"][0]["finish_reason"], "length")
        self.assertEqual(robot.closed, 1)

    def test_faults(self) -> None:
        """Before the first text a fault leaves no head; after it neither a finish reason nor [DONE]."""
        error = RobotError(Fault.BROKEN_ANSWER, "x")
        items, done = self.begin(FixedRobot([], error), CHAT, body("x", stream=True))
        self.failureResultOf(done, RobotError)
        self.assertEqual(items, [])
        items, done = self.begin(FixedRobot(["a"], error), CHAT, body("x", stream=True))
        self.failureResultOf(done, RobotError)
        self.assertEqual(len(items), 3)

    def test_asItComes(self) -> None:
        """Each chunk is an event as soon as there is one."""
        robot = PuppetRobot()
        items, _done = self.begin(robot, CHAT, body("x", stream=True))
        self.assertEqual(items, [])
        robot.say("a")
        self.assertEqual(len(items), 3)
        robot.say("b")
        self.assertEqual(len(items), 4)

    def test_cancel(self) -> None:
        """A response that is cancelled stops the robot at once."""
        for stream in (False, True):
            robot = PuppetRobot()
            _items, done = self.begin(robot, CHAT, body("x", stream=stream))
            robot.say("a")
            done.cancel()
            self.failureResultOf(done, CancelledError)
            self.assertEqual(robot.cancelled, 1)

    def test_close(self) -> None:
        """One that is not read to its end closes the robot's reply."""
        robot = FixedRobot(["a", "b"])
        stream = self.adapter(robot).call(self.call(CHAT, body("x", stream=True)))
        self.successResultOf(Deferred.fromCoroutine(anext(stream)))
        self.assertEqual(robot.closed, 0)
        self.successResultOf(Deferred.fromCoroutine(stream.aclose()))
        self.assertEqual(robot.closed, 1)


class MessageTests(AdapterTestCase):
    """Messages as a conversation."""

    def turns(self, *messages: Any) -> list[tuple[str, str]]:
        robot = FixedRobot(["x"])
        self.whole(self.get(robot, CHAT, body(*messages)))
        [conversation] = robot.conversations
        return [(turn.speaker.value, turn.text) for turn in conversation.turns]

    def test_roles(self) -> None:
        """All but the assistant's messages are the user's; a turn in which it only called tools is left out."""
        self.assertEqual(
            self.turns(
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": "Be kind."},
                "hello",
                {"role": "assistant", "content": "hi", "name": "x"},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                {"role": "tool", "content": "42", "tool_call_id": "1"},
            ),
            [("user", "Be brief."), ("user", "Be kind."), ("user", "hello"), ("robot", "hi"), ("user", "42")],
        )

    def test_parts(self) -> None:
        """A message may have several parts, each on a line of its own, and may be empty."""
        parts = [{"type": "text", "text": "one"}, {"type": "input_text", "text": "two"}]
        self.assertEqual(self.turns(parts), [("user", "one\ntwo")])
        self.assertEqual(self.turns(""), [("user", "")])
        self.assertEqual(self.turns([]), [("user", "")])

    def test_conversation(self) -> None:
        """The robot gets the user's pseudonym and place, and reads its server when the session does."""
        robot = FixedRobot(["x"])
        upstream = Upstream()
        stream = self.adapter(robot).call(self.call(CHAT, body("x"), upstream))
        self.successResultOf(Deferred.fromCoroutine(anext(stream)))
        [conversation] = robot.conversations
        self.assertEqual((conversation.user_id, conversation.queue_key), ("user", "lane"))
        self.assertIs(conversation.upstream, upstream)

    def test_invalid(self) -> None:
        """A request that cannot be answered is refused with what is wrong, and the robot is not asked."""
        image = [{"type": "image_url", "image_url": {"url": "x"}}]
        requests: list[tuple[bytes, str, str]] = [
            (b"{}", "messages", "expected at least one"),
            (body(), "messages", "expected at least one"),
            (b'{"messages": null}', "messages", "expected at least one"),
            (b'{"messages": "x"}', "messages", "got `str`"),
            (b'{"messages": [1]}', "messages", r"got `int` - at `messages\[0\]`"),
            (b'{"messages": [{"content": "x"}]}', "messages", r"required field `role` - at `messages\[0\]`"),
            (body({"role": "robot", "content": "x"}), "messages", r"at `messages\[0\]\.role`"),
            (body({"role": "r" * 1000, "content": "x"}), "messages", "Invalid enum value"),
            (body({"role": "user", "content": 1}), "messages", r"at `messages\[0\]\.content`"),
            (body("x", {"role": "assistant", "content": "y"}), "messages", "the last one has to be the user's"),
            (body(image), "messages", r"\[0\]: this robot reads text only"),
            (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "messages", "truncated"),
            (body("x", n=2), "n", "this robot gives one reply"),
            (body("x", n="1"), "n", "got `str`"),
            (body("x", stream=1), "stream", "got `int`"),
            (body("x", stream_options=[]), "stream_options", "got `array`"),
            (body("x", max_tokens=0), "max_tokens", ">= 1"),
            (body("x", max_completion_tokens=-1), "max_completion_tokens", ">= 1"),
            (b'{"messages": ' + b"[" * 900 + b"]" * 900 + b"}", "messages", "got `array`"),
        ]
        robot = FixedRobot(["x"])
        for request, param, pattern in requests:
            status, message, found = self.error(self.get(robot, CHAT, request))
            self.assertEqual((status, found), (400, param), request)
            self.assertRegex(message, f"^{param}.*{pattern}")
            self.assertLess(len(message), 300)
        self.assertEqual(robot.conversations, [])

    def test_nested(self) -> None:
        """Nesting that one parser just accepts is too deep for the other at worst."""
        for depth in range(800, 1000, 3):
            request = b'{"messages": [{"role": "user", "x": %b}]}' % (b"[" * depth + b"]" * depth)
            accepted = examine(CHAT, request, Access(True, None))
            if isinstance(accepted, Request):
                items, done = self.read(FixedRobot(["x"]), ApiCall(accepted, "user", "lane", None))
                self.successResultOf(done)
                self.assertIn(self.whole(items)[0], (200, 400))

    def test_ignored(self) -> None:
        """Keys that no robot here knows do no harm, nor do those that say nothing."""
        more = {"temperature": 2, "tools": [{}], "n": 1, "stop": ["x"], "user": "ada", "max_tokens": None}
        self.assertEqual(self.whole(self.get(FixedRobot(["x"]), CHAT, body("x", stream=False, **more)))[0], 200)

    @given(st.lists(st.text(max_size=30), max_size=10), st.none() | st.integers(1, 40))
    def test_anyReply(self, texts: list[str], limit: int | None) -> None:
        """A stream has the same text as the whole reply: the beginning of what the robot says, up to the limit."""
        robot = FixedRobot(texts)
        chunks = self.chunks(self.get(robot, CHAT, body("x", stream=True, max_tokens=limit)))
        _status, reply = self.whole(self.get(robot, CHAT, body("x", max_tokens=limit)))
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        [choice] = reply["choices"]
        self.assertEqual(
            (text, chunks[-1]["choices"][0]["finish_reason"]),
            (choice["message"]["content"], choice["finish_reason"]),
        )
        said = "".join(texts)
        self.assertTrue(said.startswith(text))
        self.assertEqual(text == said, choice["finish_reason"] == "stop")
        if limit is not None:
            self.assertLessEqual(len(text.encode()), 4 * limit)

    def test_notices(self) -> None:
        """What a robot says about a reply is shown."""
        _status, reply = self.whole(self.get(FixedRobot([Notice("[note]\n"), "x"]), CHAT, body("x")))
        self.assertEqual(reply["choices"][0]["message"]["content"], "[note]\nx")

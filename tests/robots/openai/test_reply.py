"""Requests and responses as bytes, without a server."""

import json
import unittest.mock
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.conversation import Speaker, Turn
from securechat.errors import Fault, RobotError
from securechat.robots.openai import json_lines
from securechat.robots.openai import reply as replies
from securechat.robots.openai.chunks import plain_text
from securechat.robots.openai.models import models_in
from securechat.robots.openai.reply import Reply
from securechat.robots.openai.requests import request
from tests.harness.openai_peer import chunk, data
from tests.harness.streams import cut, read
from tests.robots.openai.test_sse import PLACES

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("\ud83d"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "finish_reason",
                    "error",
                    "index",
                    "text",
                    "done",
                    "reasoning",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=5,
)


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    ["a", "<think>", " ", "\ud83d", "", 0, 1, 0.0, False, None, "0", "stop", "error", [], {}, ["a"]]
)


@st.composite
def near_plain_chunks(draw: st.DrawFn) -> bytes:
    """Chunks in the form that nearly all have, or one that is similar, in a stream."""
    fields = {"role": VALUES, "content": VALUES, "refusal": VALUES, "reasoning": VALUES}
    delta = draw(st.fixed_dictionaries({}, optional=fields) | VALUES)
    fields = {"index": VALUES, "finish_reason": VALUES, "finishReason": VALUES, "error": VALUES, "text": VALUES}
    choice = {"delta": delta, **draw(st.fixed_dictionaries({}, optional=fields))}
    choices = draw(st.lists(st.just(choice) | VALUES, max_size=2) | st.just([choice]))
    fields = {"object": VALUES | st.just("chat.completion.chunk"), "type": VALUES, "error": VALUES, "message": VALUES}
    text = json.dumps({"choices": choices, **draw(st.fixed_dictionaries({}, optional=fields))})
    place, other = draw(st.integers(0, len(text))), draw(st.sampled_from(["", "", "", ",", "}", '"', "\\", "0", "NaN"]))
    return b"data: " + (text[:place] + other + text[place + len(other) :]).encode() + b"\n\n"


BODIES = st.lists(
    st.one_of(
        st.binary(max_size=8),
        JSON.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n"),
        JSON.map(lambda value: json.dumps(value).encode()),
        st.text(max_size=5).map(lambda text: data(chunk(text.encode(errors="replace").decode()))),
        st.sampled_from(
            ["<think>", "</think>", "<thi", "<answer>", "</ans", "<|channel|>", "<|message|>", "\ud83d", "\ude00"]
        ).map(lambda text: b"data: " + json.dumps(chunk(text)).encode() + b"\n\n"),
        st.sampled_from([data("[DONE]"), data(chunk(finish="stop")), b"error: {}\n", b":\n", b"\n"]),
    ),
    max_size=6,
).map(b"".join)


class ReplyTests(SynchronousTestCase):
    """The bodies of responses."""

    def test_tooLarge(self) -> None:
        """The size of a response that is not streamed is limited."""
        self.patch(json_lines, "MAX_VALUE", 100)
        whole = json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}).encode()
        self.assertEqual(read(whole), ("x", "well"))
        self.assertEqual(read(whole, b" " * 100), ("", "BROKEN_ANSWER: the response is too large"))

    def test_leadingBytes(self) -> None:
        """White space and a byte order mark before a response are ignored."""
        whole = json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}).encode()
        for pieces in ((b"\r\n \xef\xbb\xbf" + whole,), (b"\xef", b"\xbb", b"\xbf", b"\n", whole)):
            self.assertEqual(read(*pieces), ("x", "well"))

    def test_errorThatIsNoJson(self) -> None:
        """An error line or event need not contain JSON."""
        for body in (b"error: out of memory\n", b"event: error\ndata: {oops\n\n"):
            self.assertEqual(read(body), ("", "BROKEN_ANSWER: the server reported an error"))

    def test_afterDone(self) -> None:
        """Anything after [DONE] is ignored."""
        good = data(chunk("x", "stop")) + data("[DONE]")
        for rest in (b"data: {", b"data: {\n\n", b"error: x\n\n", b"x" * 2_000_000, data("[DONE]")):
            for pieces in ((good, rest), (good + rest,)):
                self.assertEqual(read(*pieces), ("x", "well"))


def chunks(*contents: Any) -> bytes:
    return b"".join(data(chunk(content)) for content in contents)


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


STOP = data(chunk(finish="stop"))
DONE = data("[DONE]")
LENGTH = "\n[The reply has reached its maximum length. You can ask the robot to continue.]"
NO_REASON = "\n[The reply may be incomplete: the server did not say why it ended.]"
OTHER_REASON = '\n[The reply may be incomplete: the server ended it with the reason "banana".]'
REASONING = "[The server sent this reply as the model's reasoning.]\n"


class EndTests(SynchronousTestCase):
    """Whether a reply is whole."""

    def test_finishReasons(self) -> None:
        """The finish reasons of many servers are understood; unknown ones are shown to the user."""
        for finish, text, end in (
            ("STOP", "ab", "well"),
            ("eos_token", "ab", "well"),
            ("MAX_TOKENS", "ab" + LENGTH, "well"),
            ("banana", "ab" + OTHER_REASON, "well"),
            ("SAFETY", "ab", "REFUSED: a content filter stopped the reply"),
            ("insufficient_system_resource", "ab", "BUSY: the server aborted the reply"),
            ("network_error", "ab", "BROKEN_ANSWER: the server aborted the reply"),
            ("null", "ab" + NO_REASON, "well"),
        ):
            self.assertEqual(read(chunks("a", "b"), data(chunk("", finish)), DONE), (text, end), finish)
        camel = {"choices": [{"delta": {}, "finishReason": "stop"}]}
        self.assertEqual(read(chunks("a"), data(camel), DONE), ("a", "well"))

    def test_finishReasonInEachChunk(self) -> None:
        """A finish reason after which the reply goes on does not make it complete, as the last one does."""
        every = b"".join(data(chunk(text, "stop")) for text in "abc")
        self.assertEqual(read(every, DONE), ("abc", "well"))
        self.assertEqual(read(every), ("abc", "well"))
        reply = Reply()
        for body, complete in ((chunks("a"), False), (STOP, True), (STOP, True), (chunks("b"), False), (STOP, False)):
            list(reply.feed(body))
            self.assertEqual(reply.is_complete, complete)
        list(reply.feed(DONE))
        self.assertTrue(reply.is_complete)

    def test_wholeWithoutFinishReason(self) -> None:
        """A reply that is one JSON object is whole without a finish reason; a stream is not."""
        whole = {"choices": [{"message": {"content": "a"}, "finish_reason": None}]}
        self.assertEqual(read(json.dumps(whole).encode()), ("a", "well"))
        self.assertEqual(read(json.dumps(whole, indent=2).encode()), ("a", "well"))
        self.assertEqual(read(lines({"choices": [{"text": "a"}]})), ("a", "well"))
        self.assertEqual(read(lines(chunk("a"))), ("a", "BROKEN_ANSWER: the reply was truncated"))
        self.assertEqual(read(chunks("a")), ("a", "BROKEN_ANSWER: the reply was truncated"))
        self.assertEqual(read(data(whole)), ("a", "BROKEN_ANSWER: the reply was truncated"))

    def test_onlyReasoning(self) -> None:
        """A reply that was sent in a field for reasoning is shown, if it is whole and not too long."""
        twice = {"reasoning_content": "9.9 is ", "reasoning": "9.9 is "}
        thought = data(chunk(**twice)) + data(chunk(thinking="more."))
        self.assertEqual(read(thought, STOP, DONE), (REASONING + "9.9 is more.", "well"))
        whole = {"choices": [{"message": {"content": None, "reasoning": "a\ud83d"}, "finish_reason": "stop"}]}
        self.assertEqual(read(json.dumps(whole).encode()), (REASONING + "a\ufffd", "well"))
        self.assertEqual(read(thought, chunks("a"), STOP), ("a", "well"))
        self.assertEqual(
            read(thought, data(chunk(finish="length"))),
            ("", "TOO_LONG: the maximum length was reached before the reply began"),
        )
        only = ("", "BROKEN_ANSWER: the reply contains only reasoning")
        self.assertEqual(read(thought, data(chunk(finish="banana"))), only)
        self.assertEqual(read(chunks("<think>a</think>"), STOP), only)
        self.patch(replies, "MAX_REASONING", 5)
        self.assertEqual(read(thought, STOP), only)
        self.assertEqual(read(STOP), ("", "BROKEN_ANSWER: the reply is empty"))


class FormatTests(SynchronousTestCase):
    """The formats of servers."""

    def assertRead(self, text: str, *bodies: bytes) -> None:
        for body in bodies:
            self.assertEqual(read(body), (text, "well"), body)
            self.assertEqual(read(*(bytes([byte]) for byte in body)), (text, "well"), body)

    def test_eventStreams(self) -> None:
        """Events may follow each other without a blank line, and their fields may be written in unusual ways."""
        good = chunks("汉", "字") + STOP + DONE
        for old, new in (
            (b"\n\n", b"\n"),
            (b"\n\n", b"\r\n"),
            (b"data: ", b"data:"),
            (b"data: ", b"data:   "),
            (b"data: ", b"data: data: "),
            (b"data: ", b"DATA: "),
            (b"data: ", b"  data: "),
            (b"data: ", b"event: chunk\nid: 1\ndata: "),
            (b"[DONE]", b" [done] "),
            (DONE, b"event: done\ndata: {}\n\n"),
            (DONE, b""),
            (DONE[2:], b""),
        ):
            self.assertRead("汉字", good.replace(old, new))
        self.assertRead("汉字", good.replace(b"\n\n", b"\n").replace(DONE.strip(), b""))

    def test_otherEvents(self) -> None:
        """Events that are neither chunks nor errors do not matter."""
        for event in (
            b"data: ping\n\n",
            b"data: \n\n",
            b"data: 7\n\n",
            data({"type": "ping"}),
            data({"status": "queued", "message": "waiting for a slot"}),
            b"event: status\n" + data({"status": "queued", "message": "waiting"}),
            data({"choices": [], "prompt_filter_results": [{}]}),
            data({"choices": [{"index": 0, "content_filter_offsets": {}, "finish_reason": None}]}),
        ):
            self.assertRead("ab", event + chunks("a") + event + chunks("b") + STOP + event + DONE)

    def test_jsonLines(self) -> None:
        """Chunks may be lines of JSON, also in the format of Ollama's own API."""
        ends = {"done": True, "done_reason": "stop"}
        chats = [{"message": {"role": "assistant", "content": text}, "done": False} for text in "ab"]
        self.assertRead(
            "ab",
            lines(*chats, ends),
            lines(*chats, {"message": {"content": ""}, "done": True}),
            lines({"response": "a"}, {"response": "b"}, ends),
            lines(chunk("a"), chunk("b", "stop")),
            lines(chunk("a"), chunk("b", "stop"))[:-1],
            b"\n \n" + lines(chunk("a")) + b"\n\r\n" + lines(chunk("b", "stop")),
            lines([chunk("a"), chunk("b", "stop")]),
        )
        self.assertEqual(read(lines(*chats)), ("ab", "BROKEN_ANSWER: the reply was truncated"))
        self.assertEqual(read(lines(*chats, {"done": True, "done_reason": "length"})), ("ab" + LENGTH, "well"))
        self.assertEqual(read(lines(chats[0], {"error": "x"}))[0], "a")
        self.assertEqual(read(lines(chats[0], ends)[:-9]), ("a", "BROKEN_ANSWER: the response is not valid JSON"))

    def test_jsonLinesAreNotHeldBack(self) -> None:
        """Each line is shown when it is complete."""
        reply = Reply()
        shown = [list(reply.feed(lines(chunk(text)))) for text in "xy"]
        self.assertEqual(shown, [["x"], ["y"]])

    def test_contents(self) -> None:
        """A content may be a string, a part, or a list of parts of several types."""
        for content in (
            "ab",
            ["a", "b"],
            {"type": "text", "text": "ab"},
            [{"type": "output_text", "text": "a"}, {"text": "b"}, {"type": "image", "text": "c"}, 7],
            [{"type": "text", "text": {"value": "ab"}}, {"type": "reasoning", "text": "c"}],
        ):
            self.assertRead("ab", data(chunk(content)) + STOP + DONE)
        self.assertRead(
            "ab",
            b"".join(data({"choices": [{"text": text}]}) for text in "ab") + STOP,
            b"".join(data({"choices": [{"delta": text}]}) for text in "ab") + STOP,
            b"".join(data({"choices": [{"index": "0", "delta": {"content": text}}]}) for text in "ab") + STOP,
        )

    def test_messagesInAStream(self) -> None:
        """A message in a stream contains the whole reply so far; it does not repeat what has been shown."""
        messages = [{"choices": [{"message": {"content": text}}]} for text in ("a", "ab", "abc")]
        self.assertRead("abc", b"".join(map(data, messages)) + STOP)
        both = [
            {"choices": [{"delta": {"content": text}, "message": {"content": whole}}]}
            for text, whole in ("aa", ("b", "ab"))
        ]
        whole = data({"choices": [{"delta": {}, "message": {"content": "ab"}, "finish_reason": "stop"}]})
        self.assertRead("ab", b"".join(map(data, both)) + whole, chunks("a", "b") + whole, whole)

    def test_errors(self) -> None:
        """Errors are recognized in events, choices, lines and objects without choices."""
        reported = "the server reported an error"
        for body, fault in (
            (data({"error": "x"}), f"BROKEN_ANSWER: {reported}"),
            (data({"error": {"code": 429, "message": "x"}}), f"BUSY: {reported} (429)"),
            (data({**chunk("", "error"), "error": {"code": 503}}), f"BUSY: {reported} (503)"),
            (data({"choices": [{"delta": {}, "error": {"code": 429}}]}), f"BUSY: {reported} (429)"),
            (data({"object": "error", "message": "x", "code": 400}), f"REFUSED: {reported} (400)"),
            (data({"detail": "x"}), f"BROKEN_ANSWER: {reported}"),
            (data({"code": 429, "msg": "x"}) + DONE, f"BUSY: {reported} (429)"),
            (b"event: Error\n" + data({"message": "x"}), f"BROKEN_ANSWER: {reported}"),
            (b"event: error\ndata: the prompt is too long\n\n", f"TOO_LONG: {reported}"),
            (b'{"error":{"code":429}}\n', f"BUSY: {reported} (429)"),
            (b'{"error":{"code":429}}', f"BUSY: {reported} (429)"),
            (b"Internal Server Error", "BROKEN_ANSWER: the reply was truncated"),
        ):
            self.assertEqual(read(chunks("a") + body), ("a", fault), body)
        for value, fault in (
            ({"code": 401, "msg": "token expired", "success": False}, "the API key was rejected (401)"),
            ([{"error": {"code": 401}}], "the API key was rejected (401)"),
        ):
            self.assertEqual(read(json.dumps(value).encode()), ("", f"REFUSED: {reported}: {fault}"))
        for body in (b'{"choices": []}', b'{"choices": [7]}'):
            self.assertEqual(read(body), ("", "BROKEN_ANSWER: the reply was truncated"))


class AnyBytesTests(SynchronousTestCase):
    """Arbitrary data."""

    @settings(max_examples=2000, deadline=None)
    @given(BODIES, PLACES)
    @example(b'{"choices": [' * 5000, [])
    @example(b'data: {"choices":' + b"[" * 100_000 + b"\n\n", [])
    @example(b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop","index":' + b"9" * 5000 + b"}]}", [9])
    def test_anySplit(self, body: bytes, places: list[int]) -> None:
        """A reply does not depend on how its body is split; only RobotErrors are raised; its text is valid Unicode."""
        whole = read(body)
        self.assertEqual(read(*cut(body, places)), whole)
        whole[0].encode()

    @settings(max_examples=2000, deadline=None)
    @given(st.lists(near_plain_chunks() | st.just(data(chunk("b"))), max_size=4).map(b"".join), st.booleans())
    @example(data({"choices": [{"delta": {"content": "a"}, "index": 0}, {"delta": {"content": "b"}}]}), True)
    @example(data({"choices": [{"delta": {"content": "a"}, "finishReason": "stop"}]}) + data(chunk("b")), True)
    @example(data({"choices": [{"delta": {"content": "a"}, "index": 1}]}), True)
    @example(data({"choices": [{"delta": {"content": "a"}}], "type": "error"}), True)
    @example(data({"choices": [{"delta": {"content": "a"}}], "object": "error"}), True)
    def test_plainForm(self, body: bytes, is_stream: bool) -> None:
        """Decoding chunks in the form that nearly all have gives the same as the code for all forms."""
        body = body if is_stream else body.replace(b"data: ", b"")

        def everything() -> tuple[object, ...]:
            reply = Reply()
            parts: list[str] = []
            try:
                for text in reply.feed(body):
                    parts.append(text)
            except RobotError as error:
                parts.append(str(error))
            return read(body), parts, reply.tokens, reply.is_done, reply.is_complete

        found = everything()
        with unittest.mock.patch.object(replies, "plain_text", return_value=""):
            self.assertEqual(found, everything())

    def test_plainText(self) -> None:
        """The chunks of servers have the plain form; those that say more do not."""
        plain: list[Any] = [chunk("a"), {"choices": [{"delta": {"content": "a"}}]}, {**chunk("a", ""), "usage": None}]
        others: list[Any] = [chunk(""), chunk("a", "stop"), {**chunk("a"), "error": {}}, {"choices": []}, {}, []]
        for value in plain:
            self.assertEqual(plain_text(json.dumps(value)), "a")
        for value in others:
            self.assertEqual(plain_text(json.dumps(value)), "")

    @settings(max_examples=500, deadline=None)
    @given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps({"data": value}).encode()))
    def test_anyListOfModels(self, body: bytes) -> None:
        """A list of models gives names or a RobotError."""
        try:
            models = models_in(body)
        except RobotError as error:
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)
        else:
            self.assertTrue(all(model.name for model in models))

    @settings(max_examples=500, deadline=None)
    @given(st.text(max_size=9), st.none() | st.text(max_size=5))
    def test_anyQuestion(self, text: str, system: str | None) -> None:
        """Any text can be sent."""
        asked = json.loads(request("m", [Turn(Speaker.USER, text)], system=system))
        self.assertEqual(asked["messages"][-1]["content"], text)

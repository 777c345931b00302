"""Requests and responses as bytes, without a server."""

import json

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.conversation import Speaker, Turn
from securechat.errors import Fault, RobotError
from securechat.robots.openai import messages as completions
from securechat.robots.openai.messages import model_names, request
from tests.harness.openai_peer import chunk, data
from tests.harness.streams import cut, read
from tests.robots.openai.test_sse import PLACES

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("\ud83d"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "message", "content", "finish_reason", "error", "index", "text"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=5,
)


BODIES = st.lists(
    st.one_of(
        st.binary(max_size=8),
        JSON.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n"),
        JSON.map(lambda value: json.dumps(value).encode()),
        st.text(max_size=5).map(lambda text: data(chunk(text.encode(errors="replace").decode()))),
        st.sampled_from(["<think>", "</think>", "<thi", "\ud83d", "\ude00"]).map(
            lambda text: b"data: " + json.dumps(chunk(text)).encode() + b"\n\n"
        ),
        st.sampled_from([data("[DONE]"), data(chunk(finish="stop")), b"error: {}\n", b":\n", b"\n"]),
    ),
    max_size=6,
).map(b"".join)


class ReplyTests(SynchronousTestCase):
    """The bodies of responses."""

    def test_tooLarge(self) -> None:
        """The size of a response that is not streamed is limited."""
        self.patch(completions, "MAX_WHOLE", 100)
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


class AnyBytesTests(SynchronousTestCase):
    """Arbitrary data."""

    @given(BODIES, PLACES)
    @example(b'{"choices": [' * 5000, [])
    @example(b'data: {"choices":' + b"[" * 100_000 + b"\n\n", [])
    @example(b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop","index":' + b"9" * 5000 + b"}]}", [9])
    def test_anySplit(self, body: bytes, places: list[int]) -> None:
        """A reply does not depend on how its body is split; only RobotErrors are raised; its text is valid Unicode."""
        whole = read(body)
        self.assertEqual(read(*cut(body, places)), whole)
        whole[0].encode()

    @given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps({"data": value}).encode()))
    def test_anyListOfModels(self, body: bytes) -> None:
        """A list of models gives names or a RobotError."""
        try:
            names = model_names(body)
        except RobotError as error:
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)
        else:
            self.assertTrue(all(isinstance(name, str) for name in names))

    @given(st.text(max_size=9), st.none() | st.text(max_size=5))
    def test_anyQuestion(self, text: str, system: str | None) -> None:
        """Any text can be sent."""
        asked = json.loads(request("m", [Turn(Speaker.USER, text)], system=system))
        self.assertEqual(asked["messages"][-1]["content"], text)

"""Server-Sent Events: the examples of the standard, and arbitrary bytes."""

import re

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.openai import sse
from securechat.robots.openai.sse import EventStream
from tests.harness.streams import cut, events, texts


class StandardTests(SynchronousTestCase):
    """Section 9.2 of the WHATWG HTML standard."""

    def test_theStandardsExamples(self) -> None:
        """The five examples of section 9.2.6 give the events in the standard."""
        self.assertEqual(
            events(
                b"data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\n"
            ),
            [
                ("message", "This is the first message."),
                ("message", "This is the second message, it\nhas two lines."),
            ],
        )
        self.assertEqual(
            events(b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n"),
            [("add", "73857293"), ("remove", "2153")],
        )
        self.assertEqual(
            events(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"),
            [("message", "first event"), ("message", "second event"), ("message", " third event")],
        )
        self.assertEqual(texts(b"data\n\ndata\ndata\n\ndata:"), ["", "\n"])
        self.assertEqual(texts(b"data:test\n\ndata: test\n\n"), ["test", "test"])

    def test_everyEndOfALine(self) -> None:
        """LF, CR and CRLF end a line, also if a CRLF is split; that does not create a blank line."""
        for end in (b"\n", b"\r", b"\r\n"):
            stream = b"data: a" + end + b"data: b" + end + end + b"data: c" + end + end
            for place in range(len(stream) + 1):
                self.assertEqual(texts(stream[:place], stream[place:]), ["a\nb", "c"], (end, place))
        self.assertEqual(texts(b"data: a\r", b"", b"\n", b"data: b\r\n\r", b"\n"), ["a\nb"])

    def test_byteOrderMark(self) -> None:
        """A byte order mark at the beginning is removed, also if it is split; others are not."""
        self.assertEqual(texts(b"\xef", b"\xbb", b"\xbfdata: a\n\n"), ["a"])
        self.assertEqual(texts(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n"), [])
        self.assertEqual(texts(b"data: b\n\n\xef\xbb\xbfdata: a\n\n"), ["b"])

    def test_characters(self) -> None:
        """Characters may be split; invalid UTF-8 is replaced."""
        stream = "data: 汉字😀\n\n".encode()
        self.assertEqual(texts(*(bytes([byte]) for byte in stream)), ["汉字😀"])
        self.assertEqual(texts(b"data: \xff\xe6\xb1\n\n"), ["\ufffd\ufffd"])

    def test_otherFields(self) -> None:
        """The fields id and retry and unknown fields are ignored."""
        self.assertEqual(events(b"id: 7\nid: 8\0\nretry: 100\ncolour: red\ndata:x\n\n"), [("message", "x")])

    def test_comments(self) -> None:
        """Comments are ignored, and do not end an event."""
        self.assertEqual(texts(b":\n\n: ping\n\n", b"data: a\n:\ndata: b\n\n:\n\n"), ["a\nb"])

    def test_unterminated(self) -> None:
        """An event without a blank line after it is discarded, except [DONE]."""
        self.assertEqual(texts(b"data: a\n\ndata: b\n"), ["a"])
        self.assertEqual(texts(b"data: a\n\ndata: b"), ["a"])
        for end in (b"", b"\n", b"\r"):
            self.assertEqual(texts(b"data: a\n\ndata: [DONE]" + end), ["a", "[DONE]"])
        self.assertEqual(texts(b"data: a\n\ndata:[DONE"), ["a"])
        self.assertEqual(texts(b"data: a\ndata: [DONE]"), [])

    def test_errorLine(self) -> None:
        """A line ``error: …`` is an event of its own."""
        stream = EventStream()
        found = [*stream.feed(b'data: a\nerror: {"code":500}\n')]
        self.assertEqual([(event.type, event.data) for event in found], [("error", '{"code":500}')])

    def test_repr(self) -> None:
        """The data of an event is not part of its repr."""
        [event] = EventStream().feed(b"data: secret\n\n")
        self.assertNotIn("secret", repr(event))


class LimitTests(SynchronousTestCase):
    """Limits."""

    def setUp(self) -> None:
        self.patch(sse, "MAX_LINE", 20)
        self.patch(sse, "MAX_EVENT", 60)

    def test_line(self) -> None:
        """Lines have a maximum length, whether complete or not, comments included."""
        for line in (b"data: " + b"x" * 14, b":" * 20):
            self.assertNotIn("BROKEN_ANSWER", events(line + b"\n\n"))
            for end in (b"", b"\n"):
                self.assertEqual(events(line + b"x" + end), ["BROKEN_ANSWER"])
                self.assertEqual(events(*(bytes([byte]) for byte in line + b"x" + end)), ["BROKEN_ANSWER"])

    def test_event(self) -> None:
        """Events have a maximum size."""
        whole = b"data: 789\n" * 6 + b"data: " + b"\n"
        self.assertEqual(len(events(whole + b"\n" + whole + b"\n")), 2)
        self.assertEqual(events(whole + b"data:\n"), ["BROKEN_ANSWER"])

    def test_error(self) -> None:
        """The error says which limit was exceeded."""
        for data, words in ((b"x" * 21, "a line"), (b"data: 789\n" * 8, "an event")):
            error = self.assertRaises(RobotError, list, EventStream().feed(data))
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)
            self.assertIn(words, str(error))


LINES = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [b"data", b"data:", b"data: ", b"event:", b"id:", b"retry:", b":", b"error: ", b"[DONE]", b"\xef\xbb\xbf"]
        ),
        st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n"]),
        st.text(max_size=4).map(lambda text: text.encode(errors="replace")),
    ),
    max_size=16,
).map(b"".join)
PLACES = st.lists(st.integers(0, 500), max_size=12)


class AnyBytesTests(SynchronousTestCase):
    """Arbitrary bytes."""

    def setUp(self) -> None:
        self.patch(sse, "MAX_LINE", sse.MAX_LINE)
        self.patch(sse, "MAX_EVENT", sse.MAX_EVENT)

    @given(LINES, PLACES)
    @example(b"data: a\r\n\r\n", [8, 9, 10])
    def test_anySplit(self, data: bytes, places: list[int]) -> None:
        """Events, and errors, do not depend on how a stream is split; only RobotErrors are raised."""
        for line, event in ((1 << 20, 1 << 22), (16, 24)):
            sse.MAX_LINE, sse.MAX_EVENT = line, event  # type: ignore[misc]  # restored by the patches in `setUp`
            self.assertEqual(events(*cut(data, places)), events(data))

    @given(LINES)
    def test_simpleParser(self, data: bytes) -> None:
        """The data is the same as with a simple parser of whole streams without limits."""
        found = [text for text in texts(data) if text != sse.DONE]
        lines = re.split("\r\n|\r|\n", data.decode(errors="replace").removeprefix("\ufeff"))
        expected: list[str] = []
        waiting: list[str] = []
        for line in lines if lines[-1] else lines[:-1]:
            name, _, value = line.partition(":")
            name, value = name.strip(" \t\x0b\x0c").lower(), value.removeprefix(" ")
            if not line:
                expected += ["\n".join(waiting)] if waiting else []
                waiting = []
            elif name == "data":
                waiting.append(re.sub(r"\A(data:\s*)+", "", value))
            elif name == "error":
                expected.append(value)
            elif line.startswith("{"):
                expected.append(line)
        self.assertEqual(found, [text for text in expected if text != sse.DONE])

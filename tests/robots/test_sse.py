"""Server-Sent Events, by the examples of the standard and by any bytes in any pieces."""

import re

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.openai import sse
from securechat.robots.openai.sse import EventStream
from tests.harness.streams import cut, events, texts


class StandardTests(SynchronousTestCase):
    """What section 9.2 of the WHATWG's HTML standard says, with its examples."""

    def test_theStandardsExamples(self) -> None:
        """The five streams of section 9.2.6 give the events that the standard says (trap 2)."""
        self.assertEqual(
            events(
                b"data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\n"
            ),
            [
                ("message", "This is the first message.", ""),
                ("message", "This is the second message, it\nhas two lines.", ""),
            ],
        )
        self.assertEqual(
            events(b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n"),
            [("add", "73857293", ""), ("remove", "2153", "")],
        )
        self.assertEqual(
            events(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"),
            [("message", "first event", "1"), ("message", "second event", ""), ("message", " third event", "")],
        )
        self.assertEqual(texts(b"data\n\ndata\ndata\n\ndata:"), ["", "\n"])
        self.assertEqual(texts(b"data:test\n\ndata: test\n\n"), ["test", "test"])

    def test_everyEndOfALine(self) -> None:
        """LF, CR and CRLF end a line, mixed and cut in the middle; no blank line appears by that (trap 2)."""
        for end in (b"\n", b"\r", b"\r\n"):
            stream = b"data: a" + end + b"data: b" + end + end + b"data: c" + end + end
            for place in range(len(stream) + 1):
                self.assertEqual(texts(stream[:place], stream[place:]), ["a\nb", "c"], (end, place))
        self.assertEqual(texts(b"data: a\r", b"", b"\n", b"data: b\r\n\r", b"\n"), ["a\nb"])

    def test_byteOrderMark(self) -> None:
        """One before everything is no part of it, also when it comes in pieces; a second one is (trap 2)."""
        self.assertEqual(texts(b"\xef", b"\xbb", b"\xbfdata: a\n\n"), ["a"])
        self.assertEqual(texts(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n"), [])
        self.assertEqual(texts(b"data: b\n\n\xef\xbb\xbfdata: a\n\n"), ["b"])

    def test_characters(self) -> None:
        """A character's bytes may come one by one; what is no UTF-8 is replaced (trap 3)."""
        stream = "data: 汉字😀\n\n".encode()
        self.assertEqual(texts(*(bytes([byte]) for byte in stream)), ["汉字😀"])
        self.assertEqual(texts(b"data: \xff\xe6\xb1\n\n"), ["\ufffd\ufffd"])

    def test_otherFields(self) -> None:
        """Ids with a NUL, times that are no number, and unknown fields are passed over."""
        stream = EventStream()
        found = [*stream.feed(b"id: 7\nid: 8\0\nretry: 100\nretry: 1x\nretry: \xd9\xa1\ncolour: red\ndata:x\n\n")]
        self.assertEqual([(event.data, event.id) for event in found], [("x", "7")])
        self.assertEqual(stream.retry, 100)

    def test_comments(self) -> None:
        """A comment is no event, and ends none (trap 1)."""
        self.assertEqual(texts(b":\n\n: ping\n\n", b"data: a\n:\ndata: b\n\n:\n\n"), ["a\nb"])

    def test_unterminated(self) -> None:
        """What no blank line ends is no event, with one exception: that all is said (trap 2)."""
        self.assertEqual(texts(b"data: a\n\ndata: b\n"), ["a"])
        self.assertEqual(texts(b"data: a\n\ndata: b"), ["a"])
        for end in (b"", b"\n", b"\r"):
            self.assertEqual(texts(b"data: a\n\ndata: [DONE]" + end), ["a", "[DONE]"])
        self.assertEqual(texts(b"data: a\n\ndata:[DONE"), ["a"])
        self.assertEqual(texts(b"data: a\ndata: [DONE]"), [])

    def test_errorLine(self) -> None:
        """A line ``error: …`` is an event as soon as it is over (trap 6)."""
        stream = EventStream()
        found = [*stream.feed(b'data: a\nerror: {"code":500}\n')]
        self.assertEqual([(event.type, event.data) for event in found], [("error", '{"code":500}')])

    def test_showsNothing(self) -> None:
        """What is in an event is not shown by accident."""
        [event] = EventStream().feed(b"data: secret\n\n")
        self.assertNotIn("secret", repr(event))


class BoundTests(SynchronousTestCase):
    """What is larger than anything a server has to say (trap 17)."""

    def setUp(self) -> None:
        self.patch(sse, "MAX_LINE", 20)
        self.patch(sse, "MAX_EVENT", 60)

    def test_line(self) -> None:
        """A line may have so many bytes, and not one more, be it over or not, a comment or not."""
        for line in (b"data: " + b"x" * 14, b":" * 20):
            self.assertNotIn("BROKEN_ANSWER", events(line + b"\n\n"))
            for end in (b"", b"\n"):
                self.assertEqual(events(line + b"x" + end), ["BROKEN_ANSWER"])
                self.assertEqual(events(*(bytes([byte]) for byte in line + b"x" + end)), ["BROKEN_ANSWER"])

    def test_event(self) -> None:
        """The lines of an event may have so many bytes together; those of the next are counted afresh."""
        whole = b"data: 789\n" * 6 + b"data: " + b"\n"
        self.assertEqual(len(events(whole + b"\n" + whole + b"\n")), 2)
        self.assertEqual(events(whole + b"data:\n"), ["BROKEN_ANSWER"])

    def test_says(self) -> None:
        """The operator reads which of them it was."""
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
    """Any bytes, in any pieces."""

    def setUp(self) -> None:
        self.patch(sse, "MAX_LINE", sse.MAX_LINE)
        self.patch(sse, "MAX_EVENT", sse.MAX_EVENT)

    @given(LINES, PLACES)
    @example(b"data: a\r\n\r\n", [8, 9, 10])
    def test_sameEventsHoweverTheyAreCut(self, data: bytes, places: list[int]) -> None:
        """The events do not depend on the pieces, nothing but a RobotError comes out, and bounds are as exact."""
        for line, event in ((1 << 20, 1 << 22), (16, 24)):
            sse.MAX_LINE, sse.MAX_EVENT = line, event  # type: ignore[misc]  # they are put back by `setUp`'s patches
            self.assertEqual(events(*cut(data, places)), events(data))

    @given(LINES)
    def test_asSimplyRead(self, data: bytes) -> None:
        """The data is that which a parser finds that has it all at once and knows no bounds."""
        found = [text for text in texts(data) if text != sse.DONE]
        lines = re.split("\r\n|\r|\n", data.decode(errors="replace").removeprefix("\ufeff"))
        expected: list[str] = []
        waiting: list[str] = []
        for line in lines[:-1]:
            name, _, value = line.partition(":")
            if not line:
                expected += ["\n".join(waiting)] if waiting else []
                waiting = []
            elif name == "data":
                waiting.append(value.removeprefix(" "))
            elif name == "error":
                expected.append(value.removeprefix(" "))
        self.assertEqual(found, [text for text in expected if text != sse.DONE])

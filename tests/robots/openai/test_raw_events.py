"""The events of a stream as they were sent."""

from itertools import product

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.openai import raw_events
from securechat.robots.openai.raw_events import MAX_EVENT, RawEvents
from tests.harness.streams import cut

Event = tuple[str, bytes]


def events(*pieces: bytes) -> list[Event]:
    """The names and data of the events of a stream in these pieces."""
    stream = RawEvents()
    found = [event for piece in pieces for event in stream.feed(piece)]
    return [(event.name, event.data) for event in (*found, *stream.end())]


class RawEventsTests(SynchronousTestCase):
    """Names and data."""

    def test_data(self) -> None:
        """The data is that of the stream, byte for byte, and one space after the colon is not part of it."""
        for data in (b"{}", b" two", b"", b"data: x", b"\xff\x00", b'{"a": "\\ud83d"}', "汉\u2028".encode()):
            self.assertEqual(events(b"data: " + data + b"\n\n"), [("", data)])
        self.assertEqual(events(b"data:x\n\ndata\n\n"), [("", b"x"), ("", b"")])

    def test_lines(self) -> None:
        """Several lines of data are joined by LF, also where a line ends an object."""
        self.assertEqual(events(b"data: {}\ndata: {}\ndata\n\n"), [("", b"{}\n{}\n")])

    def test_names(self) -> None:
        """An event has its last name, and the next one has none."""
        stream = b"event: a\nevent:  b\ndata: 1\n\ndata: 2\n\nevent: c\n\ndata: 3\n\n"
        self.assertEqual(events(stream), [(" b", b"1"), ("", b"2"), ("", b"3")])

    def test_otherFields(self) -> None:
        """Comments, other fields and other spellings are left out."""
        stream = b": ping\n\nid: 1\nretry: 2\nDATA: x\n data: x\nerror: {}\n{}\ndata: 1\n: x\n\nid: 2\n\n"
        self.assertEqual(events(stream), [("", b"1")])

    def test_end(self) -> None:
        """Without a blank line, the last event is discarded unless it is [DONE]."""
        for end, line_end in product((b"[DONE]", b"{}", b"[DONE"), (b"", b"\n", b"\r")):
            found = [("", end)] if end == b"[DONE]" else []
            self.assertEqual(events(b"data: 1\n\ndata: " + end + line_end), [("", b"1"), *found])

    def assertBroken(self, words: str, *pieces: bytes) -> None:
        error = self.assertRaises(RobotError, events, *pieces)
        self.assertEqual(error.fault, Fault.BROKEN_ANSWER)
        self.assertIn(words, str(error))

    def test_limits(self) -> None:
        """A line and an event have a maximum size, and what was complete before is passed on."""
        self.patch(raw_events, "MAX_EVENT", 100)
        self.patch(raw_events, "_MAX_LINE", 164)
        self.assertEqual(events((b"data: " + b"x" * 99 + b"\n\n") * 2), [("", b"x" * 99)] * 2)
        self.assertBroken("event", b"data: " + b"x" * 60 + b"\ndata: " + b"x" * 60)
        self.assertBroken("line", b"data: ", b"x" * 160)
        stream = RawEvents()
        found = stream.feed(b"data: 1\n\ndata: " + b"x" * 200)
        self.assertEqual(next(found).data, b"1")
        self.assertRaises(RobotError, list, found)

    def test_size(self) -> None:
        """An event may have megabytes."""
        [(_name, data)] = events(b"data: " + b"x" * (MAX_EVENT - 1), b"\n\n")
        self.assertEqual(len(data), MAX_EVENT - 1)

    def test_nameThatIsNotText(self) -> None:
        """A name that is not UTF-8 cannot be passed on."""
        self.assertBroken("name", b"event: \xff\ndata: 1\n\n")

    @given(
        st.lists(st.tuples(st.sampled_from(["", "a", "é"]), st.lists(st.binary(max_size=5), min_size=1, max_size=3))),
        st.sampled_from([b"\n", b"\r", b"\r\n"]),
        st.lists(st.integers(min_value=0)),
    )
    @example([("a", [b"1"]), ("", [b"2", b"3"])], b"\r\n", [10, 11, 12])
    def test_anyCut(self, sent: list[tuple[str, list[bytes]]], end: bytes, places: list[int]) -> None:
        """Whatever the line ends, and wherever the stream is cut, the events are those that were sent."""
        stream, expected = b"", []
        for name, lines in sent:
            lines = [line.replace(b"\r", b"").replace(b"\n", b"") for line in lines]
            stream += b"event: " + name.encode() + end if name else b": comment" + end
            stream += b"".join(b"data: " + line + end for line in lines) + end
            expected.append((name, b"\n".join(lines)))
        self.assertEqual(events(*cut(stream, places)), expected)

"""Server-Sent Events, however they are cut."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.sse import MAX_EVENT, MAX_LINE, EventStream


def events(*pieces: bytes) -> list[tuple[str, str]]:
    """Kind and data of the events in a stream that came in these pieces."""
    stream = EventStream()
    found = [event for piece in pieces for event in stream.feed(piece)]
    found += stream.end()
    return [(event.kind, event.data) for event in found]


class StandardTests(SynchronousTestCase):
    """What the standard says."""

    def test_lineEnds(self) -> None:
        """Lines end in LF, CRLF or CR, also when the pieces are cut between the two."""
        for end in (b"\n", b"\r\n", b"\r"):
            text = end.join([b"data: a", b"data:b", b"", b"data:  c", b"", b""])
            expected = [("message", "a\nb"), ("message", " c")]
            self.assertEqual(events(text), expected)
            self.assertEqual(events(*(text[place : place + 1] for place in range(len(text)))), expected)

    def test_fields(self) -> None:
        """Comments, ids, times and fields that nobody knows are passed over; an event has its kind once."""
        text = b": hello\nid: 1\nretry: 5\ncolour: red\nevent: error\ndata: a\n\ndata: b\n\nevent: x\n\ndata\n\n"
        self.assertEqual(events(text), [("error", "a"), ("message", "b"), ("message", "")])

    def test_byteOrderMark(self) -> None:
        """One at the start of the stream is not part of it."""
        self.assertEqual(events(b"\xef\xbb\xbfdata: a\n\n"), [("message", "a")])
        self.assertEqual(events(b"data: a\n\xef\xbb\xbfdata: b\n\n"), [("message", "a")])

    def test_notFinished(self) -> None:
        """An event without its empty line is none."""
        for text in (b"data: a", b"data: a\n", b"event: a\n", b"data: a\ndata: [DONE]", b""):
            self.assertEqual(events(text), [])

    def test_characters(self) -> None:
        """Characters may be cut; what is no UTF-8 becomes a replacement character."""
        text = "data: 你好\n\n".encode()
        for place in range(len(text)):
            self.assertEqual(events(text[:place], text[place:]), [("message", "你好")])
        self.assertEqual(events(b"data: \xff\n\n"), [("message", "\ufffd")])


class WireTests(SynchronousTestCase):
    """What the standard does not say."""

    def test_done(self) -> None:
        """The last event of a chat counts without its empty line, and without its line's end."""
        self.assertEqual(events(b"data: [DONE]"), [("message", "[DONE]")])
        self.assertEqual(events(b"data: [DONE]\n"), [("message", "[DONE]")])

    def test_errorLine(self) -> None:
        """A line that says error is one."""
        self.assertEqual(events(b'error: {"code":500}\n\n'), [("error", '{"code":500}')])

    def test_bounds(self) -> None:
        """A line, or an event of many lines, that does not end is broken off."""
        line = b"data: " + b"x" * 65_536
        for piece, limit in ((line, MAX_LINE), (line + b"\n", MAX_EVENT)):
            stream = EventStream()
            taken = 0
            try:
                while taken <= 2 * limit:
                    list(stream.feed(piece))
                    taken += len(piece)
            except RobotError as error:
                self.assertEqual(error.fault, Fault.BROKEN_ANSWER)
            self.assertLessEqual(abs(taken - limit), 2 * len(piece))


class AnyBytesTests(SynchronousTestCase):
    """Whatever a server sends."""

    LINES = st.lists(
        st.sampled_from(
            [b"data:", b"data: x", b"event: e", b": c", b"", b"error: y", b"\xef\xbb\xbf", b"\xe4\xbd", b"[DONE]"]
        )
        | st.binary(max_size=6)
    )

    @settings(max_examples=2000, deadline=None)
    @given(LINES, st.sampled_from([b"\n", b"\r", b"\r\n"]), st.lists(st.integers(0, 200)))
    def test_anyPieces(self, lines: list[bytes], end: bytes, places: list[int]) -> None:
        """The events are the same however the stream is cut."""
        text = end.join(lines)
        cuts = sorted({min(place, len(text)) for place in places} | {0, len(text)})
        pieces = [text[start:stop] for start, stop in itertools.pairwise(cuts)]
        self.assertEqual(events(*pieces), events(text))

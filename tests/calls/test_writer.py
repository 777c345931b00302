"""Results that are written while records are sealed, and read again."""

import json
from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.calls.writer import ResultWriter
from securechat.errors import Fault, RobotError
from securechat.wire.connection import MAX_CHUNK
from securechat.wire.items import MAX_BASE, MAX_ITEM, Head, ItemReader, Piece, ServerEvent
from tests.calls.test_joining import content, pairs, response
from tests.independent.items import ResultReader, join

STREAM = "text/event-stream"


def read(*chunks: bytes) -> list[Head | Piece | ServerEvent]:
    reader = ItemReader()
    independent = ResultReader()
    items = []
    for chunk in chunks:
        items += reader.feed(chunk)
        independent.add(chunk)
    reader.end()
    result = independent.end()
    assert [(item.name, item.data) for item in items if isinstance(item, ServerEvent)] == result.events
    assert b"".join(item.data for item in items if isinstance(item, Piece)) == result.body
    return items


def drain(writer: ResultWriter, size: int = MAX_CHUNK) -> list[bytes]:
    """Everything that waits, in chunks."""
    chunks = []
    while writer.size:
        chunks.append(writer.take(size))
    return chunks


def may_be_joined(sent: list[ServerEvent], received: Sequence[object]) -> bool:
    """Whether these are all the events, each as it was sent or joined with those after it."""
    positions = {0}  # how many of the events may be in what was received so far
    for item in received:
        assert isinstance(item, ServerEvent)
        positions = {end for start in positions for end in _ends(sent, start, item)}
    return len(sent) in positions


def _ends(sent: list[ServerEvent], start: int, item: ServerEvent) -> Iterator[int]:
    """After which events an item that begins with event number `start` may end."""
    joined: bytes | None = None
    for number, event in enumerate(sent[start:], start):
        joined = event.data if number == start else join(joined or b"", event.data)
        if joined is None or event.name != item.name:
            return
        if joined == item.data:
            yield number + 1


class WriterTests(SynchronousTestCase):
    """One result."""

    def stream(self, *events: bytes, name: str = "") -> ResultWriter:
        """A stream with these events, none of which is sent."""
        writer = ResultWriter()
        writer.add_head(200, STREAM)
        for data in events:
            writer.add_event(name, data)
        return writer

    def test_head(self) -> None:
        """A head is written, or is a broken answer if it cannot be."""
        writer = ResultWriter()
        writer.add_head(429, "application/json", 30)
        self.assertEqual(read(*drain(writer)), [Head(429, "application/json", 30)])
        for head in ((199, "", 0), (600, "", 0), (200, "x" * 129, 0), (200, "é", 0), (200, "\n", 0), (200, "", -1)):
            error = self.assertRaises(RobotError, ResultWriter().add_head, *head)
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)

    def test_body(self) -> None:
        """Each record of a body contains whole pieces, so that the client can use them at once."""
        writer = ResultWriter()
        writer.add_head(200, "application/json")
        body = bytes(range(256)) * 40
        writer.add_body(body[:5000])
        writer.add_body(body[5000:])
        reader = ItemReader()
        received = b""
        for number, chunk in enumerate(drain(writer), 1):
            received += b"".join(item.data for item in reader.feed(chunk) if isinstance(item, Piece))
            self.assertGreaterEqual(len(received), min(len(body), number * (MAX_CHUNK - 200)))
        self.assertEqual(received, body)
        self.assertEqual(writer.take(10), b"")

    def test_joinsWhileWaiting(self) -> None:
        """Events that wait are joined; one of which a byte is sent is not."""
        writer = self.stream(content("a"), content("b"))
        writer.add_event("", content("c"))
        first = writer.take(20)  # the head, and the beginning of the event
        first += writer.take(20)
        writer.add_event("", content("d"))
        writer.add_event("", content("e"))
        self.assertEqual(
            read(first, *drain(writer))[1:], [ServerEvent("", content("abc")), ServerEvent("", content("de"))]
        )

    def test_doesNotJoin(self) -> None:
        """Events of other names or shapes stay apart."""
        writer = self.stream(content("a"), b"[DONE]", b"[DONE]", content("b"), response("refusal", "c"), content("d"))
        writer.add_event("x", content("e"))
        writer.add_event("x", content("f"))
        writer.add_event("x", content("g" * 4000))
        writer.add_event("x", content("h" * 80))
        expected = [content("a"), b"[DONE]", b"[DONE]", content("b"), response("refusal", "c"), content("d")]
        expected += [content("ef"), content("g" * 4000), content("h" * 80)]
        events = read(*drain(writer))[1:]
        self.assertEqual([event.data for event in events if isinstance(event, ServerEvent)], expected)

    def test_namesOfJoinedEvents(self) -> None:
        """After joined events, those of another name are joined with each other only."""
        writer = self.stream(content("a"), content("b"))
        for text in "cd":
            writer.add_event("x", content(text))
        writer.add_event("x", b"[DONE]")
        self.assertEqual(
            read(*drain(writer))[1:],
            [ServerEvent("", content("ab")), ServerEvent("x", content("cd")), ServerEvent("x", b"[DONE]")],
        )

    def test_afterSending(self) -> None:
        """An event is not joined to one that was sent, also if it is like it."""
        writer = self.stream(content("a"), content("b"))
        chunks = drain(writer)
        writer.add_event("", content("c"))
        writer.add_event("", content("d"))
        chunks += drain(writer)
        self.assertEqual(read(*chunks)[1:], [ServerEvent("", content("ab")), ServerEvent("", content("cd"))])

    def test_sendsDifferences(self) -> None:
        """An event that is like the one before takes few bytes."""
        writer = self.stream(content("a"))
        drain(writer)
        writer.add_event("", content("b"))
        self.assertLess(len(writer.take(MAX_CHUNK)), 12)
        writer.add_event("x", content("b"))
        self.assertGreater(len(writer.take(MAX_CHUNK)), len(content("b")))

    def test_largeEvents(self) -> None:
        """An event after one of more than 16,384 bytes is sent as a whole; one that is too large is a broken answer."""
        events = [b"x" * (MAX_BASE + 1), b"x" * MAX_BASE, b"x" * MAX_BASE + b"y"]
        writer = self.stream(*events)
        chunks = drain(writer)
        self.assertEqual([item.data for item in read(*chunks) if isinstance(item, ServerEvent)], events)
        self.assertLess(sum(map(len, chunks)), 2 * MAX_BASE + 100)
        self.assertEqual(self.assertRaises(RobotError, self.stream, b"x" * MAX_ITEM).fault, Fault.BROKEN_ANSWER)
        largest = self.stream(b"x" * (MAX_ITEM - 256), name="n" * 128)
        self.assertEqual(len(read(*drain(largest, 2**20))), 2)

    def test_invalidEvents(self) -> None:
        """A name or data that an item cannot have is a broken answer."""
        for name, data in (("x" * 129, b""), ("a\n", b""), ("\0", b""), ("", b"a\rb")):
            error = self.assertRaises(RobotError, self.stream, data, name=name)
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)


ANY_EVENT = st.tuples(
    st.sampled_from(["", "", "", "delta"]),
    st.binary(max_size=300).map(lambda data: data.replace(b"\r", b"")) | st.sampled_from([b"[DONE]", b"{}"]),
)
SIZES = st.integers(1, MAX_CHUNK)


class PropertyTests(SynchronousTestCase):
    """Any events, taken at any time in chunks of any size."""

    def check(self, events: list[tuple[str, bytes]], takes: list[int]) -> None:
        """`takes` has for each event how many bytes are taken after it."""
        writer = ResultWriter()
        writer.add_head(200, STREAM)
        chunks = []
        for (name, data), size in zip(events, takes, strict=True):
            writer.add_event(name, data)
            if size:
                chunks.append(writer.take(size))
        items = read(*chunks, *drain(writer))[1:]
        self.assertTrue(may_be_joined([ServerEvent(*event) for event in events], items))

    @given(st.lists(ANY_EVENT, min_size=1, max_size=12), st.data())
    def test_anyEvents(self, events: list[tuple[str, bytes]], data: st.DataObject) -> None:
        """What is not joined arrives byte for byte."""
        takes = data.draw(st.lists(st.just(0) | SIZES, min_size=len(events), max_size=len(events)))
        self.check(events, takes)

    @given(st.lists(pairs(), min_size=1, max_size=6), st.data())
    def test_likeCompletions(self, two: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
        """What is joined is joined as the specification says."""
        events = [("", event) for pair in two for event in pair]
        takes = data.draw(st.lists(st.just(0) | SIZES, min_size=len(events), max_size=len(events)))
        self.check(events, takes)

    @given(st.lists(st.text(max_size=20), min_size=1, max_size=40), st.data())
    def test_texts(self, texts: list[str], data: st.DataObject) -> None:
        """The text of a whole reply arrives, however it is joined; halves of surrogate pairs meet or follow."""
        writer = ResultWriter()
        writer.add_head(200, STREAM)
        chunks = []
        for text in texts:
            writer.add_event("", json.dumps({"choices": [{"delta": {"content": text}, "index": 0}]}).encode())
            if size := data.draw(st.just(0) | SIZES):
                chunks.append(writer.take(size))
        parts = [
            json.loads(item.data)["choices"][0]["delta"]["content"]
            for item in read(*chunks, *drain(writer))
            if isinstance(item, ServerEvent)
        ]
        self.assertEqual("".join(parts), "".join(texts))

    @given(st.lists(st.binary(max_size=1500), max_size=8), st.data())
    def test_bodies(self, parts: list[bytes], data: st.DataObject) -> None:
        """A body arrives byte for byte."""
        writer = ResultWriter()
        writer.add_head(200, "application/json")
        chunks = []
        for part in parts:
            writer.add_body(part)
            if size := data.draw(st.just(0) | SIZES):
                chunks.append(writer.take(size))
        items = read(*chunks, *drain(writer))
        self.assertEqual(b"".join(item.data for item in items if isinstance(item, Piece)), b"".join(parts))

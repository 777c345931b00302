"""The items of a RESULT, as a client reads them."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Category, RemoteProtocolError
from securechat.wire.items import MAX_BASE, MAX_ITEM, Delta, Head, ItemReader, Piece, ServerEvent
from securechat.wire.messages import encode

STREAM = Head(200, "text/event-stream")
WHOLE = Head(404, "application/json", 7)

NAMES = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=32)
DATA = st.binary(max_size=600).map(lambda data: data.replace(b"\r", b""))


def read(*chunks: bytes) -> list[Head | Piece | ServerEvent]:
    """The items in a complete result."""
    reader = ItemReader()
    items = [item for chunk in chunks for item in reader.feed(chunk)]
    reader.end()
    return items


def pack(*items: Head | Piece | ServerEvent | Delta) -> bytes:
    return b"".join(map(encode, items))


class ItemTests(SynchronousTestCase):
    """Items in chunks."""

    def assertMalformed(self, *chunks: bytes) -> None:
        """The reader accepts all chunks but the last."""
        reader = ItemReader()
        for chunk in chunks[:-1]:
            reader.feed(chunk)
        error = self.assertRaises(RemoteProtocolError, reader.feed, chunks[-1])
        self.assertEqual(error.category, Category.MALFORMED)

    def assertIncomplete(self, data: bytes) -> None:
        """The reader accepts these bytes, but not as a whole result."""
        reader = ItemReader()
        reader.feed(data)
        error = self.assertRaises(RemoteProtocolError, reader.end)
        self.assertEqual(error.category, Category.MALFORMED)

    def test_bytesOnTheWire(self) -> None:
        """Encodings are those of the specification, written out by hand."""
        self.assertEqual(encode(Head(200, "a/b", 1)), b"\x94\x00\xcc\xc8\xa3a/b\x01")
        self.assertEqual(encode(Piece(b"hi")), b"\x92\x01\xc4\x02hi")
        self.assertEqual(encode(ServerEvent("e", b"hi")), b"\x93\x02\xa1e\xc4\x02hi")
        self.assertEqual(encode(Delta(1, 300, b"")), b"\x94\x03\x01\xcd\x01\x2c\xc4\x00")

    def test_body(self) -> None:
        """A body comes in pieces, of which some may be empty."""
        self.assertEqual(
            read(pack(WHOLE, Piece(b"a"), Piece(b""), Piece(b"b"))), [WHOLE, Piece(b"a"), Piece(b""), Piece(b"b")]
        )
        self.assertEqual(read(pack(WHOLE)), [WHOLE])

    def test_events(self) -> None:
        """An event that is sent as its difference from the one before is whole again."""
        items = pack(
            STREAM, ServerEvent("n", b"abcdef"), Delta(3, 2, b"X"), Delta(0, 0, b""), Delta(0, 0, b"new"),
            ServerEvent("", b"[DONE]"), Delta(3, 3, b""), Delta(6, 0, b"!"), Delta(0, 7, b"!"),
        )  # fmt: skip
        events = [("n", b"abcdef"), ("n", b"abcXef"), ("n", b""), ("n", b"new")]
        events += [("", b"[DONE]"), ("", b"[DONE]"), ("", b"[DONE]!"), ("", b"![DONE]!")]
        self.assertEqual(read(items), [STREAM, *(ServerEvent(*event) for event in events)])

    def test_streamTypes(self) -> None:
        """A stream is known by its content type without parameters, in any case."""
        for content_type in ("text/event-stream", "TEXT/Event-Stream ; charset=utf-8", " text/event-stream;"):
            self.assertTrue(Head(200, content_type).is_stream)
        for content_type in ("", "text/event-streams", "text/plain; a=text/event-stream", "text/event-stream,x"):
            self.assertFalse(Head(200, content_type).is_stream)

    def test_order(self) -> None:
        """A head comes first and once; then either pieces or events."""
        for first in (pack(Piece(b"")), pack(ServerEvent("", b"")), pack(Delta(0, 0, b""))):
            self.assertMalformed(first)
        self.assertMalformed(pack(WHOLE), pack(WHOLE))
        self.assertMalformed(pack(STREAM, ServerEvent("", b"")), pack(STREAM))
        self.assertMalformed(pack(WHOLE), pack(ServerEvent("", b"")))
        self.assertMalformed(pack(WHOLE), pack(Delta(0, 0, b"")))
        self.assertMalformed(pack(STREAM), pack(Piece(b"")))

    def test_fields(self) -> None:
        """A field outside its range is malformed, and so is an item of another kind."""
        for data in (
            pack(Head(199, "")),
            pack(Head(600, "")),
            pack(Head(200, "x" * 129)),
            pack(Head(200, "a\n")),
            pack(Head(200, "é")),
            pack(Head(200, "\x7f")),
            b"\x94\x00\xcc\xc8\xa0\xff",  # -1
            b"\x94\x00\xcc\xc8\xc4\x00\x00",  # bin
            b"\x94\x00\xcc\xc8\xc0\x00",  # nil
            b"\x95\x00\xcc\xc8\xa0\x00\x00",
            b"\x93\x00\xcc\xc8\xa0",
            b"\x94\x04\x00\x00\x00",
            b"\xdc\x00\x04\x00\xcc\xc8\xa0\x00",
            b"\x94\xcc\x00\xcc\xc8\xa0\x00",
            b"\x94\x00\xcd\x00\xc8\xa0\x00",
            b"\x94\x00\xcc\xc8\xd9\x00\x00",
            b"\x94\x00\xcc\xc8\xa1\xff\x00",
            b"\x80\x00",
        ):
            self.assertMalformed(data)
        for data in (
            b"\x92\x01\xa0",
            b"\x92\x01\xc5\x00\x00",
            b"\x93\x01\xc4\x00\xc4\x00",
        ):
            self.assertMalformed(pack(WHOLE), data)
        for event in (
            ServerEvent("x" * 129, b""),
            ServerEvent("é" * 65, b""),
            *(ServerEvent(sign, b"") for sign in "\r\n\0"),
            ServerEvent("", b"a\rb"),
        ):
            self.assertMalformed(pack(STREAM), pack(event))
        self.assertEqual(
            read(pack(STREAM, ServerEvent("é" * 64, b"\0\n\xff")))[1:], [ServerEvent("é" * 64, b"\0\n\xff")]
        )

    def test_deltas(self) -> None:
        """A difference must not reach beyond the event before, which has at most 16,384 bytes."""
        self.assertMalformed(pack(STREAM), pack(Delta(0, 0, b"")))
        for head, tail in (4, 0), (0, 4), (2, 2), (2**64 - 1, 0), (0, 2**64 - 1):
            self.assertMalformed(pack(STREAM, ServerEvent("", b"abc")), pack(Delta(head, tail, b"")))
        self.assertMalformed(pack(STREAM, ServerEvent("", b"abc")), pack(Delta(1, 1, b"\r")))
        longest = b"x" * MAX_BASE
        items = read(pack(STREAM, ServerEvent("", longest), Delta(MAX_BASE, 0, b"y")))
        self.assertEqual(items[-1], ServerEvent("", longest + b"y"))
        self.assertMalformed(pack(STREAM, ServerEvent("", longest), Delta(MAX_BASE, 0, b"y")), pack(Delta(0, 0, b"")))

    def test_incomplete(self) -> None:
        """A result that ends within an item, or has none, is malformed."""
        items = pack(STREAM, ServerEvent("e", b"data"), Delta(1, 1, b"x"))
        ends = {len(pack(STREAM)), len(pack(STREAM, ServerEvent("e", b"data")))}
        for size in range(len(items)):
            if size not in ends:
                self.assertIncomplete(items[:size])
        self.assertIncomplete(b"")

    def test_size(self) -> None:
        """An item of more than 2^24 bytes is refused as soon as its lengths say so, before it is received."""
        fits = (MAX_ITEM - 7).to_bytes(4, "big")
        self.assertIncomplete(pack(WHOLE) + b"\x92\x01\xc6" + fits)
        self.assertMalformed(pack(WHOLE) + b"\x92\x01\xc6" + fits[:-1], bytes([fits[-1] + 1]))
        self.assertMalformed(pack(STREAM), b"\x93\x02\xdb\xff\xff\xff\xff")
        self.assertMalformed(pack(STREAM), b"\x93\x02\xa1x\xc6\xff\xff\xff\xff")
        self.assertMalformed(pack(STREAM), b"\x94\x03\x00\x00\xc6\x01\x00\x00\x00")
        largest = Piece(bytes(MAX_ITEM - 7))
        self.assertEqual(len(encode(largest)), MAX_ITEM)
        self.assertEqual(read(pack(WHOLE, largest)), [WHOLE, largest])

    def test_linearWork(self) -> None:
        """Each byte is looked at a few times, however small the chunks of a large item are."""

        class Counting(bytearray):
            looks = 0

            def __getitem__(self, index: object) -> object:  # type: ignore[override]
                type(self).looks += 1
                return super().__getitem__(index)  # type: ignore[call-overload]

        reader = ItemReader()
        reader.feed(encode(WHOLE))
        reader._buffer = Counting()
        data = encode(Piece(bytes(100_000)))
        for at in range(len(data)):
            reader.feed(data[at : at + 1])
        self.assertLess(Counting.looks, 100)

    @given(st.lists(st.tuples(NAMES, DATA), max_size=8), st.lists(st.integers(1, 600)))
    def test_anyCut(self, events: list[tuple[str, bytes]], sizes: list[int]) -> None:
        """Items are the same, however they are cut into chunks."""
        items: list[Head | Piece | ServerEvent] = [STREAM, *(ServerEvent(name, data) for name, data in events)]
        data = pack(*items)
        chunks = []
        for size in sizes:
            chunks.append(data[:size])
            data = data[size:]
        self.assertEqual(read(*chunks, data), items)

    @given(st.lists(st.binary(max_size=40)), st.sampled_from([WHOLE, STREAM]))
    def test_anyBytes(self, chunks: list[bytes], head: Head) -> None:
        """Any bytes are items or malformed."""
        try:
            for item in read(pack(head), *chunks)[1:]:
                self.assertIsInstance(item, ServerEvent if head.is_stream else Piece)
        except RemoteProtocolError as error:
            self.assertEqual(error.category, Category.MALFORMED)

    def test_showsNothing(self) -> None:
        """The repr of an item does not contain its data."""
        self.assertEqual(repr(Piece(b"secret")), "<Piece>")

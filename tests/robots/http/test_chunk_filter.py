"""The filter before twisted.web's decoder of chunks."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import _ChunkedTransferDecoder

from securechat.robots.http.chunk_filter import MAX_HEAD, MAX_LINE, ChunkFilter
from tests.harness.http import HttpTestCase, Silent
from tests.harness.streams import cut

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"5 \r\nhello\r\n6  \t;a=b\r\n\r\n5 \r\n\r\n0     \r\n\r\n"
UNPADDED = b"5\r\nhello\r\n6;a=b\r\n\r\n5 \r\n\r\n0\r\n\r\n"
CONTENT = b"hello\r\n5 \r\n"


class Decoder:
    """What a connection does with the bytes of a response, up to the content of its chunks."""

    def __init__(self) -> None:
        self.filter = ChunkFilter()
        self.content: list[bytes] = []
        self.ends: list[bytes] = []  # what follows the last chunk
        self.passed = b""  # to twisted.web
        self._decoder = _ChunkedTransferDecoder(self.content.append, self.ends.append)
        self._head = b""

    def feed(self, data: bytes) -> None:
        before, content, after = self.filter.feed(data) if self.filter.is_needed else (data, b"", b"")
        self._decode(before)
        if content:
            self.content.append(content)
        self._decode(after)

    def _decode(self, data: bytes) -> None:
        self.passed += data
        if not self._head.endswith(b"\r\n\r\n"):
            head, end, data = data.partition(b"\r\n\r\n")
            self._head += head + end
        if data:
            self._decoder.dataReceived(data)


class ChunkFilterTests(SynchronousTestCase):
    """Complete chunks, and those with white space after their sizes."""

    def decode(self, *pieces: bytes) -> bytes:
        decoder = Decoder()
        for piece in pieces:
            decoder.feed(piece)
        self.assertEqual(decoder.ends, [b""])
        return b"".join(decoder.content)

    def passed(self, *pieces: bytes) -> bytes:
        """What is not changed of a response that has no good chunk."""
        found = ChunkFilter()
        parts = [found.feed(piece) if found.is_needed else (piece, b"", b"") for piece in pieces]
        return b"".join(b"".join(part) for part in parts)

    def test_padded(self) -> None:
        """White space after sizes is removed, however the response is split; that in chunks is not."""
        for body in (BODY, UNPADDED):
            whole = HEAD + body
            for place in range(len(HEAD) - 4, len(whole)):
                self.assertEqual(self.decode(whole[:place], whole[place:]), CONTENT, place)
            self.assertEqual(self.decode(HEAD, *(bytes([byte]) for byte in body)), CONTENT)

    def test_others(self) -> None:
        """All other responses are passed through: without chunks, with wrong sizes, or without an end."""
        for response in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n5 \r\nabcd",
            HEAD + b"x \r\n",
            HEAD + b"5;a=b\r\nhello\r\n0\r\n\r\n",
            HEAD + b"5\nhello\n0\n\n",
            HEAD + b"5\r\nhello!!0\r\n\r\n",
            HEAD + b"5\r\nhell",
            HEAD + b"5" * (MAX_LINE + 9),
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_HEAD // 6),
            b"HTTP/1.0 200 OK\n\n5 \r\nabcd",
            b"",
        ):
            for size in (1000, 7):
                self.assertEqual(self.passed(*cut(response, list(range(0, len(response), size)))), response)

    def test_withoutADecoder(self) -> None:
        """Of a response whose chunks are complete, twisted.web decodes only the head and the last chunk."""
        decoder = Decoder()
        for piece in (HEAD, b"5\r\nhello\r\n", b"1\r\na\r\n1 \r\nb\r\n", b"0\r\n\r\n"):
            decoder.feed(piece)
        self.assertEqual(decoder.passed, HEAD + b"0\r\n\r\n")
        self.assertEqual(decoder.content, [b"hello", b"ab"])
        self.assertFalse(decoder.filter.is_needed)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.lists(st.integers(0, 300), max_size=9))
    def test_anyChunks(self, chunks: list[bytes], places: list[int]) -> None:
        """The content of chunks is never changed, padded or not, however the response is split."""
        for form in (b"%x\r\n%b\r\n", b"%-6x\r\n%b\r\n"):
            body = b"".join(form % (len(chunk), chunk) for chunk in (*chunks, b""))
            self.assertEqual(self.decode(*cut(HEAD + body, places)), b"".join(chunks))


class ConnectionTests(HttpTestCase):
    """Over a real connection."""

    async def test_padded(self) -> None:
        """A response with white space after the sizes of its chunks is read, and its connection used again."""
        server = Silent(HEAD + BODY)
        url = f"http://127.0.0.1:{self.listen(server)}"
        for _ in range(2):
            answer = await self.http.get(url, {})
            self.assertEqual(await answer.read_all(100), b"hello\r\n5 \r\n")

"""White space after the sizes of chunks."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.robots.http.chunk_sizes import MAX_HEAD, MAX_LINE, ChunkSizes
from tests.harness.http import HttpTestCase, Silent
from tests.harness.streams import cut

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"5 \r\nhello\r\n6  \t;a=b\r\n\r\n5 \r\n\r\n0     \r\n\r\n"
UNPADDED = b"5\r\nhello\r\n6;a=b\r\n\r\n5 \r\n\r\n0\r\n\r\n"


class ChunkSizesTests(SynchronousTestCase):
    """White space after the sizes of chunks."""

    def unpad(self, *pieces: bytes) -> bytes:
        """As a connection does it."""
        sizes = ChunkSizes()
        return b"".join(sizes.feed(piece) if sizes.is_needed else piece for piece in pieces)

    def test_padded(self) -> None:
        """White space after sizes is removed, however the response is split; that in chunks is not."""
        for place in range(len(HEAD + BODY)):
            whole = HEAD + BODY
            self.assertEqual(self.unpad(whole[:place], whole[place:]), HEAD + UNPADDED, place)
        self.assertEqual(self.unpad(*(bytes([byte]) for byte in HEAD + BODY)), HEAD + UNPADDED)

    def test_others(self) -> None:
        """All other responses are passed through: unpadded, without chunks, with wrong sizes, or without an end."""
        for response in (
            HEAD + UNPADDED,
            b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n5 \r\nabcd",
            HEAD + b"x \r\n",
            HEAD + b"5" * (MAX_LINE + 9),
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_HEAD // 6),
            b"HTTP/1.0 200 OK\n\n5 \r\nabcd",
            b"",
        ):
            for size in (1000, 7):
                self.assertEqual(self.unpad(*cut(response, list(range(0, len(response), size)))), response)

    def test_soon(self) -> None:
        """A response without white space is filtered only up to the size of its first chunk."""
        sizes = ChunkSizes()
        sizes.feed(HEAD)
        self.assertTrue(sizes.is_needed)
        sizes.feed(b"5\r\n")
        self.assertFalse(sizes.is_needed)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.lists(st.integers(0, 300), max_size=9))
    def test_anyChunks(self, chunks: list[bytes], places: list[int]) -> None:
        """The content of chunks is never changed."""
        padded = b"".join(b"%-6x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
        plain = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
        self.assertEqual(self.unpad(*cut(HEAD + padded, places)), HEAD + plain)


class ConnectionTests(HttpTestCase):
    """Over a real connection."""

    async def test_padded(self) -> None:
        """A response with white space after the sizes of its chunks is read, and its connection used again."""
        server = Silent(HEAD + BODY)
        url = f"http://127.0.0.1:{self.listen(server)}"
        for _ in range(2):
            answer = await self.http.get(url, {})
            self.assertEqual(await answer.read_all(100), b"hello\r\n5 \r\n")

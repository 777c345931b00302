"""Compressed responses, although the client does not accept compression."""

import gzip
import random
import zlib

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.http.content_coding import MAX_PIECE, decoder_for


class ContentCodingTests(SynchronousTestCase):
    """Compressed responses, although the client does not accept compression."""

    def decode(self, *pieces: bytes, coding: bytes = b"gzip") -> bytes:
        found = decoder_for([coding])
        decoded = b""
        for piece in pieces:
            found.feed(piece)
            while data := found.take():
                self.assertLessEqual(len(data), MAX_PIECE if coding == b"gzip" else len(piece))
                decoded += data
        found.finish()
        return decoded

    def test_gzip(self) -> None:
        """gzip is decompressed in bounded pieces, whatever the input's pieces and its number of members."""
        text = random.Random(1).randbytes(300_000) + bytes(1_000_000)
        data = gzip.compress(text[:99]) + gzip.compress(b"") + gzip.compress(text[99:])
        self.assertEqual(self.decode(data), text)
        self.assertEqual(self.decode(*(data[start : start + 1000] for start in range(0, len(data), 1000))), text)
        small = gzip.compress(b"hello") * 2
        self.assertEqual(self.decode(*(bytes([byte]) for byte in small)), b"hello" * 2)

    def test_flushed(self) -> None:
        """Flushed data is available at once."""
        packer = zlib.compressobj(wbits=31)
        found = decoder_for([b"x-gzip"])
        found.feed(packer.compress(b"data: a\n\n") + packer.flush(zlib.Z_SYNC_FLUSH))
        self.assertEqual(found.take(), b"data: a\n\n")
        self.assertEqual(found.take(), b"")

    def test_heldBack(self) -> None:
        """Output that zlib still holds after all input is not held back until the next input."""
        for rest in range(1, 300):
            packer = zlib.compressobj(wbits=31)
            data = packer.compress(bytes(MAX_PIECE + rest)) + packer.flush(zlib.Z_SYNC_FLUSH)
            for missing in (4, 5):  # bytes of the flush's marker, which contains no data
                expected = len(zlib.decompressobj(31).decompress(data[:-missing]))
                found = decoder_for([b"gzip"])
                found.feed(data[:-missing])
                self.assertEqual(sum(len(found.take()) for _ in range(3)), expected)

    def test_bomb(self) -> None:
        """Highly compressed data is decompressed only as far as it is read."""
        packer = zlib.compressobj(wbits=31)
        bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100))
        found = decoder_for([b"gzip"])
        found.feed(bomb)
        self.assertEqual(len(found.take()), MAX_PIECE)

    def test_others(self) -> None:
        """identity is passed through; other codings, and invalid or truncated gzip data, are errors."""
        self.assertEqual(self.decode(b"as it is", coding=b"identity"), b"as it is")
        for coding in (b"deflate", b"br", b"gzip, gzip", b"zstd"):
            error = self.assertRaises(RobotError, self.decode, b"", coding=coding)
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)
        for data in (b"no gzip", gzip.compress(b"hello")[:-1], gzip.compress(b"hello") + b"x"):
            error = self.assertRaises(RobotError, self.decode, data)
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)

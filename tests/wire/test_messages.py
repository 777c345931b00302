"""Messages and their encodings."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import Decoder
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Category, Fault, RemoteProtocolError
from securechat.wire import messages
from securechat.wire.messages import Chunk, ClientBody, FaultReport, Goodbye, Hello, Reason, ServerBody, decode, encode

HELLO = Hello(1, b"suite", b"n" * 32, b"key", b"d" * 32)

DECODERS: list[Decoder[Any]] = [value for value in vars(messages).values() if isinstance(value, Decoder)]


class MessageTests(SynchronousTestCase):
    """msgpack arrays of fixed arity and fixed types."""

    def assertMalformed(self, decoder: Decoder[Any], data: bytes) -> None:
        error = self.assertRaises(RemoteProtocolError, decode, decoder, data)
        self.assertEqual(error.category, Category.MALFORMED)

    def test_bytesOnTheWire(self) -> None:
        """Encodings are those of the specification, written out by hand."""
        self.assertEqual(
            encode(HELLO),
            b"\x96\xa5hello\x01\xc4\x05suite\xc4\x20" + b"n" * 32 + b"\xc4\x03key\xc4\x20" + b"d" * 32,
        )
        self.assertEqual(encode(Chunk(1, True, b"hi")), b"\x93\x01\xc3\xc4\x02hi")
        self.assertEqual(encode(ClientBody("[a]:1", b"")), b"\x93\xa6client\xa5[a]:1\xc4\x00")
        self.assertEqual(encode(Goodbye(Reason.IDLE, 300)), b"\x92\x02\xcd\x01\x2c")
        self.assertEqual(encode(FaultReport(7, Fault.BUSY)), b"\x92\x07\x06")

    def test_roundTrip(self) -> None:
        """An encoded message decodes to the same message."""
        self.assertEqual(decode(messages.HELLO, encode(HELLO)), HELLO)

    def test_refusesAnotherArityTypeOrLength(self) -> None:
        """A wrong number of fields, type, nonce length or tag is malformed."""
        fields = ["hello", 1, b"suite", b"n" * 32, b"key", b"d" * 32]
        self.assertEqual(msgspec.msgpack.encode(fields), encode(HELLO))
        for bad in (
            fields[:-1],
            [*fields, 0],
            ["welcome", *fields[1:]],
            ["hello", True, *fields[2:]],
            ["hello", 1.0, *fields[2:]],
            [*fields[:2], "suite", *fields[3:]],
            [*fields[:3], b"n" * 31, *fields[4:]],
            [*fields[:3], b"n" * 33, *fields[4:]],
            [*fields[:5], b"d" * 31],
            [*fields[:5], None],
            {"hello": 1},
            1,
        ):
            self.assertMalformed(messages.HELLO, msgspec.msgpack.encode(bad))

    def test_refusesAnotherEncoding(self) -> None:
        """A value that is not in its shortest encoding, or followed by more bytes, is malformed."""
        good = encode(Chunk(1, True, b"hi"))
        self.assertEqual(decode(messages.CHUNK, good), Chunk(1, True, b"hi"))
        for bad in (
            good + b"\0",
            good[:-1],
            b"",
            b"\xdc\x00\x03" + good[1:],  # array 16
            b"\x93\xcc\x01\xc3\xc4\x02hi",  # uint 8
            b"\x93\xd0\x01\xc3\xc4\x02hi",  # int 8
            b"\x93\x01\xc3\xc5\x00\x02hi",  # bin 16
            b"\x93\x01\xc3\xa2hi",  # str
            b"\x93\xff\xc3\xc4\x02hi",  # -1
            b"\x91" * 3000,  # too deep
        ):
            self.assertMalformed(messages.CHUNK, bad)

    def test_refusesUnknownNumbers(self) -> None:
        """An undefined reason, fault or client_auth is malformed."""
        self.assertMalformed(messages.GOODBYE, b"\x92\x06\x01")
        self.assertMalformed(messages.FAULT_REPORT, b"\x92\x01\x00")
        self.assertMalformed(messages.SERVER_BODY, encode(ServerBody(b"k", 3)))  # type: ignore[arg-type]

    def test_invalidUtf8(self) -> None:
        """A str that is not valid UTF-8 is malformed."""
        self.assertMalformed(messages.CLIENT_BODY, b"\x93\xa6client\xa1\xff\xc4\x00")

    def test_showsNothing(self) -> None:
        """The repr of a message does not contain its fields."""
        self.assertEqual(repr(Chunk(1, True, b"secret")), "<Chunk>")

    @given(st.binary(max_size=600), st.sampled_from(DECODERS))
    def test_anyBytes(self, data: bytes, decoder: Decoder[Any]) -> None:
        """Any bytes are a message in its one encoding, or malformed."""
        try:
            message = decode(decoder, data)
        except RemoteProtocolError as error:
            self.assertEqual(error.category, Category.MALFORMED)
        else:
            self.assertEqual(encode(message), data)

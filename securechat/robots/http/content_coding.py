"""Decoders for the content codings of HTTP responses: identity, and gzip in pieces."""

import zlib
from collections.abc import Sequence
from typing import Final, Protocol

from securechat.errors import Fault, RobotError

MAX_PIECE: Final = 64 * 1024  # bytes, decompressed, at a time

_GZIP: Final = zlib.MAX_WBITS | 16  # zlib's parameter for data with a gzip header


class ContentDecoder(Protocol):
    """Decodes the body of a response."""

    @property
    def has_more(self) -> bool:
        """Whether `take` may return more without further input."""

    def feed(self, data: bytes) -> None:
        """Add bytes of the body."""

    def take(self) -> bytes:
        """The next decoded bytes; empty if more input is needed. RobotError (broken answer) if it is invalid."""

    def finish(self) -> None:
        """The body is over. RobotError (broken answer) if it was truncated."""


class _Identity:
    """No coding."""

    has_more = False

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> None:
        self._data += data

    def take(self) -> bytes:
        data, self._data = self._data, b""
        return data

    def finish(self) -> None:
        pass


class _Gzip:
    """gzip, in pieces of at most MAX_PIECE: a few bytes can decompress to more than fits in memory."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP)
        self._data = b""
        self._more = False  # there may be more output without further input, although all of it was taken

    @property
    def has_more(self) -> bool:
        return bool(self._data) or self._more

    def feed(self, data: bytes) -> None:
        self._data += data

    def take(self) -> bytes:
        parts: list[bytes] = []
        left = MAX_PIECE
        while left and self.has_more:
            if self._inflate.eof:  # the next member
                self._inflate = zlib.decompressobj(_GZIP)
            try:
                data = self._inflate.decompress(self._data, left)
            except zlib.error:
                if parts:  # the error is that of the next call
                    break
                raise RobotError(Fault.BROKEN_ANSWER, "invalid gzip data in the response") from None
            self._data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            self._more = len(data) == left and not self._inflate.eof
            left -= len(data)
            parts.append(data)
        return b"".join(parts)

    def finish(self) -> None:
        if not self._inflate.eof:
            raise RobotError(Fault.BROKEN_ANSWER, "the response was truncated")


def decoder_for(header: Sequence[bytes]) -> ContentDecoder:
    """A decoder for the values of a Content-Encoding header. RobotError (broken answer) if there is none for them.

    The client does not accept compression, but some servers and proxies compress all the same.
    """
    codings = [coding.strip().lower() for value in header for coding in value.split(b",")]
    codings = [coding for coding in codings if coding not in (b"", b"identity")]
    if not codings:
        return _Identity()
    if codings in ([b"gzip"], [b"x-gzip"]):
        return _Gzip()
    raise RobotError(Fault.BROKEN_ANSWER, "unsupported Content-Encoding in the response")

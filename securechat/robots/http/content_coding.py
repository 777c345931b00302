"""Decoders for the content codings of HTTP responses: identity, and gzip in pieces."""

import zlib
from collections.abc import Sequence
from typing import Final, Protocol

from securechat.errors import Fault, RobotError
from securechat.i18n import _

MAX_PIECE: Final = 64 * 1024  # bytes, decompressed, at a time

_GZIP: Final = zlib.MAX_WBITS | 16  # zlib's parameter for data with a gzip header


class ContentDecoder(Protocol):
    """Decodes the body of a response."""

    def feed(self, data: bytes) -> None:
        """Add bytes of the body."""

    def take(self) -> bytes:
        """The next decoded bytes; empty if more input is needed. RobotError (broken answer) if it is invalid."""

    def finish(self) -> None:
        """The body is over. RobotError (broken answer) if it was truncated."""


class _Identity:
    """No coding."""

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
        self._more = False  # there may be more output without further input

    def feed(self, data: bytes) -> None:
        self._data += data

    def take(self) -> bytes:
        while self._data or self._more:
            if self._inflate.eof:  # the next member
                self._inflate = zlib.decompressobj(_GZIP)
            try:
                data = self._inflate.decompress(self._data, MAX_PIECE)
            except zlib.error:
                raise RobotError(Fault.BROKEN_ANSWER, _("invalid gzip data in the response")) from None
            self._data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            self._more = len(data) == MAX_PIECE and not self._inflate.eof
            if data:
                return data
        return b""

    def finish(self) -> None:
        if not self._inflate.eof:
            raise RobotError(Fault.BROKEN_ANSWER, _("the response was truncated"))


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
    raise RobotError(Fault.BROKEN_ANSWER, _("unsupported Content-Encoding in the response"))

"""Content codings of HTTP responses: gzip, undone a piece at a time."""

import zlib
from collections.abc import Sequence
from typing import Final, Protocol

from securechat.errors import Fault, RobotError
from securechat.i18n import _

MAX_PIECE: Final = 64 * 1024  # bytes that are decompressed at once

_GZIP: Final = zlib.MAX_WBITS | 16  # zlib's way to say "with gzip's header"


class ContentDecoder(Protocol):
    """Undoes a content coding."""

    def feed(self, data: bytes) -> None:
        """Add bytes of the body."""

    def take(self) -> bytes:
        """The next piece, at most MAX_PIECE if decompressed; empty if more input is needed. RobotError (broken answer)
        if it is not in the coding."""

    def finish(self) -> None:
        """The body is over. RobotError (broken answer) if it is incomplete."""


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
    """gzip, of one or several members. A few bytes may decompress to more than memory holds: so in pieces."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP)
        self._data = b""
        self._more = False  # there may be output without further input

    def feed(self, data: bytes) -> None:
        self._data += data

    def take(self) -> bytes:
        while self._data or self._more:
            if self._inflate.eof:  # another member follows
                self._inflate = zlib.decompressobj(_GZIP)
            try:
                data = self._inflate.decompress(self._data, MAX_PIECE)
            except zlib.error:
                raise RobotError(Fault.BROKEN_ANSWER, _("the answer is no gzip")) from None
            self._data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            self._more = len(data) == MAX_PIECE and not self._inflate.eof
            if data:
                return data
        return b""

    def finish(self) -> None:
        if not self._inflate.eof:
            raise RobotError(Fault.BROKEN_ANSWER, _("the answer was cut"))


def decoder_for(header: Sequence[bytes]) -> ContentDecoder:
    """The decoder for the values of a `Content-Encoding` header; RobotError (broken answer) if there is none.

    The client does not ask for compression; some servers and proxies compress nevertheless.
    """
    codings = [coding.strip().lower() for value in header for coding in value.split(b",")]
    codings = [coding for coding in codings if coding not in (b"", b"identity")]
    if not codings:
        return _Identity()
    if codings in ([b"gzip"], [b"x-gzip"]):
        return _Gzip()
    raise RobotError(Fault.BROKEN_ANSWER, _("the answer is compressed in a way that was not asked for"))

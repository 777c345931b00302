"""Removes white space after the sizes of chunks, which RFC 9112 (section 7.1) does not allow but some servers send.

twisted.web rejects such responses.
"""

import re
from typing import Final

MAX_HEAD: Final = 128 * 1024  # bytes of a head that is searched for Transfer-Encoding
MAX_LINE: Final = 1024  # bytes of a line with the size of a chunk

_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_CHUNKED: Final = re.compile(rb"\ntransfer-encoding:[ \t]*chunked[ \t]*\r?\n", re.IGNORECASE)
_PADDED: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]+(;[^\r\n]*)?\r?\n")


class ChunkSizes:
    """Filters the bytes of one response. `is_needed` becomes false as soon as they need no change."""

    def __init__(self) -> None:
        self.is_needed = True
        self._head: bytearray | None = bytearray()  # as far as it has arrived; None after it
        self._line = b""  # the beginning of a line with a size
        self._left = 0  # bytes of the present chunk, with the line end after it

    def feed(self, data: bytes) -> bytes:
        """The same bytes without the white space."""
        if self._head is None:
            return self._unpad(data)
        known = len(self._head)
        self._head += data
        end = _HEAD_END.search(self._head, max(known - 3, 0))
        if end is None:
            self.is_needed = len(self._head) <= MAX_HEAD
            return data
        is_chunked = _CHUNKED.search(self._head[: end.end()])
        self._head = None
        if is_chunked is None:
            self.is_needed = False
            return data
        start = end.end() - known
        return data[:start] + self._unpad(data[start:])

    def _unpad(self, data: bytes) -> bytes:
        parts = []
        while data and self.is_needed:
            if self._left:
                parts.append(data[: self._left])
                data, self._left = data[self._left :], max(self._left - len(data), 0)
                continue
            line, newline, data = data.partition(b"\n")
            self._line += line + newline
            if not newline and len(self._line) <= MAX_LINE:
                break
            parts.append(self._size_received(self._line))
            self._line = b""
        return b"".join(parts) + data

    def _size_received(self, line: bytes) -> bytes:
        padded = _PADDED.fullmatch(line)
        if padded is None or int(padded[1], 16) == 0:  # not padded at all, or the last chunk
            self.is_needed = False
        if padded is None:
            return line
        self._left = int(padded[1], 16) + 2
        return padded[1] + (padded[2] or b"") + b"\r\n"

"""Takes complete chunks out of a chunked response, before twisted.web decodes the rest of it.

Servers send a chunk for each token, and twisted.web takes longer for a chunk than everything else does for its token.
It also rejects white space after the size of a chunk, which some servers send although RFC 9112 (section 7.1) does not
allow it.
"""

import re
from typing import Final

from twisted.internet.interfaces import IProtocol

MAX_HEAD: Final = 128 * 1024  # bytes of a head that is searched for Transfer-Encoding
MAX_LINE: Final = 1024  # bytes of a line with the size of a chunk

_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_CHUNKED: Final = re.compile(rb"\ntransfer-encoding:[ \t]*chunked[ \t]*\r?\n", re.IGNORECASE)
_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,15})(?:\r\n|[ \t]+(?:;[^\r\n]*)?\r?\n)")
_END: Final = b"\r\n"  # of a chunk


class ChunkFilter:
    """Filters the bytes of one response. `is_needed` becomes false as soon as the rest of them needs no change."""

    def __init__(self) -> None:
        self.is_needed = True
        self.body: IProtocol | None = None  # receives the content of chunks, once the body is being delivered
        self._head: bytearray | None = bytearray()  # as far as it has arrived; None after it
        self._line = b""  # the beginning of a line with a size
        self._left = 0  # bytes of the present chunk, with the line end after it

    def feed(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        """What to decode, the content of the complete chunks after that, and what to decode after those.

        Part of `data` may be held back until the next call.
        """
        if self._head is None:
            return self._split(data)
        known = len(self._head)
        self._head += data
        end = _HEAD_END.search(self._head, max(known - 3, 0))
        if end is None:
            self.is_needed = len(self._head) <= MAX_HEAD
            return data, b"", b""
        is_chunked = _CHUNKED.search(self._head[: end.end()])
        self._head = None
        if is_chunked is None:
            self.is_needed = False
            return data, b"", b""
        start = end.end() - known
        before, content, after = self._split(data[start:])
        return data[:start] + before, content, after

    def _split(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        if self._left > len(data):
            self._left -= len(data)
            return data, b"", b""
        before, data = data[: self._left], self._line + data[self._left :]
        self._left, self._line = 0, b""
        contents, position, after = [], 0, b""
        while position < len(data):
            line = _SIZE.match(data, position)
            if line is None:
                self._line = data[position:]
                if len(self._line) > MAX_LINE or b"\n" in self._line:  # twisted.web knows what it is
                    self.is_needed = False
                    after, self._line = self._line, b""
                break
            start = line.end()
            end = start + int(line[1], 16)
            if end > start and data[end : end + 2] == _END:
                contents.append(data[start:end])
                position = end + 2
                continue
            # The last chunk, one that is not complete, or one that has no end.
            after = line[1] + _END + data[start:]
            self._left = end + 2 - len(data)
            self.is_needed = end > start and self._left > 0
            break
        return before, b"".join(contents), after


def as_chunk(content: bytes) -> bytes:
    """The content of chunks as a single chunk."""
    return b"%x\r\n%b\r\n" % (len(content), content)

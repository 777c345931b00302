"""What an observer of the network records: when bytes pass, and how many."""

import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Final

from securechat.wire.suites import DEFAULT_SUITE, SUITES

RECORD: Final = SUITES[DEFAULT_SUITE].record_size + 4  # bytes on the wire
READ_SIZE: Final = 256 * 1024  # bytes
_SO_TIMESTAMPNS: Final = 35  # Linux: the kernel notes when a packet arrived
_TIMESPEC: Final = struct.Struct("@ll")


@dataclass
class Sample:
    """One observed reply, or several asked together."""

    label: str  # its class
    session: int
    pieces: list[tuple[float, int]] = field(default_factory=list)  # from the server: seconds since the message, bytes
    next: float = 0.0  # seconds from the message to the client's next one, if the client decides that

    @property
    def records(self) -> int:
        """The number of records."""
        return sum(size for _moment, size in self.pieces) // RECORD


def timestamp(connection: socket.socket) -> None:
    """Have the kernel note the arrival of packets, so that our own delays do not blur it."""
    if hasattr(socket, "CMSG_SPACE"):
        connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def receive(connection: socket.socket) -> tuple[bytes, float]:
    """The available bytes, and the wall-clock time at which they arrived, in seconds."""
    data, ancillary, _flags, _address = connection.recvmsg(READ_SIZE, socket.CMSG_SPACE(_TIMESPEC.size))
    for level, kind, value in ancillary:
        if (level, kind, len(value)) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS, _TIMESPEC.size):
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            return data, seconds + nanoseconds / 1e9
    return data, time.time()

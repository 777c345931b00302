"""Replies on their way to a client: text that waits to leave, taken out one record at a time.

The robot puts text in as it comes; whoever sets the pace takes records out. Neither sees the other.
"""

from collections import deque
from typing import Final

from securechat.errors import Fault
from securechat.wire.connection import MAX_CHUNK
from securechat.wire.server_connection import ServerConnection

HIGH_WATER: Final = 16 * 1024  # bytes that may wait before the robot should
MAX_REPLIES: Final = 64  # that may wait, however short: some are nothing but a fault


class _Reply:
    """What is left of one reply, and how it ends, once that is known."""

    __slots__ = ("ended", "fault", "message_id", "waiting")

    def __init__(self, message_id: int) -> None:
        self.message_id = message_id
        self.waiting = b""
        self.ended = False
        self.fault: Fault | None = None


class Outbox:
    """The replies of one session, in the order of their messages; the last one may still be growing."""

    __slots__ = ("_connection", "_replies", "_waiting")

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._replies: deque[_Reply] = deque()
        self._waiting = 0  # bytes, of all replies

    def begin(self, message_id: int) -> None:
        """What is added from now on belongs to the reply to this message."""
        self._replies.append(_Reply(message_id))

    def add(self, data: bytes) -> None:
        """More of the reply that was begun last."""
        self._replies[-1].waiting += data
        self._waiting += len(data)

    def end(self, fault: Fault | None = None) -> None:
        """The reply that was begun last is complete, or ended in a fault."""
        reply = self._replies[-1]
        reply.ended = True
        reply.fault = fault

    def cancel(self, message_id: int) -> None:
        """Drop what waits of the reply to this message; if it is complete, it ends in the fault that says so."""
        for reply in self._replies:
            if reply.message_id == message_id:
                self._waiting -= len(reply.waiting)
                reply.waiting = b""
                if reply.ended:
                    reply.fault = Fault.CANCELLED

    @property
    def is_empty(self) -> bool:
        """Whether every reply that was begun has been sent, with its end."""
        return not self._replies

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no more should be added for now."""
        return self._waiting > HIGH_WATER or len(self._replies) > MAX_REPLIES

    def send_record(self) -> bool:
        """Hand the next record to the connection; False if nothing waits."""
        if not self._replies:
            return False
        reply = self._replies[0]
        chunk = reply.waiting[:MAX_CHUNK]
        rest = reply.waiting[MAX_CHUNK:]
        if not chunk and not reply.ended:
            return False
        if self._connection.rekey_due():
            self._connection.pad()
            return True
        if reply.fault is not None and not chunk:
            self._connection.fault(reply.message_id, reply.fault)
            self._replies.popleft()
            return True
        last = reply.ended and reply.fault is None and not rest
        self._connection.reply(reply.message_id, chunk, last)
        reply.waiting = rest
        self._waiting -= len(chunk)
        if last:
            self._replies.popleft()
        return True

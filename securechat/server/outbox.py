"""Replies on their way to a client: the robot adds text, the pace takes records out.

A reply is in the outbox from the arrival of its message until its last record is sealed, so that an empty outbox means
that nothing more will come.
"""

from typing import Final

from twisted.internet.defer import Deferred

from securechat.errors import Fault
from securechat.wire.connection import MAX_CHUNK
from securechat.wire.server_connection import ServerConnection

HIGH_WATER: Final = 16 * 1024  # bytes of text; above, the robot is not read
MAX_REPLIES: Final = 64  # in the outbox, however short: a cancelled one is nothing but a fault


class Reply:
    """The unsent part of one reply, and how the reply ends, once that is known."""

    __slots__ = ("fault", "has_ended", "message_id", "unsent")

    def __init__(self, message_id: int) -> None:
        self.message_id = message_id
        self.unsent = b""
        self.has_ended = False
        self.fault: Fault | None = None

    def end(self, fault: Fault | None = None) -> None:
        """The reply is complete, or ends in a fault; no effect if it has ended already."""
        if not self.has_ended:
            self.has_ended, self.fault = True, fault


class Outbox:
    """The replies of one session, in the order of their messages."""

    __slots__ = ("_connection", "_is_paused", "_replies", "_room", "_size")

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._replies: list[Reply] = []
        self._size = 0  # bytes of text, of all replies
        self._is_paused = False
        self._room: Deferred[None] | None = None  # set while the robot waits for room

    def open(self, message_id: int) -> Reply:
        """Make a place for the reply to a message."""
        reply = Reply(message_id)
        self._replies.append(reply)
        return reply

    def add(self, reply: Reply, data: bytes) -> None:
        """Append text to a reply; ignored once the reply has ended."""
        if not reply.has_ended:
            reply.unsent += data
            self._size += len(data)

    def cancel(self, message_id: int) -> Reply | None:
        """Drop the unsent part of a reply and end it in CANCELLED; None if its last record is sealed."""
        for reply in self._replies:
            if reply.message_id == message_id:
                self._size -= len(reply.unsent)
                reply.unsent = b""
                reply.has_ended, reply.fault = True, Fault.CANCELLED
                return reply
        return None

    @property
    def is_empty(self) -> bool:
        """Whether every message has its whole reply."""
        return not self._replies

    @property
    def is_full(self) -> bool:
        """Whether the robot should not be read for now."""
        return self._is_paused or self._size > HIGH_WATER or len(self._replies) > MAX_REPLIES

    async def room(self) -> None:
        """Wait until the outbox is not full; call it only when it is. One caller at a time."""
        while self.is_full:
            self._room = Deferred()
            try:
                await self._room
            finally:
                self._room = None

    def pause(self) -> None:
        """The client does not read: the outbox counts as full."""
        self._is_paused = True

    def resume(self) -> None:
        """The client reads again."""
        self._is_paused = False
        self.announce_room()

    def announce_room(self) -> None:
        """Wake the caller of `room`, if there is room."""
        if self._room is not None and not self._room.called and not self.is_full:
            self._room.callback(None)

    def send_record(self) -> bool:
        """Hand the next record to the connection; False if there is none."""
        if not self._replies:
            return False
        reply = self._replies[0]
        chunk, rest = reply.unsent[:MAX_CHUNK], reply.unsent[MAX_CHUNK:]
        if not chunk and not reply.has_ended:
            return False
        if self._connection.rekey_due():
            self._connection.pad()
        elif reply.fault is not None and not chunk:
            self._connection.fault(reply.message_id, reply.fault)
            del self._replies[0]
        else:
            last = reply.has_ended and reply.fault is None and not rest
            self._connection.reply(reply.message_id, chunk, last)
            reply.unsent = rest
            self._size -= len(chunk)
            if last:
                del self._replies[0]
        return True

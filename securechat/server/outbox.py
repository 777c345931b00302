"""Replies on their way to a client: the robot adds to them, the pace takes records out.

A reply is in the outbox from the arrival of its message until its last record is sealed, so that an empty outbox means
that nothing more will come.
"""

from collections import Counter
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred

from securechat.errors import Fault
from securechat.server.replies import Part, Refusal, Reply, Result, TextReply
from securechat.wire.connection import MAX_CHUNK
from securechat.wire.server_connection import ServerConnection

HIGH_WATER: Final = 16 * 1024  # bytes; above, the robot is not read
MAX_REPLIES: Final = 5  # one that is being given, and those of four messages that wait
MAX_REFUSALS: Final = 64  # beside them; then the client is not read

AnyReply = TypeVar("AnyReply", bound=Reply[Any])


class Outbox:
    """The replies of one session, in the order of their messages."""

    __slots__ = (
        "_connection",
        "_counts",
        "_is_paused",
        "_max_reply",
        "_max_response",
        "_refusals",
        "_replies",
        "_room",
        "_size",
        "_want_messages",
    )

    def __init__(
        self,
        connection: ServerConnection,
        max_reply: int,
        max_response: int,
        counts: Counter[tuple[bool, Fault | None]],
    ) -> None:
        """The maximums are the numbers of bytes in the longest reply, and in the longest response to an API request.

        `counts` counts the replies that were sent to their end, as in `Counters`.
        """
        self._connection = connection
        self._counts = counts
        self._max_reply = max_reply
        self._max_response = max_response
        self._replies: list[Reply[Any]] = []
        self._refusals = 0  # of the replies, those that are nothing but a fault
        self._size = 0  # bytes that wait, of all replies
        self._is_paused = False
        self._room: Deferred[None] | None = None  # set while the robot waits for room
        self._want_messages: Deferred[None] | None = None  # set while the client is not read

    def open(self, message_id: int) -> TextReply | None:
        """Make a place for the reply to a SAY; None if all places are taken."""
        return self._place(TextReply(message_id, self._max_reply))

    def open_result(self, message_id: int) -> Result | None:
        """Make a place for the result of a CALL; None if all places are taken."""
        return self._place(Result(message_id, self._max_response))

    def _place(self, reply: AnyReply) -> AnyReply | None:
        if len(self._replies) - self._refusals >= MAX_REPLIES:
            return None
        self._replies.append(reply)
        return reply

    def refuse(self, message_id: int, fault: Fault) -> None:
        """Answer a message with a fault alone, in its turn. It takes none of the places."""
        self._replies.append(Refusal(message_id, fault))
        self._refusals += 1

    def add(self, reply: Reply[Part], part: Part) -> bool:
        """Append to a reply; ignored once the reply has ended.

        False if the reply would become too long. RobotError if the part is not valid.
        """
        if reply.has_ended:
            return True
        before = reply.size
        fits = reply.add(part)
        self._size += reply.size - before
        return fits

    def cancel(self, message_id: int) -> Reply[Any] | None:
        """Drop the unsent part of a reply and end it in CANCELLED; None if its last record is sealed."""
        for reply in self._replies:
            if reply.message_id == message_id:
                self._size -= reply.size
                reply.drop()
                reply.has_ended, reply.fault = True, Fault.CANCELLED
                return None if reply.is_refusal else reply
        return None

    @property
    def waiting(self) -> int:
        """The number of messages that have not been answered to the end."""
        return len(self._replies)

    @property
    def size(self) -> int:
        """The number of bytes of replies that wait to be sent."""
        return self._size

    @property
    def is_empty(self) -> bool:
        """Whether every message has its whole reply."""
        return not self._replies

    @property
    def is_full(self) -> bool:
        """Whether the robot should not be read for now."""
        return self._is_paused or self._size > HIGH_WATER

    @property
    def has_too_many_refusals(self) -> bool:
        """Whether the client should not be read for now."""
        return self._refusals >= MAX_REFUSALS

    def fewer_refusals(self) -> Deferred[None]:
        """Fires when the client may be read again. One caller at a time."""
        self._want_messages = Deferred()
        return self._want_messages

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
        """Wake those who wait for room, if there is some now."""
        if self._room is not None and not self._room.called and not self.is_full:
            self._room.callback(None)
        if self._want_messages is not None and not self.has_too_many_refusals:
            wanted, self._want_messages = self._want_messages, None
            wanted.callback(None)

    def send_record(self) -> bool:
        """Hand the next record to the connection; False if there is none."""
        if self._connection.owes_host_key:
            if self._connection.rekey_due():
                self._connection.pad()
            else:
                self._connection.send_host_key()
            return True
        if not self._replies:
            return False
        reply = self._replies[0]
        waiting = reply.size
        if not waiting and not reply.has_ended:
            return False
        if self._connection.rekey_due():
            self._connection.pad()
        elif reply.fault is not None and not waiting:
            self._connection.fault(reply.message_id, reply.fault)
            self._remove(reply)
            self._refusals -= reply.is_refusal
        else:
            chunk = reply.take(MAX_CHUNK)
            self._size -= waiting - reply.size
            last = reply.has_ended and reply.fault is None and not reply.size
            send = self._connection.result if reply.is_result else self._connection.reply
            send(reply.message_id, chunk, last)
            if last:
                self._remove(reply)
        return True

    def _remove(self, reply: Reply[Any]) -> None:
        """The first reply was sent to its end."""
        del self._replies[0]
        self._counts[reply.is_result, reply.fault] += 1

"""The server's end of a session, without its socket (protocol, sections 3, 7 and 8)."""

from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from securechat.errors import Category, Fault, LocalProtocolError, RemoteProtocolError
from securechat.wire.connection import Connection, State
from securechat.wire.events import (
    CancelReceived,
    ClientProved,
    Event,
    HelloReceived,
    MessageReceived,
    MessageRefused,
    NewReceived,
)
from securechat.wire.handshake import ServerHandshake
from securechat.wire.messages import (
    CANCEL,
    CHUNK,
    MAX_ABOUT,
    About,
    Chunk,
    FaultReport,
    decode,
    encode,
)
from securechat.wire.records import RecordType


def _fit(text: str) -> str:
    """`text`, truncated to whole characters within MAX_ABOUT bytes."""
    return text.encode()[:MAX_ABOUT].decode(errors="ignore")


class Quota(Protocol):
    """The memory that the messages of a client may take, in bytes of UTF-8."""

    def take(self, size: int) -> bool:
        """Take some of it; False if there is not so much left."""

    def give_back(self, size: int) -> None:
        """Return some that was taken."""


class ServerConnection(Connection):
    """Authenticates a client, receives messages, and sends the replies in the order of the messages.

    A message counts for the client's quota from its first chunk until its reply has ended. One that would exceed the
    quota is not kept; its end is a MessageRefused.
    """

    __slots__ = (
        "_handshake",
        "_max_message",
        "_message",
        "_quota",
        "_sizes",
        "message_size",
        "next_reply_id",
        "next_say_id",
    )

    _quota: Quota  # from `admit` on

    def __init__(self, handshake: ServerHandshake, clock: Callable[[], float]) -> None:
        super().__init__(State.HELLO, clock)
        self._handshake: ServerHandshake | None = handshake
        self._max_message = 0  # bytes; ABOUT says it
        self._message: bytearray | None = None  # the chunks of an incomplete message, unless they exceed the quota
        self._sizes: list[int] = []  # bytes that the messages count whose replies have not ended
        self.message_size = 0  # bytes of an incomplete message so far, kept or not; 0 if there is none
        self.next_say_id = 1  # the id of the next or the incomplete message
        self.next_reply_id = 1  # the id of the first message whose reply is not complete

    # In

    def _receive_handshake(self, frame: bytes) -> Event:
        assert self._handshake is not None
        welcome, keys = self._handshake.receive_hello(frame)
        self._use_keys(self._handshake.suite, seal_with=keys.server, open_with=keys.client)
        proof = self._handshake.prove()
        self._send_frame(welcome)
        self._seal(RecordType.PROOF, proof)
        self.state = State.CLIENT_PROOF
        return HelloReceived()

    def _receive_first(self, record_type: int, payload: bytes) -> Event:
        if record_type != RecordType.PROOF:
            raise RemoteProtocolError(Category.ORDER)
        assert self._handshake is not None
        handshake, self._handshake = self._handshake, None
        keys = handshake.receive_client_proof(payload)
        if self.has_partial_record:  # the client has to wait for ABOUT
            raise RemoteProtocolError(Category.ORDER)
        self._use_keys(handshake.suite, seal_with=keys.server, open_with=keys.client)
        self.state = State.OPEN
        return ClientProved(handshake.user_key)

    def _receive_record(self, record_type: int, payload: bytes) -> Event | None:
        if record_type == RecordType.SAY:
            return self._receive_say(decode(CHUNK, payload))
        if record_type == RecordType.CANCEL:
            message_id = decode(CANCEL, payload).id
            if not 1 <= message_id < self.next_say_id:
                raise RemoteProtocolError(Category.ORDER)
            return CancelReceived(message_id)
        if record_type == RecordType.NEW and not self.message_size:
            self._check_empty(payload)
            return NewReceived()
        raise RemoteProtocolError(Category.ORDER)

    def _receive_say(self, say: Chunk) -> MessageReceived | MessageRefused | None:
        chunk = say.chunk
        if say.id != self.next_say_id:
            raise RemoteProtocolError(Category.ORDER)
        if not chunk and not say.last:
            raise RemoteProtocolError(Category.MALFORMED)
        size = self.message_size + len(chunk)
        if size > self._max_message:
            raise RemoteProtocolError(Category.MESSAGE)
        is_kept = self._take_room(len(chunk))
        message = self._message
        if message is not None:
            message += chunk
        if not say.last:
            if is_kept and message is None:
                self._message = bytearray(chunk)
            self.message_size = size
            return None
        self._message = None
        self.message_size = 0
        self._sizes.append(size if is_kept else 0)
        self.next_say_id += 1
        if not is_kept:
            return MessageRefused(say.id)
        try:
            text = (chunk if message is None else message).decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError(Category.MESSAGE) from None
        return MessageReceived(say.id, text)

    def _take_room(self, size: int) -> bool:
        """Count a chunk for the quota; False if the message exceeds it, or did before. Then its chunks are dropped."""
        if self.message_size and self._message is None:
            return False
        if self._quota.take(size):
            return True
        self._quota.give_back(self.message_size)
        self._message = None
        return False

    # Out

    def admit(self, about: About, quota: Quota) -> None:
        """Send ABOUT, the first record after the client's PROOF. Texts longer than MAX_ABOUT bytes are truncated."""
        texts = {"user": _fit(about.user), "robot": _fit(about.robot), "software": _fit(about.software)}
        self._send(RecordType.ABOUT, encode(replace(about, **texts)))
        self._max_message = about.max_message
        self._quota = quota

    def reply(self, message_id: int, chunk: bytes, last: bool) -> None:
        """Send a part of a reply, at most MAX_CHUNK bytes; only the last may be empty."""
        self._check_next_reply(message_id)
        if not chunk and not last:
            raise LocalProtocolError("an empty chunk that is not the last")
        self._send(RecordType.REPLY, encode(Chunk(message_id, last, chunk)))
        if last:
            self._end_reply()

    def fault(self, message_id: int, fault: Fault) -> None:
        """Send FAULT, which ends a reply."""
        self._check_next_reply(message_id)
        self._send(RecordType.FAULT, encode(FaultReport(message_id, fault)))
        self._end_reply()

    def _end_reply(self) -> None:
        self.next_reply_id += 1
        self._quota.give_back(self._sizes.pop(0))

    def _check_next_reply(self, message_id: int) -> None:
        if not message_id == self.next_reply_id < self.next_say_id:
            raise LocalProtocolError(f"reply to {message_id} while it is {self.next_reply_id}'s turn")

    def close(self) -> None:
        super().close()
        held = sum(self._sizes) + (len(self._message) if self._message is not None else 0)
        if held:
            self._quota.give_back(held)
        self._handshake = self._message = None
        self._sizes.clear()
        self.message_size = 0

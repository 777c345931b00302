"""The server's end of a session, without its socket (protocol, sections 3, 7 and 8)."""

from collections.abc import Callable

from msgspec.structs import replace

from securechat.errors import Category, Fault, LocalProtocolError, RemoteProtocolError
from securechat.wire.connection import Connection, State
from securechat.wire.events import (
    CancelReceived,
    ClientProved,
    Event,
    HelloReceived,
    MessageReceived,
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


class ServerConnection(Connection):
    """Authenticates a client, receives messages, and sends the replies in the order of the messages."""

    __slots__ = ("_handshake", "_max_message", "_message", "next_reply_id", "next_say_id")

    def __init__(self, handshake: ServerHandshake, clock: Callable[[], float]) -> None:
        super().__init__(State.HELLO, clock)
        self._handshake: ServerHandshake | None = handshake
        self._max_message = 0  # bytes; ABOUT says it
        self._message: bytearray | None = None  # the chunks so far of an incomplete message
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
        if record_type == RecordType.NEW and self._message is None:
            self._check_empty(payload)
            return NewReceived()
        raise RemoteProtocolError(Category.ORDER)

    def _receive_say(self, say: Chunk) -> MessageReceived | None:
        if say.id != self.next_say_id:
            raise RemoteProtocolError(Category.ORDER)
        if not say.chunk and not say.last:
            raise RemoteProtocolError(Category.MALFORMED)
        message: bytes | bytearray = say.chunk
        if self._message is not None:
            message = self._message
            message += say.chunk
        if len(message) > self._max_message:
            raise RemoteProtocolError(Category.MESSAGE)
        if not say.last:
            self._message = bytearray(message) if self._message is None else self._message
            return None
        try:
            text = message.decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError(Category.MESSAGE) from None
        self._message = None
        self.next_say_id += 1
        return MessageReceived(say.id, text)

    # Out

    def admit(self, about: About) -> None:
        """Send ABOUT, the first record after the client's PROOF. Texts longer than MAX_ABOUT bytes are truncated."""
        texts = {"user": _fit(about.user), "robot": _fit(about.robot), "software": _fit(about.software)}
        self._send(RecordType.ABOUT, encode(replace(about, **texts)))
        self._max_message = about.max_message

    def reply(self, message_id: int, chunk: bytes, last: bool) -> None:
        """Send a part of a reply, at most MAX_CHUNK bytes; only the last may be empty."""
        self._check_next_reply(message_id)
        if not chunk and not last:
            raise LocalProtocolError("an empty chunk that is not the last")
        self._send(RecordType.REPLY, encode(Chunk(message_id, last, chunk)))
        self.next_reply_id += last

    def fault(self, message_id: int, fault: Fault) -> None:
        """Send FAULT, which ends a reply."""
        self._check_next_reply(message_id)
        self._send(RecordType.FAULT, encode(FaultReport(message_id, fault)))
        self.next_reply_id += 1

    def _check_next_reply(self, message_id: int) -> None:
        if not message_id == self.next_reply_id < self.next_say_id:
            raise LocalProtocolError(f"reply to {message_id} while it is {self.next_reply_id}'s turn")

    def close(self) -> None:
        super().close()
        self._handshake = self._message = None

"""The client's end of a session, without its socket (protocol, sections 3, 7, 8 and 10)."""

import codecs
from collections.abc import Callable

from securechat.errors import Category, Fault, LocalProtocolError, RemoteProtocolError
from securechat.wire.connection import MAX_CHUNK, Connection, State
from securechat.wire.events import Admitted, Event, FaultReceived, ReplyReceived, ServerProved, WelcomeReceived
from securechat.wire.handshake import ClientHandshake
from securechat.wire.messages import (
    ABOUT,
    CHUNK,
    FAULT_REPORT,
    MAX_ABOUT,
    Cancel,
    Chunk,
    decode,
    encode,
)
from securechat.wire.records import RecordType
from securechat.wire.shaping import SHAPINGS, burst_size

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class ClientConnection(Connection):
    """Authenticates to a server, sends messages, and receives the replies in the order of the messages.

    The Hello is ready to be sent from the start. Call `prove` after ServerProved; `say` is allowed after Admitted.
    """

    __slots__ = ("_decoder", "_handshake", "max_message", "next_reply_id", "next_say_id")

    def __init__(self, handshake: ClientHandshake, clock: Callable[[], float]) -> None:
        super().__init__(State.WELCOME, clock)
        self._handshake: ClientHandshake | None = handshake
        self._decoder = _Utf8Decoder()  # keeps the first bytes of a character that is split between chunks
        self.max_message = 0  # bytes of the longest message that the server accepts; known from ABOUT on
        self.next_say_id = 1
        self.next_reply_id = 1
        self._send_frame(handshake.hello())

    @property
    def pending(self) -> int:
        """The number of messages whose reply has not ended."""
        return self.next_say_id - self.next_reply_id

    # In

    def _receive_handshake(self, frame: bytes) -> Event:
        assert self._handshake is not None
        keys = self._handshake.receive_welcome(frame)
        self._use_keys(self._handshake.suite, seal_with=keys.client, open_with=keys.server)
        self.state = State.SERVER_PROOF
        return WelcomeReceived()

    def _receive_first(self, record_type: int, payload: bytes) -> Event:
        if self.state is State.SERVER_PROOF and record_type == RecordType.PROOF:
            assert self._handshake is not None
            self._handshake.receive_server_proof(payload)
            self.state = State.SIGNING
            return ServerProved(self._handshake.host_key, self._handshake.data_to_sign())
        if self.state is State.ABOUT and record_type == RecordType.ABOUT:
            about = decode(ABOUT, payload)
            if max(len(field.encode()) for field in (about.user, about.robot, about.software)) > MAX_ABOUT:
                raise RemoteProtocolError(Category.MALFORMED)
            self.state = State.OPEN
            self.max_message = about.max_message
            return Admitted(
                *(about.user, about.robot, about.software, about.max_message, about.api),
                shaping=SHAPINGS[about.shaping],
                tick=about.tick,
                width=about.width,
            )
        raise RemoteProtocolError(Category.ORDER)

    def _receive_record(self, record_type: int, payload: bytes) -> Event:
        if record_type == RecordType.REPLY:
            return self._receive_reply(decode(CHUNK, payload))
        if record_type == RecordType.FAULT:
            report = decode(FAULT_REPORT, payload)
            self._check_next_reply(report.id)
            self._end_reply()
            return FaultReceived(report.id, Fault(report.code) if report.code <= max(Fault) else Fault.INTERNAL)
        raise RemoteProtocolError(Category.ORDER)

    def _receive_reply(self, reply: Chunk) -> ReplyReceived:
        self._check_next_reply(reply.id)
        if not reply.chunk and not reply.last:
            raise RemoteProtocolError(Category.MALFORMED)
        try:
            text = self._decoder.decode(reply.chunk, reply.last)
        except UnicodeDecodeError:
            raise RemoteProtocolError(Category.MESSAGE) from None
        if reply.last:
            self._end_reply()
        return ReplyReceived(reply.id, text, reply.last)

    def _check_next_reply(self, message_id: int) -> None:
        if not message_id == self.next_reply_id < self.next_say_id:
            raise RemoteProtocolError(Category.ORDER)

    def _end_reply(self) -> None:
        self._decoder.reset()
        self.next_reply_id += 1

    # Out

    def prove(self, signature: bytes) -> None:
        """Send the client's PROOF, with the signature of the data in ServerProved, or ``b""`` if that is None."""
        if self.state is not State.SIGNING or self._handshake is None:
            raise LocalProtocolError(f"proof in state {self.state.name}")
        proof, keys = self._handshake.prove(signature)
        self._seal(RecordType.PROOF, proof)
        self._use_keys(self._handshake.suite, seal_with=keys.client, open_with=keys.server)
        self._handshake = None
        self.state = State.ABOUT

    def say(self, text: str) -> int:
        """Send a message; its id. ValueError if it has more than `max_message` bytes of UTF-8.

        Its records are sent at once, in a burst of one of a few sizes (section 10).
        """
        self._open_sealer()
        data = text.encode()
        if len(data) > self.max_message:
            raise ValueError(f"a message has at most {self.max_message} bytes")
        message_id = self.next_say_id
        before = len(self._out)
        for start in range(0, max(1, len(data)), MAX_CHUNK):
            end = start + MAX_CHUNK
            self._send(RecordType.SAY, encode(Chunk(message_id, end >= len(data), data[start:end])))
        self.next_say_id += 1
        records = len(self._out) - before
        for _record in range(records, burst_size(records)):
            self.pad()
        return message_id

    def cancel(self, message_id: int) -> None:
        """Send CANCEL, unless the reply to the message is complete."""
        if self.next_reply_id <= message_id < self.next_say_id:
            self._send(RecordType.CANCEL, encode(Cancel(message_id)))

    def start_afresh(self) -> None:
        """Send NEW, which starts a new conversation."""
        self._send(RecordType.NEW, b"")

    def close(self) -> None:
        super().close()
        self._handshake = None
        self._decoder.reset()

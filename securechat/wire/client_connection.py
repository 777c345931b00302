"""The client's end of a session, without its socket (protocol, sections 3, 7, 8 and 10)."""

import codecs
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from securechat.conversation import Turn
from securechat.errors import Category, Fault, LocalProtocolError, RemoteProtocolError
from securechat.wire.connection import MAX_CHUNK, Connection, State
from securechat.wire.events import (
    Admitted,
    Event,
    FaultReceived,
    HostKeyReceived,
    ReplyReceived,
    ResultReceived,
    ServerProved,
    WelcomeReceived,
)
from securechat.wire.handshake import ClientHandshake
from securechat.wire.host_keys import check_successor, read_announcement
from securechat.wire.items import ItemReader
from securechat.wire.messages import (
    ABOUT,
    CHUNK,
    FAULT_REPORT,
    HOST_KEY,
    MAX_ABOUT,
    MAX_TURNS,
    Call,
    Cancel,
    Chunk,
    RecallChunk,
    decode,
    encode,
    encode_turns,
)
from securechat.wire.records import MAX_PAYLOAD, RecordType
from securechat.wire.shaping import SHAPINGS, burst_size
from securechat.wire.token_bucket import TokenBucket

RECALL_BURST: Final = 7  # RECALLs at once, one less than a server accepts: records may arrive together
RECALL_RATE: Final = 1 / 60  # … and per second after that
MIN_CALL_BURST: Final = 128  # records; tools send the last reply back with each request
MAX_RECALL_CHUNK: Final = MAX_PAYLOAD - len(encode(RecallChunk(True, bytes(256)))) + 256  # bytes in one record

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


def _cut(data: bytes, size: int) -> Iterator[tuple[bytes, bool]]:
    """The chunks of a message, at most `size` bytes each, and of each whether it is the last."""
    for start in range(0, max(1, len(data)), size):
        end = start + size
        yield data[start:end], end >= len(data)


class ClientConnection(Connection):
    """Authenticates to a server, sends messages, and receives the replies in the order of the messages.

    The Hello is ready to be sent from the start. Call `prove` after ServerProved; messages can be sent after Admitted.
    """

    __slots__ = (
        "_asks_host_key",
        "_decoder",
        "_handshake",
        "_hint",
        "_is_host_key_due",
        "_pending",
        "_present",
        "_reader",
        "_recalls",
        "_session_id",
        "max_message",
        "next_reply_id",
        "next_say_id",
        "takes_calls",
    )

    def __init__(self, handshake: ClientHandshake, clock: Callable[[], float]) -> None:
        super().__init__(State.WELCOME, clock)
        self._handshake: ClientHandshake | None = handshake
        self._decoder = _Utf8Decoder()  # keeps the first bytes of a character that is split between chunks
        self._reader = ItemReader()  # keeps the first bytes of an item that is split between chunks
        self._pending: deque[RecordType] = deque()  # of each message whose reply has not ended, the type of that reply
        self._recalls: TokenBucket | None = None  # created at the first RECALL
        self._session_id = b""
        self._present = b""  # the server's host key
        self._hint = ""  # of the next host key, from ABOUT on; empty if none is announced
        self._asks_host_key = False  # whether HOSTKEY will be sent with the first message
        self._is_host_key_due = False  # whether HOSTKEY was sent and is not answered yet
        self.max_message = 0  # bytes of the longest message that the server accepts; known from ABOUT on
        self.takes_calls = False
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
            self._present = self._handshake.host_key
            self.state = State.SIGNING
            return ServerProved(self._handshake.host_key, self._handshake.data_to_sign())
        if self.state is State.ABOUT and record_type == RecordType.ABOUT:
            about = decode(ABOUT, payload)
            if max(len(field.encode()) for field in (about.user, about.robot, about.software)) > MAX_ABOUT:
                raise RemoteProtocolError(Category.MALFORMED)
            self.state = State.OPEN
            self.max_message = about.max_message
            self.takes_calls = about.api
            software, self._hint = read_announcement(about.software)
            return Admitted(
                *(about.user, about.robot, software, about.max_message, about.api),
                shaping=SHAPINGS[about.shaping],
                tick=about.tick,
                width=about.width,
                next_host_key=self._hint,
            )
        raise RemoteProtocolError(Category.ORDER)

    def _receive_record(self, record_type: int, payload: bytes) -> Event | None:
        if record_type == RecordType.REPLY:
            return self._receive_reply(decode(CHUNK, payload))
        if record_type == RecordType.RESULT:
            return self._receive_result(decode(CHUNK, payload))
        if record_type == RecordType.FAULT:
            report = decode(FAULT_REPORT, payload)
            self._check_next_reply(report.id)
            self._end_reply()
            return FaultReceived(report.id, Fault(report.code) if report.code <= max(Fault) else Fault.INTERNAL)
        if record_type == RecordType.HOSTKEY and self._is_host_key_due:
            self._is_host_key_due = False
            successor = check_successor(decode(HOST_KEY, payload), self._session_id, self._present, self._hint)
            return HostKeyReceived(self._present, successor)
        raise RemoteProtocolError(Category.ORDER)

    def _receive_reply(self, reply: Chunk) -> ReplyReceived:
        self._check_part(RecordType.REPLY, reply)
        try:
            text = self._decoder.decode(reply.chunk, reply.last)
        except UnicodeDecodeError:
            raise RemoteProtocolError(Category.MESSAGE) from None
        if reply.last:
            self._end_reply()
        return ReplyReceived(reply.id, text, reply.last)

    def _receive_result(self, result: Chunk) -> ResultReceived | None:
        self._check_part(RecordType.RESULT, result)
        items = self._reader.feed(result.chunk)
        if result.last:
            self._reader.end()
            self._end_reply()
        return ResultReceived(result.id, items, result.last) if items or result.last else None

    def _check_part(self, record_type: RecordType, part: Chunk) -> None:
        self._check_next_reply(part.id)
        if self._pending[0] is not record_type:
            raise RemoteProtocolError(Category.ORDER)
        if not part.chunk and not part.last:
            raise RemoteProtocolError(Category.MALFORMED)

    def _check_next_reply(self, message_id: int) -> None:
        if not message_id == self.next_reply_id < self.next_say_id:
            raise RemoteProtocolError(Category.ORDER)

    def _end_reply(self) -> None:
        if self._pending.popleft() is RecordType.REPLY:
            self._decoder.reset()
        else:
            self._reader = ItemReader()
        self.next_reply_id += 1

    # Out

    def prove(self, signature: bytes) -> None:
        """Send the client's PROOF, with the signature of the data in ServerProved, or ``b""`` if that is None."""
        if self.state is not State.SIGNING or self._handshake is None:
            raise LocalProtocolError(f"proof in state {self.state.name}")
        proof, keys = self._handshake.prove(signature)
        self._seal(RecordType.PROOF, proof)
        self._use_keys(self._handshake.suite, seal_with=keys.client, open_with=keys.server)
        self._session_id = keys.session_id
        self._handshake = None
        self.state = State.ABOUT

    def ask_host_key(self) -> None:
        """Ask for the next host key that the server has announced, together with the first message of the session.

        LocalProtocolError if it has announced none, or if a message was sent.
        """
        self._open_sealer()
        if not self._hint or self.next_say_id > 1:
            raise LocalProtocolError("no next host key, or too late to ask for it")
        self._asks_host_key = True

    def _begin_burst(self) -> int:
        """Begin a burst, with HOSTKEY if it was requested; the number of frames that wait before it."""
        before = len(self._out)
        if self._asks_host_key:
            self._asks_host_key = False
            self._is_host_key_due = True
            self._send(RecordType.HOSTKEY, b"")
        return before

    def say(self, text: str, recall: Sequence[Turn] | None = None) -> int:
        """Send a message; its id. ValueError if it has more than `max_message` bytes of UTF-8.

        `recall` replaces the conversation before it, the oldest turn first. ValueError if these are more than MAX_TURNS
        or have more than `max_message` bytes as encoded; LocalProtocolError if a reply has not ended, or if turns were
        recalled too often. Nothing is sent then. All records are sent at once, in a burst of one of a few sizes
        (section 10).
        """
        self._open_sealer()
        data = self._checked(text.encode())
        turns = b"" if recall is None else self._encode_recall(recall)
        before = self._begin_burst()
        for chunk, last in _cut(turns, MAX_RECALL_CHUNK) if turns else ():
            self._send(RecordType.RECALL, encode(RecallChunk(last, chunk)))
        return self._send_message(RecordType.SAY, data, before)

    def call(self, path: str, body: bytes) -> int:
        """Send an API request; its id. `body` is empty for GET.

        ValueError if path and body have more than `max_message` bytes as encoded, LocalProtocolError if the server does
        not take requests.
        """
        self._open_sealer()
        if not self.takes_calls:
            raise LocalProtocolError("the server takes no calls")
        data = self._checked(encode(Call(path, body)))
        return self._send_message(RecordType.CALL, data, self._begin_burst())

    def _encode_recall(self, turns: Sequence[Turn]) -> bytes:
        if len(turns) > MAX_TURNS:
            raise ValueError(f"at most {MAX_TURNS} turns can be recalled")
        data = self._checked(encode_turns(turns))
        if self._pending:
            raise LocalProtocolError("turns are recalled while a reply has not ended")
        now = self._clock()
        if self._recalls is None:
            self._recalls = TokenBucket(RECALL_BURST, RECALL_RATE, now)
        if not self._recalls.take(now):
            raise LocalProtocolError("turns are recalled too often")
        return data

    def _checked(self, data: bytes) -> bytes:
        if len(data) > self.max_message:
            raise ValueError(f"a message has at most {self.max_message} bytes")
        return data

    def _send_message(self, record_type: RecordType, data: bytes, before: int) -> int:
        """Send a message, and fill the burst, which began when so many frames were waiting."""
        is_call = record_type is RecordType.CALL
        message_id = self.next_say_id
        for chunk, last in _cut(data, MAX_CHUNK):
            self._send(record_type, encode(Chunk(message_id, last, chunk)))
        self.next_say_id += 1
        self._pending.append(RecordType.RESULT if is_call else RecordType.REPLY)
        records = len(self._out) - before
        for _record in range(records, burst_size(max(records, MIN_CALL_BURST if is_call else 1))):
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
        self._reader = ItemReader()

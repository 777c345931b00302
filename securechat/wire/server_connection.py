"""The server's end of a session, without its socket (protocol, sections 3, 7 and 8)."""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from msgspec.structs import replace

from securechat.errors import Category, Fault, LocalProtocolError, RemoteProtocolError
from securechat.ssh.certificates import Certificate
from securechat.wire.connection import Connection, State
from securechat.wire.events import (
    CallReceived,
    CallRefused,
    CancelReceived,
    ClientProved,
    Event,
    HelloReceived,
    HostKeyAsked,
    MessageReceived,
    MessageRefused,
    NewReceived,
    RecallReceived,
)
from securechat.wire.handshake import ServerHandshake
from securechat.wire.host_keys import HostKeys
from securechat.wire.messages import (
    CALL,
    CANCEL,
    CHUNK,
    MAX_ABOUT,
    RECALL_CHUNK,
    About,
    Chunk,
    FaultReport,
    RecallChunk,
    decode,
    decode_turns,
    encode,
)
from securechat.wire.records import RecordType
from securechat.wire.token_bucket import TokenBucket

RECALL_BURST: Final = 8  # RECALLs that a session may receive at once
RECALL_RATE: Final = 1 / 60  # … and per second after that

# Plain ints, which compare faster than enum members.
_SAY: Final = int(RecordType.SAY)
_CALL: Final = int(RecordType.CALL)
_RECALL: Final = int(RecordType.RECALL)


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

    A message counts for the client's quota from its first chunk until its reply has ended, and recalled turns while
    they are remembered. A message that would exceed the quota is not kept; its end is a MessageRefused or CallRefused.
    """

    __slots__ = (
        "_expected",
        "_handshake",
        "_host_keys",
        "_is_dropped",
        "_max_message",
        "_message",
        "_pending",
        "_quota",
        "_recalled",
        "_recalls",
        "_session_id",
        "certificate",
        "message_size",
        "messages_begun",
        "next_reply_id",
        "next_say_id",
        "owes_host_key",
        "suite_name",
        "user_key",
    )

    _quota: Quota  # from `admit` on

    def __init__(self, handshake: ServerHandshake, clock: Callable[[], float]) -> None:
        super().__init__(State.HELLO, clock)
        self._handshake: ServerHandshake | None = handshake
        self._max_message = 0  # bytes; ABOUT says it
        self._host_keys: HostKeys | None = None  # to be sent, if the client asks for it
        self._session_id = b""
        self._expected: int | None = None  # type of an incomplete message or RECALL; SAY after a complete RECALL
        self._message = bytearray()  # the chunks of an incomplete message or RECALL, unless they exceed the quota
        self._is_dropped = False  # they do, or those of the RECALL before it
        self._pending: deque[tuple[int, int]] = deque()  # type and counted bytes of messages whose reply has not ended
        self._recalled = 0  # bytes of the recalled turns that are remembered
        self._recalls: TokenBucket | None = None  # created at the first RECALL
        self.message_size = 0  # bytes of an incomplete message or RECALL so far, kept or not; 0 if there is none
        self.messages_begun = 0  # messages and RECALLs of which a chunk has arrived
        self.next_say_id = 1  # the id of the next or the incomplete message
        self.owes_host_key = False  # the client has asked for it
        self.suite_name = ""  # once the Hello has been accepted
        self.user_key = b""  # that the client has proved to own, even if it is not authorized
        self.certificate: Certificate | None = None  # for that key
        self.next_reply_id = 1  # the id of the first message whose reply is not complete

    # In

    def _receive_handshake(self, frame: bytes) -> Event:
        assert self._handshake is not None
        welcome, keys = self._handshake.receive_hello(frame)
        self.suite_name = self._handshake.suite.name.decode()
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
        try:
            keys = handshake.receive_client_proof(payload)
        finally:
            self.user_key, self.certificate = handshake.user_key, handshake.certificate
        if self.has_partial_record:  # the client has to wait for ABOUT
            raise RemoteProtocolError(Category.ORDER)
        self._use_keys(handshake.suite, seal_with=keys.server, open_with=keys.client)
        self._host_keys = handshake.host_keys
        self._session_id = keys.session_id if self._host_keys is not None else b""
        self.state = State.OPEN
        return ClientProved(handshake.user_key, handshake.certificate)

    def _receive_record(self, record_type: int, payload: bytes) -> Event | None:
        if record_type in (_SAY, _CALL):
            return self._receive_message(record_type, decode(CHUNK, payload))
        if record_type == _RECALL:
            return self._receive_recall(decode(RECALL_CHUNK, payload))
        if record_type == RecordType.CANCEL and not self._is_recalling:
            message_id = decode(CANCEL, payload).id
            if not 1 <= message_id < self.next_say_id:
                raise RemoteProtocolError(Category.ORDER)
            return CancelReceived(message_id)
        if record_type == RecordType.NEW and self._expected is None:
            self._check_empty(payload)
            return NewReceived()
        if record_type == RecordType.HOSTKEY and self._expected is None and self._host_keys and not self.owes_host_key:
            self._check_empty(payload)
            self.owes_host_key = True
            return HostKeyAsked()
        raise RemoteProtocolError(Category.ORDER)

    def _receive_goodbye(self, payload: bytes) -> Event:
        if self._is_recalling:
            raise RemoteProtocolError(Category.ORDER)
        return super()._receive_goodbye(payload)

    @property
    def _is_recalling(self) -> bool:
        """Whether a RECALL is incomplete, or complete and no chunk of the SAY after it has arrived."""
        return self._expected == _RECALL or (self._expected == _SAY and not self.message_size)

    def _receive_message(self, record_type: int, part: Chunk) -> Event | None:
        if part.id != self.next_say_id or (self._expected is not None and self._expected != record_type):
            raise RemoteProtocolError(Category.ORDER)
        self._expected = record_type
        self._add(part.chunk, part.last)
        if not part.last:
            return None
        event = self._read_message(part.id)
        self._pending.append((record_type, len(self._message)))
        self._message = bytearray()
        self._is_dropped = False
        self._expected = None
        self.message_size = 0
        self.next_say_id += 1
        return event

    def _read_message(self, message_id: int) -> Event:
        if self._expected == _CALL:
            if self._is_dropped:
                return CallRefused(message_id)
            call = decode(CALL, self._message)
            return CallReceived(message_id, call.path, call.body)
        if self._is_dropped:
            return MessageRefused(message_id)
        try:
            return MessageReceived(message_id, self._message.decode())
        except UnicodeDecodeError:
            raise RemoteProtocolError(Category.MESSAGE) from None

    def _receive_recall(self, part: RecallChunk) -> RecallReceived | None:
        if self._expected is None:
            self._begin_recall()
        if self._expected != _RECALL:
            raise RemoteProtocolError(Category.ORDER)
        self._add(part.chunk, part.last)
        if not part.last:
            return None
        event = None
        if not self._is_dropped:
            turns = decode_turns(self._message)
            remembered = sum(len(turn.text.encode()) for turn in turns)
            self._quota.give_back(len(self._message) - remembered)
            self._recalled += remembered
            self._message = bytearray()
            event = RecallReceived(turns)
        self._expected = _SAY  # which is dropped if the RECALL was
        self.message_size = 0
        return event

    def _begin_recall(self) -> None:
        if self._pending:
            raise RemoteProtocolError(Category.ORDER)
        now = self._clock()
        if self._recalls is None:
            self._recalls = TokenBucket(RECALL_BURST, RECALL_RATE, now)
        if not self._recalls.take(now):
            raise RemoteProtocolError(Category.LIMIT)
        self._expected = _RECALL

    def _add(self, chunk: bytes, last: bool) -> None:
        """Append a chunk to the incomplete message or RECALL, unless that exceeds the quota or has exceeded it."""
        if not chunk and not last:
            raise RemoteProtocolError(Category.MALFORMED)
        size = self.message_size + len(chunk)
        if size > self._max_message:
            raise RemoteProtocolError(Category.MESSAGE)
        if not self.message_size:
            self.messages_begun += 1
        self.message_size = size
        if self._is_dropped:
            return
        if self._quota.take(len(chunk)):
            self._message += chunk
        else:
            self._quota.give_back(len(self._message))
            self._message = bytearray()
            self._is_dropped = True

    # Out

    def admit(self, about: About, quota: Quota) -> None:
        """Send ABOUT, the first record after the client's PROOF. Texts longer than MAX_ABOUT bytes are truncated."""
        texts = {"user": _fit(about.user), "robot": _fit(about.robot), "software": _fit(about.software)}
        self._send(RecordType.ABOUT, encode(replace(about, **texts)))
        self._max_message = about.max_message
        self._quota = quota

    def reply(self, message_id: int, chunk: bytes, last: bool) -> None:
        """Send a part of the reply to a SAY, at most MAX_CHUNK bytes; only the last may be empty."""
        self._send_part(RecordType.REPLY, _SAY, Chunk(message_id, last, chunk))

    def result(self, message_id: int, chunk: bytes, last: bool) -> None:
        """Send a part of the items of a CALL's result, at most MAX_CHUNK bytes; only the last may be empty."""
        self._send_part(RecordType.RESULT, _CALL, Chunk(message_id, last, chunk))

    def _send_part(self, record_type: RecordType, answered: int, part: Chunk) -> None:
        self._check_next_reply(part.id)
        if self._pending[0][0] != answered:
            raise LocalProtocolError(f"{record_type.name} to a message of type {self._pending[0][0]}")
        if not part.chunk and not part.last:
            raise LocalProtocolError("an empty chunk that is not the last")
        self._send(record_type, encode(part))
        if part.last:
            self._end_reply()

    def fault(self, message_id: int, fault: Fault) -> None:
        """Send FAULT, which ends a reply."""
        self._check_next_reply(message_id)
        self._send(RecordType.FAULT, encode(FaultReport(message_id, fault)))
        self._end_reply()

    def _end_reply(self) -> None:
        self.next_reply_id += 1
        _type, size = self._pending.popleft()
        self._quota.give_back(size)

    def _check_next_reply(self, message_id: int) -> None:
        if not message_id == self.next_reply_id < self.next_say_id:
            raise LocalProtocolError(f"reply to {message_id} while it is {self.next_reply_id}'s turn")

    def send_host_key(self) -> None:
        """Send the next host key, which the client has asked for."""
        host_keys, self._host_keys = self._host_keys, None
        if host_keys is None or not self.owes_host_key:
            raise LocalProtocolError("a host key that was not asked for")
        self.owes_host_key = False
        self._send(RecordType.HOSTKEY, encode(host_keys.prove(self._session_id)))

    def forget(self, size: int) -> None:
        """`size` bytes of the text of recalled turns are no longer remembered."""
        if self.state is not State.CLOSED:
            self._recalled -= size
            self._quota.give_back(size)

    def close(self) -> None:
        super().close()
        held = sum(size for _type, size in self._pending) + len(self._message) + self._recalled
        if held:
            self._quota.give_back(held)
        self._handshake = None
        self._message = bytearray()
        self._pending.clear()
        self._recalled = 0
        self.message_size = 0

"""The common part of both ends of a session, without a socket (protocol, sections 1, 8, 9, 11 and 12).

`receive_data` takes bytes and yields events; `data_to_send` returns the bytes to send. A connection does no I/O.

An error is final: any exception that `receive_data` raises has closed the connection and dropped its keys and its
unsent bytes. Data from the peer causes no other exceptions than RemoteProtocolError.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Final

from securechat.errors import Category, LocalProtocolError, RemoteProtocolError
from securechat.wire.events import Event, GoodbyeReceived
from securechat.wire.messages import GOODBYE, Chunk, Goodbye, Reason, decode, encode
from securechat.wire.records import MAX_PAYLOAD, Opener, RecordType, Sealer
from securechat.wire.suites import LENGTH_SIZE, Suite

MAX_AGE: Final = 24 * 60 * 60.0  # seconds that a session may last (section 9)
GOODBYE_TIMEOUT: Final = 5.0  # seconds for the peer's GOODBYE after ours
MAX_HANDSHAKE_FRAME: Final = 2048  # bytes; the longest, the Hello of suite PQ, has 1,329

_MAX_ID: Final = 2**32 - 1  # more messages than a session can carry in a day
_CHUNK_OVERHEAD: Final = len(encode(Chunk(_MAX_ID, True, bytes(256)))) - 256
MAX_CHUNK: Final = MAX_PAYLOAD - _CHUNK_OVERHEAD  # bytes of a message in one record

# Plain ints, which compare faster than enum members: they are compared for each record.
_PAD: Final = int(RecordType.PAD)
_REKEY: Final = int(RecordType.REKEY)
_GOODBYE: Final = int(RecordType.GOODBYE)


class State(Enum):
    """The state of a connection: what the peer may send next."""

    HELLO = auto()  # to the server: a Hello frame
    WELCOME = auto()  # to the client: a Welcome frame
    SERVER_PROOF = auto()  # to the client: a PROOF record
    SIGNING = auto()  # to the client: nothing until it has sent its PROOF
    CLIENT_PROOF = auto()  # to the server: a PROOF record
    ABOUT = auto()  # to the client: the ABOUT record
    OPEN = auto()  # records of section 8
    ENDED = auto()  # nothing: it sent GOODBYE
    CLOSED = auto()


class Connection(ABC):
    """One end of a session: frames, records, REKEY and GOODBYE."""

    __slots__ = (
        "_buffer",
        "_clock",
        "_frames_sent",
        "_offset",
        "_opener",
        "_out",
        "_sealer",
        "goodbye_sent",
        "records_received",
        "state",
    )

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        """`clock` returns monotonic seconds, for the age of keys."""
        self.state = state
        self.goodbye_sent = False
        self.records_received = 0
        self._clock = clock
        self._buffer = b""
        self._offset = 0  # of the first byte in the buffer that is not processed
        self._out: list[bytes] = []
        self._frames_sent = 0
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None

    # In

    def receive_data(self, data: bytes) -> Iterator[Event]:
        """Add received bytes, and iterate over the events in them.

        Data is decoded as the iterator is read. If it is not read to its end, the rest of the data is kept for the next
        call, whose `data` may be ``b""``. After the connection is closed, data is ignored.
        """
        if self.state is not State.CLOSED:
            self._buffer = self._buffer[self._offset :] + data
            self._offset = 0
        return self._events()

    @property
    def has_partial_record(self) -> bool:
        """Whether there is data that was received and not processed: after the last event, part of a record."""
        return len(self._buffer) > self._offset

    def _events(self) -> Iterator[Event]:
        try:
            while (frame := self._next_frame()) is not None:
                event = self._receive_frame(frame)
                if event is not None:
                    yield event
            if not self.has_partial_record:  # do not keep what was read last
                self._buffer = b""
                self._offset = 0
        except Exception:
            self.close()
            raise

    def _next_frame(self) -> bytes | None:
        """The content of the next complete frame. The length is checked before the content is received."""
        start = self._offset + LENGTH_SIZE
        available = len(self._buffer)
        if available < start:
            if available > self._offset:
                self._check_peer_may_send()
            return None
        self._check_peer_may_send()
        size = int.from_bytes(self._buffer[self._offset : start], "big")
        if self._opener is None:
            if not 1 <= size <= MAX_HANDSHAKE_FRAME:
                raise RemoteProtocolError(Category.FRAMING)
        elif size != self._opener.record_size:
            raise RemoteProtocolError(Category.FRAMING)
        end = start + size
        if available < end:
            return None
        self._offset = end
        return self._buffer[start:end]

    def _check_peer_may_send(self) -> None:
        """RemoteProtocolError if the peer must not send anything: during SIGNING, and after its GOODBYE."""
        if self.state is State.SIGNING or self.state is State.ENDED:
            raise RemoteProtocolError(Category.ORDER)

    def _receive_frame(self, frame: bytes) -> Event | None:
        opener = self._opener
        if opener is None:
            return self._receive_handshake(frame)
        record_type, payload = opener.open(frame)
        self.records_received += 1
        if self.state is not State.OPEN:
            return self._receive_first(record_type, payload)
        if record_type == _PAD:
            return self._check_empty(payload)
        if record_type == _REKEY:
            self._check_empty(payload)
            opener.rekey(self._clock())
            return None
        if record_type == _GOODBYE:
            return self._receive_goodbye(payload)
        return self._receive_record(record_type, payload)

    def _receive_goodbye(self, payload: bytes) -> Event:
        goodbye = decode(GOODBYE, payload)
        self.state = State.ENDED
        return GoodbyeReceived(goodbye.reason, goodbye.id)

    @staticmethod
    def _check_empty(payload: bytes) -> None:
        if payload:
            raise RemoteProtocolError(Category.MALFORMED)

    @abstractmethod
    def _receive_handshake(self, frame: bytes) -> Event:
        """Process the peer's Hello or Welcome."""

    @abstractmethod
    def _receive_first(self, record_type: int, payload: bytes) -> Event:
        """Process a record in a state before OPEN."""

    @abstractmethod
    def _receive_record(self, record_type: int, payload: bytes) -> Event | None:
        """Process a record of a type that is specific to the peer's role."""

    def receive_end(self) -> None:
        """Close at the end of the stream; RemoteProtocolError (cut) unless the peer had sent GOODBYE."""
        complete = self.state in (State.ENDED, State.CLOSED)
        self.close()
        if not complete:
            raise RemoteProtocolError(Category.CUT)

    # Out

    def data_to_send(self) -> bytes:
        """The bytes to send, since the last call."""
        data = b"".join(self._out)
        self._frames_sent += len(self._out)
        self._out.clear()
        return data

    @property
    def records_sent(self) -> int:
        """The number of records that were sent: all frames but the first, which is a Hello or a Welcome."""
        return max(0, self._frames_sent - 1)

    def rekey_due(self) -> bool:
        """Whether the next record to send has to be a REKEY (protocol, section 9)."""
        return self._open_sealer().rekey_due(self._clock())

    def pad(self) -> None:
        """Send a PAD, or a REKEY if one is due."""
        sealer, now = self._open_sealer(), self._clock()
        self._out.append(sealer.seal(RecordType.REKEY if sealer.rekey_due(now) else RecordType.PAD, b"", now))

    def goodbye(self, reason: Reason, last_id: int) -> None:
        """Send GOODBYE, after which nothing can be sent; `last_id` is the last message that was processed."""
        self._send(RecordType.GOODBYE, encode(Goodbye(reason, last_id)))
        self.goodbye_sent = True

    def close(self) -> None:
        """Drop keys and buffers. This is final."""
        self.state = State.CLOSED
        self._sealer = self._opener = None
        self._out.clear()
        self._buffer = b""
        self._offset = 0

    def _use_keys(self, suite: Suite, seal_with: bytes, open_with: bytes) -> None:
        self._sealer = Sealer(suite, seal_with)
        self._opener = Opener(suite, open_with)

    def _send_frame(self, content: bytes) -> None:
        self._out.append(len(content).to_bytes(LENGTH_SIZE, "big") + content)

    def _send(self, record_type: RecordType, message: bytes) -> None:
        """Send a record, preceded by a REKEY if one is due."""
        sealer, now = self._open_sealer(), self._clock()
        if sealer.rekey_due(now):
            self._out.append(sealer.seal(RecordType.REKEY, b"", now))
        self._out.append(sealer.seal(record_type, message, now))

    def _open_sealer(self) -> Sealer:
        """The sealer; LocalProtocolError if this end may not send."""
        if (self.state is not State.OPEN and self.state is not State.ENDED) or self.goodbye_sent:
            raise LocalProtocolError(f"nothing can be sent in state {self.state.name}")
        assert self._sealer is not None
        return self._sealer

    def _seal(self, record_type: RecordType, payload: bytes) -> None:
        """Send a record in any state."""
        assert self._sealer is not None
        self._out.append(self._sealer.seal(record_type, payload, self._clock()))

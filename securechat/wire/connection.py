"""One end of a session without its socket: bytes in, events and bytes out (protocol, sections 1, 8, 9, 11 and 12).

This is what both ends share; `server_connection` and `client_connection` are the two ends. A Connection is fed with
`receive_data` and read with `data_to_send`. It knows no socket, no log, and no clock but the one it is given.

An error is final: whatever escapes from `receive_data` leaves the connection closed, its keys forgotten and nothing
to send. Only RemoteProtocolError and its kind escape because of what a peer sent; anything else is a defect.
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

MAX_HANDSHAKE_FRAME: Final = 2048  # bytes; the longest there is, the Hello of the PQ suite, has 1,329

_CHUNK_OVERHEAD: Final = len(encode(Chunk(2**32 - 1, True, bytes(256)))) - 256  # more ids than a day has room for
MAX_CHUNK: Final = MAX_PAYLOAD - _CHUNK_OVERHEAD  # bytes of a message in one record


# What is compared for each record: plain numbers, which cost less than an enum's members.
_PAD: Final = int(RecordType.PAD)
_REKEY: Final = int(RecordType.REKEY)
_GOODBYE: Final = int(RecordType.GOODBYE)


class State(Enum):
    """What the peer may send next."""

    HELLO = auto()  # to the server: a Hello frame
    WELCOME = auto()  # to the client: a Welcome frame
    SERVER_PROOF = auto()  # to the client: a PROOF record
    SIGNING = auto()  # to the client: nothing before it has proved itself
    CLIENT_PROOF = auto()  # to the server: a PROOF record
    ABOUT = auto()  # to the client: the ABOUT record that says it was let in
    OPEN = auto()  # records of the channel
    ENDED = auto()  # nothing: it said GOODBYE
    CLOSED = auto()


class Connection(ABC):
    """Frames, records, REKEY, GOODBYE, and the end."""

    __slots__ = (
        "_buffer",
        "_clock",
        "_offset",
        "_opener",
        "_out",
        "_sealer",
        "goodbye_sent",
        "records_received",
        "state",
    )

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds; it ages keys."""
        self.state = state
        self.goodbye_sent = False
        self.records_received = 0
        self._clock = clock
        self._buffer = b""
        self._offset = 0  # of the first byte in the buffer that is not dealt with
        self._out: list[bytes] = []
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None

    # In

    def receive_data(self, data: bytes) -> Iterator[Event]:
        """Take what came from the socket, in whatever pieces; the events happen as the iterator is read.

        Stop reading it, and what is left waits for the next call, with more data or ``b""``. After the connection was
        closed nothing is looked at.
        """
        if self.state is not State.CLOSED:
            self._buffer = self._buffer[self._offset :] + data
            self._offset = 0
        return self._events()

    def _events(self) -> Iterator[Event]:
        try:
            while (frame := self._next_frame()) is not None:
                event = self._receive_frame(frame)
                if event is not None:
                    yield event
        except Exception:
            self.close()
            raise

    def _next_frame(self) -> bytes | None:
        """The next whole frame's content. Its length is judged before the rest is waited for."""
        start = self._offset + LENGTH_SIZE
        available = len(self._buffer)
        if available < start:
            if available > self._offset:
                self._must_be_listening()
            return None
        self._must_be_listening()
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

    def _must_be_listening(self) -> None:
        """Nothing may come while the client signs, nor after GOODBYE."""
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
            return self._must_be_empty(payload)
        if record_type == _REKEY:
            self._must_be_empty(payload)
            opener.rekey(self._clock())
            return None
        if record_type == _GOODBYE:
            goodbye = decode(GOODBYE, payload)
            self.state = State.ENDED
            return GoodbyeReceived(goodbye.reason, goodbye.id)
        return self._receive_record(record_type, payload)

    @staticmethod
    def _must_be_empty(payload: bytes) -> None:
        if payload:
            raise RemoteProtocolError(Category.MALFORMED)

    @abstractmethod
    def _receive_handshake(self, frame: bytes) -> Event:
        """The peer's Hello or Welcome."""

    @abstractmethod
    def _receive_first(self, record_type: int, payload: bytes) -> Event:
        """A record before the channel is open."""

    @abstractmethod
    def _receive_record(self, record_type: int, payload: bytes) -> Event | None:
        """A record that only the other end may send."""

    def receive_end(self) -> None:
        """The stream ended: RemoteProtocolError (cut) unless the peer had said GOODBYE. Closes either way."""
        complete = self.state in (State.ENDED, State.CLOSED)
        self.close()
        if not complete:
            raise RemoteProtocolError(Category.CUT)

    # Out

    def data_to_send(self) -> bytes:
        """What there is to write, once."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def rekey_due(self) -> bool:
        """Whether the next record to be sent has to be a REKEY (protocol, section 9)."""
        return self._open_sealer().rekey_due(self._clock())

    def pad(self) -> None:
        """Send a record that says nothing: the REKEY if it is due, else PAD."""
        sealer, now = self._open_sealer(), self._clock()
        self._out.append(sealer.seal(RecordType.REKEY if sealer.rekey_due(now) else RecordType.PAD, b"", now))

    def goodbye(self, reason: Reason, last_id: int) -> None:
        """Say that nothing more will come; `last_id` is the last message that was dealt with."""
        self._send(RecordType.GOODBYE, encode(Goodbye(reason, last_id)))
        self.goodbye_sent = True

    def close(self) -> None:
        """Forget keys and buffers. There is no way back."""
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
        """Send a record of the channel, with the REKEY before it if one is due."""
        sealer, now = self._open_sealer(), self._clock()
        if sealer.rekey_due(now):
            self._out.append(sealer.seal(RecordType.REKEY, b"", now))
        self._out.append(sealer.seal(record_type, message, now))

    def _open_sealer(self) -> Sealer:
        """The sealer, if the channel is open to this side."""
        if (self.state is not State.OPEN and self.state is not State.ENDED) or self.goodbye_sent:
            raise LocalProtocolError(f"nothing can be sent in state {self.state.name}")
        assert self._sealer is not None
        return self._sealer

    def _seal(self, record_type: RecordType, payload: bytes) -> None:
        """Send a record of the handshake."""
        assert self._sealer is not None
        self._out.append(self._sealer.seal(record_type, payload, self._clock()))

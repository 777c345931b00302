"""The common part of client and server: frames on a blocking socket, records in both directions, closing."""

import hmac
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from tests.independent.abort import AbortError
from tests.independent.conversation import Content, Conversation
from tests.independent.messages import read_payload
from tests.independent.pack import Value, pack
from tests.independent.records import GOODBYE, PROOF, REKEY, Half, plaintext, read_plaintext
from tests.independent.schedule import HandshakeKeys, SessionKeys, Transcript, lp
from tests.independent.suites import RECORD_FRAME
from tests.independent.trace import Record, Trace

HANDSHAKE_FRAME = range(1, 2049)  # section 1
CHUNK = 495  # bytes that fit into a payload of 509 with the largest id …
RECALL_CHUNK = 504  # … and without an id
LEAVING, STOPPING, IDLE, TOO_OLD, WITHDRAWN, REMOVED = range(6)

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]  # (the peer, the value) -> the value to use


class Received(NamedTuple):
    kind: int
    fields: tuple[Value, ...]
    content: Content | None  # of the message, reply or RECALL, if this record completes it


def cut(data: bytes, size: int = CHUNK) -> Iterator[tuple[bool, bytes]]:
    """The chunks of a message, and of each whether it is the last."""
    for at in range(0, max(1, len(data)), size):
        yield at + size >= len(data), data[at : at + size]


class Peer:
    """``hooks`` modify what this peer sends, by the name of a point: see ``bend``."""

    side = ""
    other = ""
    suite: str
    handshake_keys: HandshakeKeys
    session_keys: SessionKeys
    transcript: Transcript
    sending: Half
    receiving: Half

    def __init__(
        self,
        sock: socket.socket,
        randomness: Callable[[int], bytes] = os.urandom,
        hooks: Mapping[str, Hook] | None = None,
    ) -> None:
        self.sock = sock
        self.randomness = randomness
        self.trace = Trace()
        self.conversation = Conversation()
        self.deadline: float | None = None  # on time.monotonic()
        self.hooks = hooks or {}

    def bend(self, point: str, value: T) -> T:
        """Apply the hook named ``point``, if any, to ``value``."""
        hook = self.hooks.get(point)
        return hook(self, value) if hook else value

    # Section 1

    def write_frame(self, payload: bytes) -> None:
        self.sock.sendall(self.bend("frame", lp(payload)))

    def read_frame(self, lengths: range) -> bytes:
        length = int.from_bytes(self._read(4), "big")
        if length not in lengths:
            raise AbortError("framing", str(length))
        return self._read(length)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                self.sock.settimeout(max(0.001, self.deadline - time.monotonic()) if self.deadline else None)
                more = self.sock.recv(size - len(data))
            except TimeoutError:
                raise AbortError("timeout") from None
            except ConnectionError:
                more = b""
            if not more:
                raise AbortError("cut")
            data += more
        return data

    # Sections 3 and 6

    def send_proof(self, half: Half, body: bytes, signature: bytes, mac: bytes) -> None:
        """``body`` is SB or CB, already packed."""
        payload = self.bend("payload", b"\x93" + body + pack(signature) + pack(mac))
        self.write_frame(self._seal(half, PROOF, payload))

    def read_proof(self, half: Half) -> bytes:
        kind, payload = self._open(half)
        if kind != PROOF:
            raise AbortError("order", "PROOF expected")
        return payload

    @staticmethod
    def check_mac(ours: bytes, theirs: bytes) -> None:
        if not hmac.compare_digest(ours, theirs):
            raise AbortError("proof", "MAC")

    # Section 8

    def half(self, ts: bytes) -> Half:
        return Half(self.suite, ts, self.randomness)

    def seal(self, kind: int, *fields: Value) -> bytes:
        """The frame of one record, after a REKEY if one is due (section 9)."""
        frames = b""
        if self.sending.needs_rekey and kind != REKEY:
            frames = self.seal(REKEY)
        self.conversation.record(self.side, kind, fields)
        frames += lp(self._seal(self.sending, kind, pack(fields) if fields else b""))
        if kind == REKEY:
            self.sending.step()
        return frames

    def send(self, kind: int, *fields: Value) -> None:
        self.sock.sendall(self.seal(kind, *fields))

    def receive(self) -> Received:
        kind, payload = self._open(self.receiving)
        fields = read_payload(kind, payload)
        content = self.conversation.record(self.other, kind, fields)
        if kind == REKEY:
            self.receiving.count_rekey()
            self.receiving.step()
        return Received(kind, fields, content)

    def _seal(self, half: Half, kind: int, payload: bytes) -> bytes:
        ts, seq = half.ts, half.seq
        body = self.bend("body", half.seal(self.bend("plaintext", plaintext(kind, payload))))
        self.trace.records.append(Record(self.side, ts, seq, kind, payload, lp(body)))
        return body

    def _open(self, half: Half) -> tuple[int, bytes]:
        length = RECORD_FRAME[self.suite]
        body = self.read_frame(range(length, length + 1))
        ts, seq = half.ts, half.seq
        kind, payload = read_plaintext(half.open(body))
        self.trace.records.append(Record(self.other, ts, seq, kind, payload, lp(body)))
        return kind, payload

    # Section 11

    def leave(self, reason: int = LEAVING) -> None:
        """Send GOODBYE, receive everything up to the other side's GOODBYE, then expect the end of the stream."""
        self.send(GOODBYE, reason, self.conversation.answered)
        while not self.conversation.left(self.other):
            self.receive()
        self.sock.shutdown(socket.SHUT_WR)
        try:
            self._read(1)
        except AbortError as end:
            if end.category != "cut":
                raise
        else:
            raise AbortError("order", "after GOODBYE")

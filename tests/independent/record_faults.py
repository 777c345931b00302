"""Faults of single records and their sequence numbers during a session, the same for both sides."""

import base64
import socket
from collections.abc import Callable, Iterator
from functools import partial

from tests.independent.bending import flip, foreign_half, raw_record, record
from tests.independent.faults import Fault
from tests.independent.pack import pack
from tests.independent.peer import Peer
from tests.independent.records import EARLY, GOODBYE, NEW, PAD, RECEIVER_LIMIT, REKEY, Half, fernet_seal, plaintext
from tests.independent.schedule import lp, next_traffic_secret, traffic_key
from tests.independent.suites import PQ, RECORD_FRAME, RSA

_PADDING = plaintext(PAD, b"")
_FLOOD = 9  # REKEYs, one more than the bucket holds

Frames = Callable[[Peer], bytes]


def record_faults(role: str) -> Iterator[Fault]:
    fault = partial(Fault, role=role, step="session")
    for length in (0, 1, 527, 529, 779, 781, 2049, 2**31, 2**32 - 1):
        act = partial(_send, _only(length))
        yield fault(f"{role}-record-frame-{length}", "framing", f"A frame length of {length}", act=act)
    act = partial(_send, lambda peer: lp(bytes(RECORD_FRAME[RSA if peer.suite == PQ else PQ])))
    yield fault(f"{role}-record-of-other-suite", "framing", "A record as long as the other suite's", act=act)
    for name, (sentence, frames) in _BAD_RECORDS.items():
        yield fault(f"{role}-record-{name}", "record", sentence, act=partial(_send, frames))
    for name, (sentence, frames) in _BAD_TOKENS.items():
        yield fault(f"{role}-fernet-{name}", "record", sentence, act=partial(_send, frames), suites=(RSA,))
    for kind in (14, 15, 127, 255):
        act = partial(_send_record, kind, b"")
        yield fault(f"{role}-type-{kind}", "order", f"A record of type {kind}", act=act)
    for name, kind in {"pad": PAD, "rekey": REKEY, **({"new": NEW} if role == "client" else {})}.items():
        act = partial(_send_record, kind, b"\x90")
        what = f"A {name.upper()} with a payload"
        yield fault(f"{role}-{name}-with-payload", "malformed", what, act=act, or_else=("record",))
    for name, payload in _BAD_GOODBYES.items():
        act = partial(_send_record, GOODBYE, payload)
        yield fault(f"{role}-goodbye-{name}", "malformed", f"An invalid GOODBYE: {name}", act=act)
    act = partial(_send_record, GOODBYE, pack((6, 0)))
    yield fault(f"{role}-goodbye-reason-6", "malformed", "GOODBYE with an unknown reason", act=act, or_else=("order",))
    yield fault(f"{role}-rekey-flood", "rekey", "REKEY nine times in a row", act=_rekey_flood)
    yield fault(
        f"{role}-rekey-flood-late",
        "rekey",
        "REKEY nine times in a row, after two due ones",
        act=_late_flood,
        slow=True,
    )
    yield fault(f"{role}-rekey-never", "rekey", "65,537 records under one key", act=_never_rekey, slow=True)
    for name, kind, payload in (("goodbye", GOODBYE, pack((0, 0))), ("pad", PAD, b"")):
        act = partial(_after_goodbye, kind, payload)
        yield fault(f"{role}-{name}-after-goodbye", "order", f"{name.upper()} after GOODBYE", act=act, unseen=True)
    for name, sentence, sent in (
        ("cut", "The end of the stream without GOODBYE", 0),
        ("cut-in-length", "The stream ends within a frame's length", 3),
        ("cut-before-body", "The stream ends after a frame's length", 4),
        ("cut-in-record", "The stream ends one byte before a record is complete", -1),
    ):
        yield fault(f"{role}-{name}", "cut", sentence, act=partial(_cut, sent))


def _only(length: int) -> Frames:
    """Only a frame's length: the peer has to abort before it reads the content."""
    return lambda peer: length.to_bytes(4, "big")


def _changed(edit: Callable[[bytes], bytes]) -> Frames:
    """A PAD whose 512 bytes of plaintext are edited before sealing."""
    return lambda peer: raw_record(peer.sending, edit(_PADDING))


def _damaged(edit: Callable[[bytes], bytes]) -> Frames:
    """A PAD whose body is edited after sealing."""
    return lambda peer: lp(edit(peer.sending.seal(_PADDING)))


def _pad(half: Half, seq: int = 0) -> bytes:
    half.seq = seq
    return raw_record(half, _PADDING)


def _second_only(peer: Peer) -> bytes:
    record(peer, PAD)
    return record(peer, PAD)


def _swapped(peer: Peer) -> bytes:
    first = record(peer, PAD)
    return record(peer, PAD) + first


def _own_handshake_secret(peer: Peer) -> bytes:
    return peer.handshake_keys.hs_client if peer.side == "client" else peer.handshake_keys.hs_server


def _next_half(peer: Peer) -> Half:
    return peer.half(next_traffic_secret(peer.sending.ts))


def _last_received(peer: Peer) -> bytes:
    return next(old.frame for old in reversed(peer.trace.records) if old.side == peer.other)


_BAD_RECORDS: dict[str, tuple[str, Frames]] = {
    "padding-first": ("The first byte of padding is 1", _changed(lambda data: data[:3] + b"\x01" + data[4:])),
    "padding-last": ("The last byte of padding is 128", _changed(lambda data: data[:-1] + b"\x80")),
    "n-510": ("n is 510", _changed(lambda data: b"\x00\x01\xfe" + data[3:])),
    "n-65535": ("n is 65535", _changed(lambda data: b"\x00\xff\xff" + data[3:])),
    "first-bit": ("A sealed record's first byte is changed", _damaged(lambda body: flip(body, 0))),
    "middle-bit": ("A byte in the middle of a sealed record is changed", _damaged(lambda body: flip(body, 300))),
    "last-bit": ("A sealed record's last byte is changed", _damaged(lambda body: flip(body, -1))),
    "zeros": ("A record of zeros", _damaged(lambda body: bytes(len(body)))),
    "replayed": ("A record twice", lambda peer: record(peer, PAD) * 2),
    "reordered": ("Two records in the wrong order", _swapped),
    "dropped": ("A record is missing", _second_only),
    "reflected": ("The peer's own last record, or its ABOUT, is reflected", _last_received),
    "of-another-session": ("A record under another session's key", lambda peer: _pad(foreign_half(peer))),
    "under-peers-key": ("A record under the other direction's key", lambda peer: _pad(peer.half(peer.receiving.ts))),
    "under-handshake-key": (
        "A record under the handshake's key",
        lambda peer: _pad(peer.half(_own_handshake_secret(peer)), 1),
    ),
    "key-not-moved": ("A record under the old key after REKEY", lambda peer: record(peer, REKEY) + record(peer, PAD)),
    "key-moved-early": ("A record under the next key without REKEY", lambda peer: _pad(_next_half(peer))),
    "number-goes-on": (
        "REKEY without resetting seq",
        lambda peer: record(peer, REKEY) + _pad(_next_half(peer), peer.sending.seq),
    ),
}


def _token(data: bytes, off: int = 0, timestamp: int = 0) -> Frames:
    """A Fernet record of ``data`` with a seq that is off by ``off``."""

    def frames(peer: Peer) -> bytes:
        numbered = (peer.sending.seq + off).to_bytes(8, "big") + data
        return lp(fernet_seal(traffic_key(peer.sending.ts), numbered, peer.randomness(16), timestamp))

    return frames


def _other_alphabet(peer: Peer) -> bytes:
    """A record in standard base64, with + and / instead of - and _; sealed again until it contains one of them."""
    seq = peer.sending.seq
    while True:
        peer.sending.seq = seq
        body = peer.sending.seal(_PADDING)
        other = base64.b64encode(base64.urlsafe_b64decode(body))
        if other != body:
            return lp(other)


_BAD_TOKENS: dict[str, tuple[str, Frames]] = {
    "timestamp": ("A token with a timestamp", _token(_PADDING, timestamp=1)),
    "number": ("A token with the wrong seq", _token(_PADDING, off=1)),
    "alphabet": ("A token in standard base64", _other_alphabet),
    "plaintext-511": ("A token of the right length with 511 bytes of plaintext", _token(_PADDING[:-1])),
    "plaintext-513": ("A token of the right length with 513 bytes of plaintext", _token(_PADDING + b"\x00")),
}

_BAD_GOODBYES = {
    "empty": b"",
    "one-field": pack((0,)),
    "three-fields": pack((0, 0, 0)),
    "nil": pack((None, 0)),
    "false": pack((False, 0)),
    "id-uint8": b"\x92\x00\xcc\x00",
    "trailing": pack((0, 0)) + b"\x00",
}


def _send(frames: Frames, peer: Peer) -> None:
    peer.sock.sendall(frames(peer))


def _send_record(kind: int, payload: bytes, peer: Peer) -> None:
    peer.sock.sendall(record(peer, kind, payload))


def _rekey_flood(peer: Peer) -> None:
    for _ in range(_FLOOD):
        _send_record(REKEY, b"", peer)
        peer.sending.step()


def _late_flood(peer: Peer) -> None:
    """REKEYs of seq 2^13 take nothing from the bucket; nine with a lower seq are too many."""
    for seq in (EARLY, EARLY, *_FLOOD * [0]):
        while peer.sending.seq < seq:
            _send_record(PAD, b"", peer)
        _send_record(REKEY, b"", peer)
        peer.sending.step()


def _never_rekey(peer: Peer) -> None:
    while peer.sending.seq <= RECEIVER_LIMIT:
        _send_record(PAD, b"", peer)


def _after_goodbye(kind: int, payload: bytes, peer: Peer) -> None:
    peer.send(GOODBYE, 0, 0)
    while not peer.conversation.left(peer.other):
        peer.receive()
    _send_record(kind, payload, peer)


def _cut(sent: int, peer: Peer) -> None:
    if sent:
        peer.sock.sendall(record(peer, PAD)[:sent])
    peer.sock.shutdown(socket.SHUT_WR)

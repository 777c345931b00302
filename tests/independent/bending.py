"""Hooks for the table of faults: they modify a message before it is sent."""

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.independent.pack import Value, pack, unpack
from tests.independent.peer import Hook, Peer
from tests.independent.records import Half, plaintext
from tests.independent.schedule import lp

STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)  # a key that neither side knows
GARBAGE = b"\xaa" * 32
GOOD_ABOUT: tuple[Value, ...] = ("", "robot", "software", 4096, False, 1, 100, 1)


def put(index: int, value: Value) -> Hook:
    """Replace one field of an array."""
    return lambda peer, fields: (*fields[:index], value, *fields[index + 1 :])


def use(value: Any) -> Hook:
    """Replace the value."""
    return lambda peer, old: value


def flip(data: bytes, at: int = 0) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def recode(index: int, edit: Callable[[bytes], bytes]) -> Hook:
    """Edit the encoding of one element of a packed array."""

    def hook(peer: Peer, payload: bytes) -> bytes:
        elements = [pack(element) for element in _elements(payload)]
        elements[index] = edit(elements[index])
        return payload[:1] + b"".join(elements)

    return hook


def announce(length: int) -> Hook:
    """Send only the length of the frame: the peer has to abort before it reads the content."""
    return use(length.to_bytes(4, "big"))


def record(peer: Peer, kind: int, payload: bytes = b"") -> bytes:
    """The frame of a record with the sender's next seq, whether or not it is allowed now."""
    return raw_record(peer.sending, plaintext(kind, payload))


def raw_record(half: Half, data: bytes) -> bytes:
    return lp(half.seal(data))


def foreign_half(peer: Peer) -> Half:
    """Keys of another session."""
    return peer.half(GARBAGE)


def own_key(peer: Any) -> Ed25519PrivateKey:
    """This peer's long-term key."""
    key = peer.settings.host_key if peer.side == "server" else peer.settings.user_key
    assert isinstance(key, Ed25519PrivateKey)
    return key


def _elements(payload: bytes) -> tuple[Value, ...]:
    value = unpack(payload)
    assert isinstance(value, tuple)
    return value

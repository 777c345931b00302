"""Records and rekeying, for one direction of a session (protocol, sections 8 and 9)."""

import math
from enum import IntEnum
from struct import Struct
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from securechat.errors import Category, LocalProtocolError, RemoteProtocolError
from securechat.wire.suites import PLAINTEXT_SIZE, RecordCipher, Suite
from securechat.wire.token_bucket import TokenBucket

LABEL_PREFIX: Final = b"securechat/1 "

REKEY_RECORDS: Final = 2**14  # that a sender seals with one key, the final REKEY included
REKEY_SECONDS: Final = 15 * 60.0  # from the first record that a key seals to the last
MAX_SEQ: Final = 2**16  # a receiver's limit, four times the sender's
EARLY_REKEY: Final = 2**13  # a REKEY with a lower number is early: too few records came before it to make it due
REKEY_BURST: Final = 8  # early REKEYs that a receiver accepts at once: each costs three HKDF expansions
REKEY_RATE: Final = 1 / 60  # … and per second after that

_HEAD: Final = Struct(">BH")  # u8 type, u16 length of the payload
MAX_PAYLOAD: Final = PLAINTEXT_SIZE - _HEAD.size
_PADDING: Final = bytes(MAX_PAYLOAD)


class RecordType(IntEnum):
    """The type of a record (protocol, section 8)."""

    PAD = 0
    PROOF = 1
    SAY = 2
    REPLY = 3
    REKEY = 4
    GOODBYE = 5
    FAULT = 6
    CANCEL = 7
    NEW = 8
    ABOUT = 9
    CALL = 10
    RESULT = 11
    RECALL = 12
    HOSTKEY = 13


def expand(secret: bytes, label: bytes, context: bytes = b"", size: int = 32) -> bytes:
    """E(secret, label, context, size), HKDF-Expand (RFC 5869) with a label that contains the protocol's version."""
    return HKDFExpand(hashes.SHA256(), size, LABEL_PREFIX + label + b"\0" + context).derive(secret)


class _TrafficKey:
    """A traffic secret, its cipher, and the sequence number of the next record."""

    __slots__ = ("_cipher", "_secret", "_seq", "_suite")

    def __init__(self, suite: Suite, traffic_secret: bytes) -> None:
        self._suite = suite
        self._start(traffic_secret)

    def _start(self, traffic_secret: bytes) -> None:
        self._secret = traffic_secret
        self._cipher: RecordCipher | None = None
        self._seq = 0

    def _make_cipher(self) -> RecordCipher:
        """Make the cipher when the first record needs it: it takes 2 KiB, and many clients never send anything."""
        self._cipher = self._suite.cipher(expand(self._secret, b"key"), expand(self._secret, b"iv", size=12))
        return self._cipher

    def _ratchet(self) -> None:
        """ts[i+1] = E(ts[i], "next", ""). Earlier records cannot be opened with it."""
        self._start(expand(self._secret, b"next"))


class Sealer(_TrafficKey):
    """The sending side of one direction."""

    __slots__ = ("_frame_head", "_rekey_at")

    def __init__(self, suite: Suite, traffic_secret: bytes) -> None:
        super().__init__(suite, traffic_secret)
        self._frame_head = suite.record_size.to_bytes(4, "big")
        self._rekey_at = math.inf  # REKEY_SECONDS after the first record that this key seals

    def rekey_due(self, now: float) -> bool:
        """Whether the next record has to be a REKEY (protocol, section 9)."""
        return self._seq == REKEY_RECORDS - 1 or now > self._rekey_at

    def seal(self, record_type: RecordType, payload: bytes, now: float) -> bytes:
        """The frame with the next record."""
        size = len(payload)
        if size > MAX_PAYLOAD or self._seq >= REKEY_RECORDS:
            raise LocalProtocolError(f"record of {size} bytes, number {self._seq}")
        plaintext = _HEAD.pack(record_type, size) + payload + _PADDING[size:]
        frame = self._frame_head + (self._cipher or self._make_cipher()).seal(self._seq, plaintext)
        if self._seq == 0:
            self._rekey_at = now + REKEY_SECONDS
        self._seq += 1
        if record_type is RecordType.REKEY:
            self._ratchet()
            self._rekey_at = math.inf
        return frame


class Opener(_TrafficKey):
    """The receiving side of one direction."""

    __slots__ = ("_rekeys", "record_size")

    def __init__(self, suite: Suite, traffic_secret: bytes) -> None:
        super().__init__(suite, traffic_secret)
        self.record_size = suite.record_size
        self._rekeys: TokenBucket | None = None  # created at the first early REKEY, which most sessions do not reach

    def open(self, body: bytes) -> tuple[int, bytes]:
        """Type and payload of the next record; RemoteProtocolError (record, rekey).

        The type is not checked.
        """
        if self._seq >= MAX_SEQ:
            raise RemoteProtocolError(Category.REKEY)
        plaintext = (self._cipher or self._make_cipher()).open(self._seq, body)
        record_type, size = _HEAD.unpack_from(plaintext)
        end = _HEAD.size + size
        if end > PLAINTEXT_SIZE or not plaintext.endswith(_PADDING[size:]):
            raise RemoteProtocolError(Category.RECORD)
        self._seq += 1
        return record_type, plaintext[_HEAD.size : end]

    def rekey(self, now: float) -> None:
        """Change to the next key, after a REKEY; RemoteProtocolError (rekey) if early ones come too often."""
        if self._seq <= EARLY_REKEY:  # the REKEY was counted
            if self._rekeys is None:
                self._rekeys = TokenBucket(REKEY_BURST, REKEY_RATE, now)
            if not self._rekeys.take(now):
                raise RemoteProtocolError(Category.REKEY)
        self._ratchet()

"""Sections 8 and 9: the records of one direction and its key ratchet."""

import base64
import hmac
import time
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from tests.independent.abort import AbortError
from tests.independent.schedule import mac, next_traffic_secret, traffic_iv, traffic_key
from tests.independent.suites import PQ, RECORD_FRAME

PAD, PROOF, SAY, REPLY, REKEY, GOODBYE, FAULT, CANCEL, NEW, ABOUT, CALL, RESULT, RECALL, HOSTKEY = range(14)

PLAINTEXT = 512
HEAD = 3  # u8 type, u16 n
LONGEST_PAYLOAD = PLAINTEXT - HEAD
SENDER_LIMIT = 2**14  # a REKEY's seq is below this
RECEIVER_LIMIT = 2**16
EARLY = 2**13  # a REKEY with a lower seq takes from the bucket
KEY_LIFETIME = 15 * 60.0  # seconds
BUCKET = 8.0
REFILL_PERIOD = 60.0  # seconds for one REKEY

_FERNET_VERSION = 0x80


def plaintext(kind: int, payload: bytes) -> bytes:
    return (bytes([kind]) + len(payload).to_bytes(2, "big") + payload).ljust(PLAINTEXT, b"\x00")


def read_plaintext(data: bytes) -> tuple[int, bytes]:
    n = int.from_bytes(data[1:HEAD], "big")
    if len(data) != PLAINTEXT or n > LONGEST_PAYLOAD or any(data[HEAD + n :]):
        raise AbortError("record", "padding")
    return data[0], data[HEAD : HEAD + n]


class Half:
    """One direction: the current traffic secret ``ts``, and the seq of the next record under it."""

    def __init__(self, suite: str, ts: bytes, randomness: Callable[[int], bytes]) -> None:
        self.suite = suite
        self.ts = ts
        self.seq = 0
        self._randomness = randomness
        self._first_sealed: float | None = None  # on time.monotonic(), as is what follows
        self._tokens = BUCKET
        self._filled = time.monotonic()

    @property
    def needs_rekey(self) -> bool:
        """Whether the sender's next record has to be REKEY."""
        if self._first_sealed is not None and time.monotonic() - self._first_sealed > KEY_LIFETIME:
            return True
        return self.seq >= SENDER_LIMIT - 1

    def step(self) -> None:
        """Continue with ts[i+1], after sealing or opening REKEY."""
        self.ts = next_traffic_secret(self.ts)
        self.seq = 0
        self._first_sealed = None

    def count_rekey(self) -> None:
        """After opening a REKEY, before ``step``."""
        if self.seq - 1 >= EARLY:
            return
        now = time.monotonic()
        self._tokens = min(BUCKET, self._tokens + (now - self._filled) / REFILL_PERIOD)
        self._filled = now
        if self._tokens < 1:
            raise AbortError("rekey", "too many")
        self._tokens -= 1

    def seal(self, data: bytes) -> bytes:
        """The body of the next record with plaintext ``data``."""
        if self._first_sealed is None:
            self._first_sealed = time.monotonic()
        if self.suite == PQ:
            body = ChaCha20Poly1305(traffic_key(self.ts)).encrypt(self._nonce(), data, self._length())
        else:
            numbered = self.seq.to_bytes(8, "big") + data
            body = fernet_seal(traffic_key(self.ts), numbered, self._randomness(16))
        self.seq += 1
        return body

    def open(self, body: bytes) -> bytes:
        if self.seq >= RECEIVER_LIMIT:
            raise AbortError("rekey", "missing")
        if self.suite == PQ:
            try:
                data = ChaCha20Poly1305(traffic_key(self.ts)).decrypt(self._nonce(), body, self._length())
            except InvalidTag:
                raise AbortError("record", "does not open") from None
        else:
            numbered = fernet_open(traffic_key(self.ts), body)
            if numbered[:8] != self.seq.to_bytes(8, "big"):
                raise AbortError("record", "seq")
            data = numbered[8:]
        self.seq += 1
        return data

    def _nonce(self) -> bytes:
        number = int.from_bytes(traffic_iv(self.ts), "big") ^ self.seq
        return number.to_bytes(12, "big")

    def _length(self) -> bytes:
        return RECORD_FRAME[self.suite].to_bytes(4, "big")


def fernet_seal(key: bytes, data: bytes, iv: bytes, timestamp: int = 0) -> bytes:
    """A Fernet token: version, timestamp, IV, AES-128-CBC, HMAC; the first half of the key is for the HMAC."""
    padder = PKCS7(128).padder()
    padded = padder.update(data) + padder.finalize()
    encryptor = Cipher(AES(key[16:]), CBC(iv)).encryptor()
    token = bytes([_FERNET_VERSION]) + timestamp.to_bytes(8, "big") + iv + encryptor.update(padded)
    return base64.urlsafe_b64encode(token + mac(key[:16], token))


def fernet_open(key: bytes, text: bytes) -> bytes:
    try:
        token = base64.urlsafe_b64decode(text)
    except ValueError:
        raise AbortError("record", "not base64") from None
    if base64.urlsafe_b64encode(token) != text:
        raise AbortError("record", "does not re-encode to itself")
    signed, tag = token[:-32], token[-32:]
    if not hmac.compare_digest(tag, mac(key[:16], signed)):
        raise AbortError("record", "does not open")
    if signed[:9] != bytes([_FERNET_VERSION]) + bytes(8):
        raise AbortError("record", "version or timestamp")
    decryptor = Cipher(AES(key[16:]), CBC(signed[9:25])).decryptor()
    unpadder = PKCS7(128).unpadder()
    try:
        return unpadder.update(decryptor.update(signed[25:])) + unpadder.finalize()
    except ValueError:
        raise AbortError("record", "does not open") from None

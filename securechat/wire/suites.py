"""The two suites: key transport and record protection (protocol, sections 2, 3 and 8).

The client chooses the suite; there is no negotiation. `SUITES` contains the suites by name.
"""

from abc import ABC, abstractmethod
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from securechat.errors import Category, RemoteProtocolError

PLAINTEXT_SIZE: Final = 512  # bytes of a record before it is sealed
LENGTH_SIZE: Final = 4  # bytes of the length of a frame
SECRET_SIZE: Final = 32  # bytes of the session secret


class EphemeralKey(Protocol):
    """A key pair for one Hello, used to open one sealed secret."""

    public_bytes: bytes

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The secret in `sealed`; RemoteProtocolError (seal) if it was not sealed to this key with `info`."""


class RecordCipher(Protocol):
    """Seals and opens the records of one traffic secret. The caller must use each sequence number once."""

    def seal(self, seq: int, plaintext: bytes) -> bytes:
        """The sealed record with sequence number `seq`, `Suite.record_size` bytes."""

    def open(self, seq: int, body: bytes) -> bytes:
        """The plaintext in `body`, 512 bytes; RemoteProtocolError (record) if it is not the record numbered `seq`."""


class Suite(ABC):
    """A key transport and a record protection."""

    name: bytes
    record_size: int  # bytes of a sealed record, without the frame's length
    sealed_size: int  # bytes of a sealed secret

    @abstractmethod
    def generate_key(self) -> EphemeralKey:
        """A new key pair. RSA takes about 100 ms: do not call this in the reactor thread."""

    @abstractmethod
    def seal(self, public_bytes: bytes, secret: bytes, info: bytes) -> bytes:
        """`secret`, sealed to a public key; RemoteProtocolError (key) if the public key is invalid."""

    @abstractmethod
    def cipher(self, key: bytes, iv: bytes) -> RecordCipher:
        """The record cipher for a key of 32 bytes and an IV of 12 bytes."""


# PQ: HPKE (RFC 9180) with KEM 0x647a MLKEM768-X25519, and ChaCha20-Poly1305 (RFC 8439).

MLKEM768_PUBLIC_SIZE: Final = 1184
X25519_PUBLIC_SIZE: Final = 32

HPKE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


class HybridKey:
    """An ML-KEM-768 key pair and an X25519 key pair."""

    __slots__ = ("_key", "public_bytes")

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._key = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public_bytes = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def open(self, sealed: bytes, info: bytes) -> bytes:
        try:
            return HPKE.decrypt(sealed, self._key, info=info)
        except (InvalidTag, ValueError):
            raise RemoteProtocolError(Category.SEAL) from None


class ChaCha20Poly1305Cipher:
    """ChaCha20-Poly1305(key, nonce = iv xor (0^4 ‖ u64 seq), aad = the frame's 4 length bytes, plaintext)."""

    __slots__ = ("_aead", "_iv")

    RECORD_SIZE: Final = PLAINTEXT_SIZE + 16  # Poly1305's tag
    LENGTH: Final = RECORD_SIZE.to_bytes(LENGTH_SIZE, "big")

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._iv = int.from_bytes(iv, "big")

    def seal(self, seq: int, plaintext: bytes) -> bytes:
        return self._aead.encrypt((self._iv ^ seq).to_bytes(12, "big"), plaintext, self.LENGTH)

    def open(self, seq: int, body: bytes) -> bytes:
        try:
            return self._aead.decrypt((self._iv ^ seq).to_bytes(12, "big"), body, self.LENGTH)
        except InvalidTag:
            raise RemoteProtocolError(Category.RECORD) from None


class MLKEM768X25519(Suite):
    """Suite PQ: secure as long as either ML-KEM-768 or X25519 is."""

    name = b"mlkem768x25519-chacha20poly1305"
    record_size = ChaCha20Poly1305Cipher.RECORD_SIZE
    sealed_size = 1168  # the KEM's 1088 + 32, the secret's 32, the tag's 16

    def generate_key(self) -> HybridKey:
        return HybridKey(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    def seal(self, public_bytes: bytes, secret: bytes, info: bytes) -> bytes:
        if len(public_bytes) != MLKEM768_PUBLIC_SIZE + X25519_PUBLIC_SIZE:
            raise RemoteProtocolError(Category.KEY)
        try:  # checks both keys: ML-KEM's for reduced coefficients, X25519's for low order
            public_key = hpke.MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(public_bytes[:MLKEM768_PUBLIC_SIZE]),
                X25519PublicKey.from_public_bytes(public_bytes[MLKEM768_PUBLIC_SIZE:]),
            )
            return HPKE.encrypt(secret, public_key, info=info)
        except ValueError:
            raise RemoteProtocolError(Category.KEY) from None

    def cipher(self, key: bytes, iv: bytes) -> ChaCha20Poly1305Cipher:
        return ChaCha20Poly1305Cipher(key, iv)


# RSA: OAEP (RFC 8017) and Fernet.

RSA_BITS: Final = 2048
RSA_EXPONENT: Final = 65537

# A SubjectPublicKeyInfo (RFC 5280) with a 2048-bit modulus and e = 65537 has one DER encoding: these bytes around the
# modulus. Comparing them is cheap. A parser would also accept PKCS #1 and other exponents, some of them expensive.
_SPKI_HEAD: Final = bytes.fromhex("30820122300d06092a864886f70d01010105000382010f003082010a0282010100")
_SPKI_TAIL: Final = bytes.fromhex("0203010001")
_SPKI_SIZE: Final = len(_SPKI_HEAD) + RSA_BITS // 8 + len(_SPKI_TAIL)


def _oaep(info: bytes) -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=info)


class RSAKey:
    """A 2048-bit RSA key pair."""

    __slots__ = ("_key", "public_bytes")

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key
        self.public_bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def open(self, sealed: bytes, info: bytes) -> bytes:
        try:
            return self._key.decrypt(sealed, _oaep(info))
        except ValueError:
            raise RemoteProtocolError(Category.SEAL) from None


class FernetCipher:
    """Fernet(base64url(key)), encrypting u64 seq ‖ plaintext at time 0: a token's time is not encrypted."""

    __slots__ = ("_fernet",)

    RECORD_SIZE: Final = 780  # base64 of version 1, time 8, IV 16, AES-CBC of 8 + 512 padded 528, HMAC 32
    SEQ_SIZE: Final = 8

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(urlsafe_b64encode(key))

    def seal(self, seq: int, plaintext: bytes) -> bytes:
        return self._fernet.encrypt_at_time(seq.to_bytes(self.SEQ_SIZE, "big") + plaintext, 0)

    def open(self, seq: int, body: bytes) -> bytes:
        try:
            token = urlsafe_b64decode(body)
            numbered = self._fernet.decrypt(body)
        except (InvalidToken, ValueError):
            raise RemoteProtocolError(Category.RECORD) from None
        # The decoder also accepts base64 that is not canonical.
        if (
            urlsafe_b64encode(token) != body
            or token[1:9] != bytes(8)
            or len(numbered) != self.SEQ_SIZE + PLAINTEXT_SIZE
            or int.from_bytes(numbered[: self.SEQ_SIZE], "big") != seq
        ):
            raise RemoteProtocolError(Category.RECORD)
        return numbered[self.SEQ_SIZE :]


class RSA2048Fernet(Suite):
    """Suite RSA: the primitives of the original protocol. Not post-quantum."""

    name = b"rsa2048-fernet"
    record_size = FernetCipher.RECORD_SIZE
    sealed_size = RSA_BITS // 8

    def generate_key(self) -> RSAKey:
        return RSAKey(rsa.generate_private_key(RSA_EXPONENT, RSA_BITS))

    def seal(self, public_bytes: bytes, secret: bytes, info: bytes) -> bytes:
        modulus = public_bytes[len(_SPKI_HEAD) : -len(_SPKI_TAIL)]
        if (
            len(public_bytes) != _SPKI_SIZE
            or not public_bytes.startswith(_SPKI_HEAD)
            or not public_bytes.endswith(_SPKI_TAIL)
            or not modulus[0] & 0x80  # exactly 2048 bits
            or not modulus[-1] & 0x01
        ):
            raise RemoteProtocolError(Category.KEY)
        public_key = rsa.RSAPublicNumbers(RSA_EXPONENT, int.from_bytes(modulus, "big")).public_key()
        return public_key.encrypt(secret, _oaep(info))

    def cipher(self, key: bytes, iv: bytes) -> FernetCipher:
        return FernetCipher(key)  # Fernet draws an IV for each token


DEFAULT_SUITE: Final = MLKEM768X25519.name
SUITES: Final[dict[bytes, Suite]] = {suite.name: suite for suite in (MLKEM768X25519(), RSA2048Fernet())}

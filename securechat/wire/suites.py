"""The two suites: how a secret is sealed to a public key, and how a record is sealed (protocol, sections 2, 3 and 8).

A suite is named by the client and never negotiated. `SUITES` holds them by name.
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

PLAINTEXT_SIZE: Final = 512  # bytes of every record before it is sealed
LENGTH_SIZE: Final = 4  # bytes of the length before every frame
SECRET_SIZE: Final = 32  # bytes of the session secret


class EphemeralKey(Protocol):
    """A key pair made for one Hello; it opens one sealed secret and is dropped."""

    public_bytes: bytes

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The secret in `sealed`; RemoteProtocolError (seal) if it was not sealed to this key and `info`."""


class RecordCipher(Protocol):
    """Seals and opens the records of one traffic secret. The caller counts: a number is used once."""

    def seal(self, seq: int, plaintext: bytes) -> bytes:
        """The body of the record with number `seq`: `Suite.record_size` bytes for 512."""

    def open(self, seq: int, body: bytes) -> bytes:
        """The 512 bytes in `body`; RemoteProtocolError (record) if it is not the record with number `seq`."""


class Suite(ABC):
    """A key transport and a record protection that go together."""

    name: bytes
    record_size: int  # bytes of a sealed record, without the length before it
    sealed_size: int  # bytes of a sealed secret

    @abstractmethod
    def generate_key(self) -> EphemeralKey:
        """A fresh key pair. RSA's takes some 100 ms: call it off the reactor's thread."""

    @abstractmethod
    def seal(self, public_bytes: bytes, secret: bytes, info: bytes) -> bytes:
        """`secret`, sealed to a public key; RemoteProtocolError (key) if the key is not of the one form."""

    @abstractmethod
    def cipher(self, key: bytes, iv: bytes) -> RecordCipher:
        """The record cipher for a key of 32 bytes and an iv of 12."""


# PQ: HPKE (RFC 9180) with KEM 0x647a MLKEM768-X25519, and ChaCha20-Poly1305 (RFC 8439).

MLKEM768_PUBLIC_SIZE: Final = 1184
X25519_PUBLIC_SIZE: Final = 32

HPKE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


class HybridKey:
    """ML-KEM-768 and X25519, used as one."""

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
    """body = ChaCha20-Poly1305(key, nonce = iv xor (0^4 ‖ u64 seq), aad = the 4 length bytes, plaintext)."""

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
    """Post-quantum and classical key exchange in one: safe while either holds."""

    name = b"mlkem768x25519-chacha20poly1305"
    record_size = ChaCha20Poly1305Cipher.RECORD_SIZE
    sealed_size = 1168  # the KEM's 1088 + 32, the secret's 32, the tag's 16

    def generate_key(self) -> HybridKey:
        return HybridKey(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    def seal(self, public_bytes: bytes, secret: bytes, info: bytes) -> bytes:
        if len(public_bytes) != MLKEM768_PUBLIC_SIZE + X25519_PUBLIC_SIZE:
            raise RemoteProtocolError(Category.KEY)
        try:  # both keys are checked here: ML-KEM's for coefficients not reduced, X25519's for low order
            public_key = hpke.MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(public_bytes[:MLKEM768_PUBLIC_SIZE]),
                X25519PublicKey.from_public_bytes(public_bytes[MLKEM768_PUBLIC_SIZE:]),
            )
            return HPKE.encrypt(secret, public_key, info=info)
        except ValueError:
            raise RemoteProtocolError(Category.KEY) from None

    def cipher(self, key: bytes, iv: bytes) -> ChaCha20Poly1305Cipher:
        return ChaCha20Poly1305Cipher(key, iv)


# RSA, the seed's: OAEP (RFC 8017) and Fernet.

RSA_BITS: Final = 2048
RSA_EXPONENT: Final = 65537

# A SubjectPublicKeyInfo (RFC 5280) of a 2048-bit key with e = 65537 has one DER form: these bytes round the modulus.
# Comparing them costs nothing; a parser would take PKCS#1 and odd exponents, and some of those cost it much.
_SPKI_HEAD: Final = bytes.fromhex("30820122300d06092a864886f70d01010105000382010f003082010a0282010100")
_SPKI_TAIL: Final = bytes.fromhex("0203010001")
_SPKI_SIZE: Final = len(_SPKI_HEAD) + RSA_BITS // 8 + len(_SPKI_TAIL)


def _oaep(info: bytes) -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=info)


class RSAKey:
    """An RSA key pair of 2048 bits."""

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
    """body = Fernet(b64url(key)) of u64 seq ‖ plaintext, at time 0: a clock in clear would be one more thing told."""

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
        # Base64 has many texts for the same bytes: only the one that encodes again is ours.
        if (
            urlsafe_b64encode(token) != body
            or token[1:9] != bytes(8)
            or len(numbered) != self.SEQ_SIZE + PLAINTEXT_SIZE
            or int.from_bytes(numbered[: self.SEQ_SIZE], "big") != seq
        ):
            raise RemoteProtocolError(Category.RECORD)
        return numbered[self.SEQ_SIZE :]


class RSA2048Fernet(Suite):
    """The seed's own primitives, for those who read how it began. Not post-quantum."""

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
            or not modulus[0] & 0x80  # all of the 2048 bits
            or not modulus[-1] & 0x01
        ):
            raise RemoteProtocolError(Category.KEY)
        public_key = rsa.RSAPublicNumbers(RSA_EXPONENT, int.from_bytes(modulus, "big")).public_key()
        return public_key.encrypt(secret, _oaep(info))

    def cipher(self, key: bytes, iv: bytes) -> FernetCipher:
        return FernetCipher(key)  # Fernet draws an IV for each token


DEFAULT_SUITE: Final = MLKEM768X25519.name
SUITES: Final[dict[bytes, Suite]] = {suite.name: suite for suite in (MLKEM768X25519(), RSA2048Fernet())}

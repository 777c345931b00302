"""Section 2 and the key transport of section 3: key pairs, checks of ``pub``, seal and open."""

from collections.abc import Callable
from functools import cache
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.independent import hpke
from tests.independent.abort import AbortError

PQ = "mlkem768x25519-chacha20poly1305"
RSA = "rsa2048-fernet"
SUITES = (PQ, RSA)

RECORD_FRAME = {PQ: 528, RSA: 780}  # section 1
_PUB = {PQ: hpke.PUBLIC, RSA: 294}
_SEALED = {PQ: hpke.SEALED, RSA: 256}

# A SubjectPublicKeyInfo of 2048 bits with e = 65537 consists of these bytes, n, and these bytes.
SPKI_BEFORE_N = bytes.fromhex("30820122300d06092a864886f70d01010105000382010f003082010a0282010100")
SPKI_AFTER_N = bytes.fromhex("0203010001")


class KeyPair(Protocol):
    """The key pair of one Hello."""

    @property
    def pub(self) -> bytes: ...

    def private(self) -> dict[str, str]:
        """The private key in hex, for the trace."""

    def open(self, sealed: bytes, info: bytes) -> bytes | None:
        """The secret, or None if ``sealed`` does not open."""


class PqKeyPair:
    def __init__(self, mlkem_seed: bytes, x25519_private: bytes) -> None:
        self._seed = mlkem_seed
        self._scalar = x25519_private
        self._mlkem = MLKEM768PrivateKey.from_seed_bytes(mlkem_seed)
        self._x25519 = X25519PrivateKey.from_private_bytes(x25519_private)

    @property
    def pub(self) -> bytes:
        return self._mlkem.public_key().public_bytes_raw() + self._x25519.public_key().public_bytes_raw()

    def private(self) -> dict[str, str]:
        return {"mlkem_seed": self._seed.hex(), "x25519_private": self._scalar.hex()}

    def open(self, sealed: bytes, info: bytes) -> bytes | None:
        return hpke.open_(self._mlkem, self._x25519, info, sealed)


class RsaKeyPair:
    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    @property
    def pub(self) -> bytes:
        return self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def private(self) -> dict[str, str]:
        return {"pkcs8": self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex()}

    def open(self, sealed: bytes, info: bytes) -> bytes | None:
        try:
            return self._key.decrypt(sealed, _oaep(info))
        except ValueError:
            return None


def make_key_pair(suite: str, randomness: Callable[[int], bytes]) -> KeyPair:
    """Generate a key pair. ``randomness`` determines only that of suite PQ; an RSA key pair can be injected instead."""
    if suite == PQ:
        return PqKeyPair(randomness(64), randomness(32))
    return RsaKeyPair(rsa.generate_private_key(65537, 2048))


@cache
def rsa_key_pair() -> KeyPair:
    """A cached key pair, for speed: generating one takes a tenth of a second."""
    return make_key_pair(RSA, bytes)


def check_pub(suite: str, pub: bytes) -> None:
    if len(pub) != _PUB[suite]:
        raise AbortError("key", "length")
    if suite == PQ:
        if not hpke.reduced(pub):
            raise AbortError("key", "ML-KEM coefficients not reduced")
        if hpke.low_order(pub[hpke.MLKEM_PUBLIC :]):
            raise AbortError("key", "X25519 point of low order")
        return
    n = pub[len(SPKI_BEFORE_N) : -len(SPKI_AFTER_N)]
    if pub != SPKI_BEFORE_N + n + SPKI_AFTER_N or not n[0] & 0x80 or not n[-1] & 1:
        raise AbortError("key", "not SubjectPublicKeyInfo of 2048 bits, odd, with e = 65537")


def check_sealed(suite: str, sealed: bytes) -> None:
    if len(sealed) != _SEALED[suite]:
        raise AbortError("seal", "length")


def seal(suite: str, pub: bytes, info: bytes, secret: bytes) -> bytes:
    if suite == PQ:
        return hpke.seal(pub, info, secret)
    n = int.from_bytes(pub[len(SPKI_BEFORE_N) : -len(SPKI_AFTER_N)], "big")
    return rsa.RSAPublicNumbers(65537, n).public_key().encrypt(secret, _oaep(info))


def open_sealed(key_pair: KeyPair, sealed: bytes, info: bytes) -> bytes:
    secret = key_pair.open(sealed, info)
    if secret is None or len(secret) != 32:
        raise AbortError("seal", "does not open to 32 bytes")
    return secret


def _oaep(info: bytes) -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=info)

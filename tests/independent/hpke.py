"""Section 2, suite PQ: HPKE single-shot base mode (RFC 9180) with KEM 0x647a, written out.

KEM 0x647a is ML-KEM-768 with X25519; SHA3-256 combines their secrets.
"""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.independent.schedule import expand, extract

MLKEM_PUBLIC = 1184
MLKEM_CIPHERTEXT = 1088
X25519 = 32
PUBLIC = MLKEM_PUBLIC + X25519
ENCAPSULATED = MLKEM_CIPHERTEXT + X25519
SEALED = ENCAPSULATED + 32 + 16  # a 32-byte secret and its tag

_SUITE_ID = b"HPKE" + (0x647A).to_bytes(2, "big") + (0x0001).to_bytes(2, "big") + (0x0003).to_bytes(2, "big")
_LABEL = rb"\.//^" + b"\\"
_MODULUS = 3329  # q of FIPS 203


def reduced(pub: bytes) -> bool:
    """FIPS 203, 7.2: whether all 768 twelve-bit coefficients of the ML-KEM key are below q."""
    for at in range(0, MLKEM_PUBLIC - 32, 3):
        pair = int.from_bytes(pub[at : at + 3], "little")
        if pair & 0xFFF >= _MODULUS or pair >> 12 >= _MODULUS:
            return False
    return True


def low_order(point: bytes) -> bool:
    """Whether X25519 with this point yields zero for every private key."""
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError:
        return True
    return False


def seal(pub: bytes, info: bytes, plaintext: bytes) -> bytes:
    pq_secret, pq_ciphertext = MLKEM768PublicKey.from_public_bytes(pub[:MLKEM_PUBLIC]).encapsulate()
    ephemeral = X25519PrivateKey.generate()
    point = pub[MLKEM_PUBLIC:]
    secret = ephemeral.exchange(X25519PublicKey.from_public_bytes(point))
    share = ephemeral.public_key().public_bytes_raw()
    key, nonce = _key_schedule(_combine(pq_secret, secret, share, point), info)
    return pq_ciphertext + share + ChaCha20Poly1305(key).encrypt(nonce, plaintext, b"")


def open_(mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey, info: bytes, sealed: bytes) -> bytes | None:
    """The plaintext, or None if ``sealed`` does not open."""
    pq_ciphertext = sealed[:MLKEM_CIPHERTEXT]
    share = sealed[MLKEM_CIPHERTEXT:ENCAPSULATED]
    try:
        pq_secret = mlkem.decapsulate(pq_ciphertext)
        secret = x25519.exchange(X25519PublicKey.from_public_bytes(share))
        point = x25519.public_key().public_bytes_raw()
        key, nonce = _key_schedule(_combine(pq_secret, secret, share, point), info)
        return ChaCha20Poly1305(key).decrypt(nonce, sealed[ENCAPSULATED:], b"")
    except (InvalidTag, ValueError):
        return None


def _combine(pq_secret: bytes, secret: bytes, share: bytes, point: bytes) -> bytes:
    return hashlib.sha3_256(pq_secret + secret + share + point + _LABEL).digest()


def _key_schedule(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    context = b"\x00" + _labeled_extract(b"", b"psk_id_hash", b"") + _labeled_extract(b"", b"info_hash", info)
    secret = _labeled_extract(shared, b"secret", b"")
    return _labeled_expand(secret, b"key", context, 32), _labeled_expand(secret, b"base_nonce", context, 12)


def _labeled_extract(salt: bytes, label: bytes, material: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + _SUITE_ID + label + material)


def _labeled_expand(prk: bytes, label: bytes, context: bytes, size: int) -> bytes:
    return expand(prk, size.to_bytes(2, "big") + b"HPKE-v1" + _SUITE_ID + label + context, size)

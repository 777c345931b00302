"""Sections 3 and 6: keys in SSH wire format, and SSHSIG signatures as of ``ssh-keygen -Y``."""

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.independent.schedule import lp

SERVER = "securechat-v1-server"
CLIENT = "securechat-v1-client"

_PREFIX = lp(b"ssh-ed25519") + (32).to_bytes(4, "big")
_ORDER = 2**252 + 27742317777372353535851937790883648493  # L of RFC 8032

# Section 3: all points of small order, in all encodings that OpenSSL loads
SMALL_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "00" * 31 + "80",
        "01" + "00" * 31,
        "01" + "00" * 30 + "80",
        "ec" + "ff" * 30 + "7f",
        "ec" + "ff" * 31,
        "ed" + "ff" * 30 + "7f",
        "ed" + "ff" * 31,
        "ee" + "ff" * 30 + "7f",
        "ee" + "ff" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
)


def blob(key: Ed25519PrivateKey) -> bytes:
    """The public key in SSH wire format, 51 bytes."""
    return _PREFIX + key.public_key().public_bytes_raw()


def acceptable(key_blob: bytes) -> bool:
    """Whether this is an ssh-ed25519 key of 51 bytes that is not a small-order point."""
    point = key_blob[len(_PREFIX) :]
    return key_blob.startswith(_PREFIX) and len(point) == 32 and point not in SMALL_ORDER


def signed_data(namespace: str, message: bytes) -> bytes:
    digest = hashlib.sha512(message).digest()
    return b"SSHSIG" + lp(namespace.encode()) + lp(b"") + lp(b"sha512") + lp(digest)


def sign(key: Ed25519PrivateKey, namespace: str, message: bytes) -> bytes:
    return key.sign(signed_data(namespace, message))


def verifies(key_blob: bytes, namespace: str, message: bytes, signature: bytes) -> bool:
    """Whether this is a valid signature by an ``acceptable`` key; S has to be below L."""
    if not acceptable(key_blob) or len(signature) != 64:
        return False
    if int.from_bytes(signature[32:], "little") >= _ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key_blob[len(_PREFIX) :]).verify(signature, signed_data(namespace, message))
    except (InvalidSignature, ValueError):  # ValueError: not a point
        return False
    return True

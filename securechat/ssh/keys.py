"""Ed25519 keys in SSH formats: public key blobs, fingerprints and SSHSIG signatures (protocol, sections 3 and 6)."""

import hashlib
import re
from base64 import b64decode, b64encode
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from securechat.i18n import _
from securechat.ssh.encoding import string

KEY_TYPE: Final = b"ssh-ed25519"
_KEY_SIZE: Final = 32  # bytes
_BLOB_HEAD: Final = string(KEY_TYPE) + _KEY_SIZE.to_bytes(4, "big")
_BLOB_SIZE: Final = len(_BLOB_HEAD) + _KEY_SIZE

# All encodings of points of small order that OpenSSL accepts: signatures under these keys can be forged.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(encoding)
    for encoding in (
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


def check_blob(blob: bytes) -> None:
    """ValueError unless `blob` is an Ed25519 public key in SSH wire format, and not of small order."""
    if len(blob) != _BLOB_SIZE or not blob.startswith(_BLOB_HEAD) or blob[len(_BLOB_HEAD) :] in _SMALL_ORDER:
        raise ValueError("not a valid ssh-ed25519 key")


def blob_of(key: bytes) -> bytes:
    """A public key of 32 bytes in SSH wire format. It is not checked."""
    return _BLOB_HEAD + key


def fingerprint(blob: bytes) -> str:
    """``SHA256:…``, as printed by ``ssh-keygen -l``."""
    return "SHA256:" + b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def signed_data(namespace: bytes, message: bytes) -> bytes:
    """The data to sign for an SSHSIG signature of `message` (OpenSSH, PROTOCOL.sshsig)."""
    digest = hashlib.sha512(message).digest()
    return b"SSHSIG" + string(namespace) + string(b"") + string(b"sha512") + string(digest)


def verify(blob: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` is a valid signature of `data`; False also if `check_blob` rejects the key."""
    try:
        check_blob(blob)
        Ed25519PublicKey.from_public_bytes(blob[len(_BLOB_HEAD) :]).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


class SigningKey:
    """An Ed25519 private key. `blob` is the public key in SSH wire format."""

    __slots__ = ("_key", "blob")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.blob = blob_of(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key."""
        return cls(Ed25519PrivateKey.generate())

    def __repr__(self) -> str:
        return f"<SigningKey {fingerprint(self.blob)}>"

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`, 64 bytes."""
        return self._key.sign(data)

    def private_bytes(self) -> bytes:
        """The key in OpenSSH format, without a passphrase."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


# `.` does not match a line break, so a second line is not taken for part of the comment.
_PUBLIC_LINE: Final = re.compile(r"(\S+)[ \t]+(\S+)(?:[ \t]+(.*))?")


def parse_public_line(line: str) -> tuple[bytes, str]:
    """Blob and comment of ``ssh-ed25519 AAAA… comment``; ValueError if the line is not of this form."""
    blob, comment = parse_line(line, KEY_TYPE)
    check_blob(blob)
    return blob, comment


def parse_line(line: str, key_type: bytes) -> tuple[bytes, str]:
    """Blob and comment of ``key_type AAAA… comment``; ValueError. The blob is not checked."""
    parts = _PUBLIC_LINE.fullmatch(line.strip())
    if parts is None or parts[1] != key_type.decode():
        raise ValueError(f"expected {key_type.decode()} AAAA… comment")
    encoded, comment = parts[2], parts[3] or ""
    blob = b64decode(encoded, validate=True)
    if b64encode(blob).decode() != encoded:
        raise ValueError("not canonical base64")
    return blob, comment


def check_fields(line: str, count: int) -> None:
    """ValueError, for the user, if the first `count` fields of a line have other characters than printable ASCII.

    Such a character may look like a space, or like nothing, and yet be part of a field.
    """
    for field in re.split(r"[ \t]+", line, maxsplit=count)[:count]:
        odd = re.search("[^!-~]", field)
        if odd is not None:
            raise ValueError(
                _("unexpected character {code}; correct or remove this line").format(code=code_point(odd[0]))
            )


def code_point(character: str) -> str:
    """``U+00A0``, for a character that may not be visible."""
    return f"U+{ord(character):04X}"


def public_line(blob: bytes, comment: str = "") -> str:
    """``ssh-ed25519 AAAA… comment``, the inverse of `parse_public_line`."""
    return f"{KEY_TYPE.decode()} {b64encode(blob).decode()} {comment}".rstrip()

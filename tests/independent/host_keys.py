"""Section 8: the next host key."""

import base64
import re

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.independent import sshsig
from tests.independent.abort import AbortError
from tests.independent.pack import Value
from tests.independent.schedule import lp, sha256

NAMESPACE = "securechat-v1-next-host-key"


def hint_of(blob: bytes) -> str:
    return base64.b64encode(sha256(blob)).decode()[:16]


def announced(software: str, blob: bytes) -> str:
    return f"{software} next-host-key={hint_of(blob)}"


def hint_in(software: str) -> str:
    """The hint at the end of what ABOUT says, empty if there is none."""
    found = re.search(r" next-host-key=([A-Za-z0-9+/]{16})\Z", software)
    return found[1] if found else ""


def answer(session_id: bytes, present: Ed25519PrivateKey, successor: Ed25519PrivateKey) -> tuple[Value, ...]:
    """The fields of the server's HOSTKEY."""
    message = _message(session_id, sshsig.blob(present), sshsig.blob(successor))
    signatures = (sshsig.sign(key, NAMESPACE, message) for key in (present, successor))
    return sshsig.blob(successor), *signatures


def check(fields: tuple[Value, ...], session_id: bytes, present: bytes, hint: str) -> bytes:
    """The successor, which the client may store."""
    successor, *signatures = fields
    assert isinstance(successor, bytes)
    if not sshsig.acceptable(successor) or successor == present or hint_of(successor) != hint:
        raise AbortError("host-key", "next host key")
    message = _message(session_id, present, successor)
    for key, signature in zip((present, successor), signatures, strict=True):
        assert isinstance(signature, bytes)
        if not sshsig.verifies(key, NAMESPACE, message, signature):
            raise AbortError("proof", "next host key")
    return successor


def _message(session_id: bytes, present: bytes, successor: bytes) -> bytes:
    return lp(session_id) + lp(present) + lp(successor)

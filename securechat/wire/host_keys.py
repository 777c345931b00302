"""The announcement of the host key that will replace the present one (protocol, section 8)."""

import hashlib
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import Final

from securechat.errors import AuthenticationError, Category
from securechat.ssh import keys
from securechat.ssh.encoding import string
from securechat.wire.messages import MAX_ABOUT, HostKeyMessage

NAMESPACE: Final = b"securechat-v1-next-host-key"
_HINT_SIZE: Final = 16  # characters

_SUFFIX: Final = " next-host-key="
_ANNOUNCED: Final = re.compile(rf"(.*){_SUFFIX}([A-Za-z0-9+/]{{{_HINT_SIZE}}})", re.DOTALL)
_MAX_SOFTWARE: Final = MAX_ABOUT - len(_SUFFIX) - _HINT_SIZE  # bytes before the hint


def hint_of(blob: bytes) -> str:
    """The beginning of a key's SHA-256 in base64, by which a client recognizes a key that it knows."""
    return b64encode(hashlib.sha256(blob).digest()).decode()[:_HINT_SIZE]


def announce(software: str, blob: bytes) -> str:
    """The `software` of ABOUT, with the hint of the next host key."""
    return f"{software.encode()[:_MAX_SOFTWARE].decode(errors='ignore')}{_SUFFIX}{hint_of(blob)}"


def read_announcement(software: str) -> tuple[str, str]:
    """The `software` of ABOUT without the hint, and the hint, empty if there is none."""
    announced = _ANNOUNCED.fullmatch(software)
    return (announced[1], announced[2]) if announced else (software, "")


def _signed_data(session_id: bytes, present: bytes, successor: bytes) -> bytes:
    return keys.signed_data(NAMESPACE, string(session_id) + string(present) + string(successor))


@dataclass(frozen=True, slots=True, repr=False)
class HostKeys:
    """A server's present host key and its successor."""

    present: keys.SigningKey
    successor: keys.SigningKey

    def prove(self, session_id: bytes) -> HostKeyMessage:
        """The successor, signed by both keys."""
        data = _signed_data(session_id, self.present.blob, self.successor.blob)
        return HostKeyMessage(self.successor.blob, self.present.sign(data), self.successor.sign(data))


def check_successor(message: HostKeyMessage, session_id: bytes, present: bytes, hint: str) -> bytes:
    """The blob of the next host key; AuthenticationError if it is not acceptable or not proved."""
    successor = message.host_key
    try:
        keys.check_blob(successor)
    except ValueError:
        raise AuthenticationError(Category.HOST_KEY) from None
    if successor == present or hint_of(successor) != hint:
        raise AuthenticationError(Category.HOST_KEY)
    data = _signed_data(session_id, present, successor)
    signed = (present, message.present_signature), (successor, message.successor_signature)
    if not all(keys.verify(blob, signature, data) for blob, signature in signed):
        raise AuthenticationError(Category.PROOF)
    return successor

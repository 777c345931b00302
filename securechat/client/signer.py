"""A user's key, as the handshake needs it."""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from securechat.ssh import keys


@dataclass(frozen=True, slots=True)
class Signer:
    """A user's key: the public key blob, and a function that signs data (64 bytes)."""

    blob: bytes
    sign: Callable[[bytes], bytes | Deferred[bytes]]

    @property
    def fingerprint(self) -> str:
        return keys.fingerprint(self.blob)

"""A user's key or certificate, as the handshake needs it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from twisted.internet.defer import Deferred

from securechat.errors import AuthenticationError
from securechat.ssh import keys
from securechat.ssh.certificates import is_certificate, key_of


class NoSignatureError(AuthenticationError):
    """The key cannot sign at present, because its agent has ended; the message says so."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A user's key: the blob of the public key or of a certificate, and a function that signs data (64 bytes)."""

    blob: bytes
    sign: Callable[[bytes], bytes | Deferred[bytes]]
    read_again: Callable[[], list[bytes]] | None = None  # reads the certificate in its file, if it can be used

    def renewed(self) -> "Signer":
        """The signer for another connection, with the certificate in its file now: it may be valid for a day only."""
        found = self.read_again() if self.read_again is not None else []
        return replace(self, blob=found[0]) if found else self

    @property
    def fingerprint(self) -> str:
        return keys.fingerprint(key_of(self.blob))

    @property
    def is_certificate(self) -> bool:
        return is_certificate(self.blob)

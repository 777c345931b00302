"""Names by which robots tell users apart."""

import hmac
import os
from hashlib import sha256
from typing import NamedTuple

from securechat.ssh import keys

SIZE = 16  # bytes


class Pseudonym(NamedTuple):
    """What robots are told of a user; both are 32 hexadecimal digits."""

    user_id: str
    queue_key: str  # users with the same one share a place in queues


class Pseudonyms:
    """Stable for a key and a server, and meaningless to others.

    The secret is derived from the host key (Ed25519 signatures are deterministic, and nothing else is signed in this
    namespace), so that there is no further file to lose.
    """

    NAMESPACE = b"securechat-v1-pseudonym"

    def __init__(self, host_key: keys.SigningKey) -> None:
        self._secret = sha256(host_key.sign(keys.signed_data(self.NAMESPACE, b""))).digest()

    def of(self, identity: bytes, lane: str) -> Pseudonym:
        """The pseudonym of a user, whose key or other identity is empty if anonymous; then it is a new one each time.

        `lane` is the queue's lane of the user's source. It is empty for authorized users, who have their own.
        """
        user_id = self._digest(identity) if identity else os.urandom(SIZE).hex()
        return Pseudonym(user_id, self._digest(lane.encode()) if lane else user_id)

    def _digest(self, name: bytes) -> str:
        return hmac.digest(self._secret, name, "sha256")[:SIZE].hex()

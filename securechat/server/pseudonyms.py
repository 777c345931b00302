"""Names by which robots tell users apart."""

import hmac
from hashlib import sha256

from securechat.ssh import keys


class Pseudonyms:
    """Stable for a key and a server, and nothing that says whose they are.

    The secret behind them comes from the host key (Ed25519 signatures are deterministic, and nobody else is given
    one in this namespace), so that there is no further file to lose.
    """

    NAMESPACE = b"securechat-v1-pseudonym"

    def __init__(self, host_key: keys.SigningKey) -> None:
        self._secret = sha256(host_key.sign(keys.signed_data(self.NAMESPACE, b""))).digest()

    def of(self, blob: bytes) -> str:
        """32 hexadecimal digits."""
        return hmac.digest(self._secret, blob, "sha256").hex()[:32]

"""Names by which robots tell users apart."""

import hmac
from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from securechat.server.pseudonyms import Pseudonyms
from securechat.ssh import keys
from tests.harness.pair import HOST_KEY, USER_KEY


class PseudonymTests(SynchronousTestCase):
    """Pseudonyms of a server with a host key."""

    def setUp(self) -> None:
        self.pseudonyms = Pseudonyms(HOST_KEY)

    def test_stable(self) -> None:
        """A user with a key has the same name after a restart, and another one at another server."""
        name = self.pseudonyms.of(USER_KEY.blob, "").user_id
        self.assertEqual(Pseudonyms(HOST_KEY).of(USER_KEY.blob, "").user_id, name)
        self.assertNotEqual(Pseudonyms(keys.SigningKey.generate()).of(USER_KEY.blob, "").user_id, name)

    def test_lanes(self) -> None:
        """So has a lane of the queue; without one, it is the user's own."""
        ann, bob = (self.pseudonyms.of(b"", "192.0.2.1") for _ in range(2))
        self.assertNotEqual(ann.user_id, bob.user_id)
        self.assertEqual(ann.queue_key, bob.queue_key)
        other = Pseudonyms(keys.SigningKey.generate()).of(b"", "192.0.2.1")
        self.assertNotEqual(other.queue_key, ann.queue_key)
        alone = self.pseudonyms.of(USER_KEY.blob, "")
        self.assertEqual(alone.queue_key, alone.user_id)

    def test_secret(self) -> None:
        """A name is an HMAC under a secret that only the host key yields: robots could guess at a plain hash."""
        secret = sha256(HOST_KEY.sign(keys.signed_data(b"securechat-v1-pseudonym", b""))).digest()
        expected = hmac.new(secret, USER_KEY.blob, "sha256").hexdigest()[:32]
        self.assertEqual(self.pseudonyms.of(USER_KEY.blob, "").user_id, expected)

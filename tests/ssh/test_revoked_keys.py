"""Lists of revoked keys."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.ssh import keys
from securechat.ssh.revoked_keys import RevokedKeys
from tests.harness.pair import USER_KEY

PATH = Path("/revoked")
OTHER = keys.SigningKey.generate()


class RevokedKeysTests(SynchronousTestCase):
    """What is in a list."""

    def test_contains(self) -> None:
        """A key is revoked by itself or by its fingerprint; a comment may follow."""
        fingerprint = keys.fingerprint(USER_KEY.blob)
        for line in (
            keys.public_line(USER_KEY.blob),
            keys.public_line(USER_KEY.blob, "x y"),
            fingerprint,
            f"{fingerprint} x",
        ):
            revoked = RevokedKeys.parse(f"# left\n\n{line}\r\n".encode(), PATH)
            self.assertIn(USER_KEY.blob, revoked)
            self.assertNotIn(OTHER.blob, revoked)

    def test_invalid(self) -> None:
        """Any other line is an error, because the key that it means would not be refused."""
        fingerprint = keys.fingerprint(USER_KEY.blob)
        for line in (
            *(
                "nonsense",
                "SHA256:",
                "MD5:00:11",
                fingerprint[:-1],
                f"{fingerprint}=",
                f"{fingerprint[:-1]}B",
                f"{fingerprint}x",
            ),
            *(
                "ssh-rsa AAAA",
                f'from="::1" {keys.public_line(USER_KEY.blob)}',
                fingerprint.lower(),
                f"\u00a0x{fingerprint}",
            ),
        ):
            error = self.assertRaises(ConfigurationError, RevokedKeys.parse, f"#\n{line}".encode(), PATH)
            self.assertEqual(str(error), "/revoked:2: expected an ssh-ed25519 public key or a SHA256 fingerprint")

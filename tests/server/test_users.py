"""Who may talk, and a file of keys that changes while the daemon runs."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.server.users import Anyone, AuthorizedUsers
from securechat.ssh import keys
from securechat.wire.messages import ClientAuth
from tests.harness.pair import USER_KEY

STRANGER = keys.SigningKey.generate()


class AnyoneTests(SynchronousTestCase):
    """Without a file."""

    def test_anyone(self) -> None:
        """Anyone may talk; a key is taken, and its fingerprint is its user's name."""
        users = Anyone()
        self.assertIs(users.client_auth, ClientAuth.OPTIONAL)
        self.assertTrue(users.is_authorized(USER_KEY.blob))
        self.assertEqual(users.name_of(USER_KEY.blob), keys.fingerprint(USER_KEY.blob))


class AuthorizedUsersTests(SynchronousTestCase):
    """With a file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.changes = 0
        self.write(keys.public_line(USER_KEY.blob, "alice"))
        self.users = AuthorizedUsers(self.path)

    def write(self, text: str) -> None:
        """Replace the file; its time is made to differ, whatever the clock's grain."""
        self.path.write_text(text + "\n")
        self.path.chmod(0o600)
        self.changes += 1
        os.utime(self.path, (self.changes, self.changes))

    def test_onlyThose(self) -> None:
        """Only the keys of the file may talk, and the comment is the user's name."""
        self.assertIs(self.users.client_auth, ClientAuth.REQUIRED)
        self.assertTrue(self.users.is_authorized(USER_KEY.blob))
        self.assertEqual(self.users.name_of(USER_KEY.blob), "alice")
        self.assertFalse(self.users.is_authorized(STRANGER.blob))
        self.assertEqual(self.users.name_of(STRANGER.blob), keys.fingerprint(STRANGER.blob))

    def test_changes(self) -> None:
        """Who is removed is out, and who is added is in, from the next handshake on."""
        self.write(keys.public_line(STRANGER.blob, "bob"))
        self.assertTrue(self.users.is_authorized(STRANGER.blob))
        self.assertFalse(self.users.is_authorized(USER_KEY.blob))

    def test_badChange(self) -> None:
        """A file that is wrong, or gone, leaves the keys as they were."""
        self.write("ssh-ed25519 nonsense")
        self.assertTrue(self.users.is_authorized(USER_KEY.blob))
        self.path.unlink()
        self.assertTrue(self.users.is_authorized(USER_KEY.blob))

    def test_badStart(self) -> None:
        """A file that is wrong from the start is refused, with its line."""
        self.write("# team\nssh-ed25519 nonsense")
        error = self.assertRaises(ConfigurationError, AuthorizedUsers, self.path)
        self.assertIn(f"{self.path}:2:", str(error))

"""Who may talk, in a file that is right or refused."""

from base64 import b64encode
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat import keys
from securechat.authorized_keys import AuthorizedKeys, _parse
from securechat.errors import ConfigurationError
from tests.pair import USER_KEY
from tests.ssh import make_key

OTHER = keys.SigningKey.generate()
LINE = keys.public_line(USER_KEY.blob, "alice")


class AuthorizedKeysTests(SynchronousTestCase):
    """A file of user keys."""

    def load(self, text: str, mode: int = 0o644) -> AuthorizedKeys:
        self.path = Path(self.mktemp())
        self.path.write_text(text)
        self.path.chmod(mode)
        return AuthorizedKeys.load(self.path)

    def assertRefused(self, words: str, text: str, mode: int = 0o644) -> None:
        error = self.assertRaises(ConfigurationError, self.load, text, mode)
        self.assertTrue(str(error).startswith(str(self.path)), error)
        self.assertIn(words, str(error))

    def test_names(self) -> None:
        """The comment is the user's name; without one it is the fingerprint."""
        found = self.load(f"# team\n\n{LINE} in Wonderland\r\n{keys.public_line(OTHER.blob)}")
        self.assertEqual(found.user_of(USER_KEY.blob), "alice in Wonderland")
        self.assertEqual(found.user_of(OTHER.blob), keys.fingerprint(OTHER.blob))
        self.assertIsNone(found.user_of(keys.SigningKey.generate().blob))

    def test_aRealKey(self) -> None:
        """A line that ssh-keygen wrote is taken."""
        path = make_key(Path(self.mktemp()), comment="bob@laptop")
        line = path.with_suffix(".pub").read_text()
        blob, _comment = keys.parse_public_line(line)
        self.assertEqual(self.load(line).user_of(blob), "bob@laptop")

    def test_badLines(self) -> None:
        """One bad line refuses the file, and is named with its number."""
        encoded = b64encode(OTHER.blob).decode()
        for words, bad in (
            ("options before the key", f'from="10.0.0.0/8" ssh-ed25519 {encoded} x'),
            ("", f"ssh-rsa {encoded} x"),
            ("", "ssh-ed25519 nonsense x"),
            ("", "nonsense"),
            ("already", LINE),
            ("more than 64 bytes", f"ssh-ed25519 {encoded} {'x' * 65}"),
            ("control characters", f"ssh-ed25519 {encoded} a\x1b[2J"),
        ):
            self.assertRefused(words, f"{LINE}\n{bad}\n")
            self.assertRefused(":2: ", f"{LINE}\n{bad}\n")

    def test_mode(self) -> None:
        """A file that others can change is refused."""
        self.assertRefused("chmod go-w", LINE, 0o664)

    @settings(max_examples=2000, deadline=None)
    @given(st.text(max_size=200) | st.text(max_size=90).map(lambda comment: f"{LINE}{comment}"))
    def test_anyLine(self, line: str) -> None:
        """Any line is a key with a printable name, or a ValueError."""
        try:
            blob, user = _parse(line)
        except ValueError:
            return
        keys.check_blob(blob)
        self.assertTrue(user.isprintable())
        self.assertLessEqual(len(user.encode()), 64)

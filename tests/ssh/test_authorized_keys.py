"""authorized_keys files."""

from base64 import b64encode
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.files import MAX_LIST_SIZE, OTHERS_WRITE, read_bytes
from securechat.ssh import keys
from securechat.ssh.authorized_keys import AuthorizedKeys, parse_line
from securechat.wire.messages import MAX_ABOUT
from tests.harness.pair import USER_KEY
from tests.harness.ssh import make_key

OTHER = keys.SigningKey.generate()
LINE = keys.public_line(USER_KEY.blob, "alice")
PIECES = [b"\n", b"\0", b"\xff", b"\r", b" ", b"\t", b"#", b"ssh-ed25519", LINE.encode()]


def load(path: Path) -> AuthorizedKeys:
    """Load a file as the server does."""
    data = read_bytes(path, OTHERS_WRITE, max_size=MAX_LIST_SIZE)
    return AuthorizedKeys.parse(data, path, max_name=MAX_ABOUT)


class AuthorizedKeysTests(SynchronousTestCase):
    """Loading a file."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def load(self, text: str, mode: int = 0o644) -> AuthorizedKeys:
        self.path = Path(self.mktemp())
        self.path.write_text(text)
        self.path.chmod(mode)
        return load(self.path)

    def assertRefused(self, words: str, text: str, mode: int = 0o644) -> None:
        error = self.assertRaises(ConfigurationError, self.load, text, mode)
        self.assertTrue(str(error).startswith(str(self.path)), error)
        self.assertIn(words, str(error))

    def test_names(self) -> None:
        """The comment is the user name, which defaults to the fingerprint."""
        found = self.load(f"# team\n\n{LINE} in Wonderland\r\n{keys.public_line(OTHER.blob)}")
        self.assertEqual(found.user_of(USER_KEY.blob), "alice in Wonderland")
        self.assertEqual(found.user_of(OTHER.blob), keys.fingerprint(OTHER.blob))
        self.assertIsNone(found.user_of(keys.SigningKey.generate().blob))

    def test_byteOrderMark(self) -> None:
        """A byte order mark at the beginning of the file is not part of its first line."""
        for text in (LINE, f"# team\r\n{LINE}\r\n"):
            self.assertEqual(self.load(f"\ufeff{text}").user_of(USER_KEY.blob), "alice")

    def test_aRealKey(self) -> None:
        """A public key file written by ssh-keygen is accepted."""
        path = make_key(Path(self.mktemp()), comment="bob@laptop")
        line = path.with_suffix(".pub").read_text()
        blob, _comment = keys.parse_public_line(line)
        self.assertEqual(self.load(line).user_of(blob), "bob@laptop")

    def test_options(self) -> None:
        """A key with options is authorized at addresses and at times that they allow; without options always."""
        line = keys.public_line(OTHER.blob, "bob, with a comment")
        found = self.load(f'{LINE}\nfrom="192.0.2.0/24",expiry-time="20300101Z" {line}\n')
        self.assertEqual(found.user_of(OTHER.blob), "bob, with a comment")
        for host, now, allowed in (
            ("192.0.2.1", 0, True),
            ("192.0.3.1", 0, False),
            ("", 0, False),
            ("192.0.2.1", 2e9, False),
        ):
            self.assertEqual(found.allow(OTHER.blob, host, now), allowed)
            self.assertTrue(found.allow(USER_KEY.blob, host, now))
        stranger = keys.SigningKey.generate().blob
        self.assertFalse(found.allow(stranger, "192.0.2.1", 0))
        self.assertIsNone(found.entry_of(stranger))
        entry = found.entry_of(OTHER.blob)
        assert entry is not None
        self.assertEqual(entry.user, "bob, with a comment")

    def test_badLines(self) -> None:
        """An invalid line is an error with its line number."""
        encoded = b64encode(OTHER.blob).decode()
        for words, bad in (
            ("key option cert-authority: not supported", f"cert-authority ssh-ed25519 {encoded} x"),
            ("key option no-pty: not supported", f'from="::1",no-pty ssh-ed25519 {encoded} x'),
            ("key option from: expected addresses", f'from="*.example.org" ssh-ed25519 {encoded} x'),
            ("not valid key options", f'from="10.0.0.0/8 ssh-ed25519 {encoded} x'),
            ("not a valid ssh-ed25519 public key", f'from="10.0.0.0/8" x ssh-ed25519 {encoded}'),
            ("", f"ssh-rsa {encoded} x"),
            ("", "ssh-ed25519 nonsense x"),
            ("", "nonsense"),
            ("duplicate", LINE),
            ("longer than 64 bytes", f"ssh-ed25519 {encoded} {'x' * 65}"),
            ("the comment) contains U+001B", f"ssh-ed25519 {encoded} a\x1b[2J"),
            ("the comment) contains U+00A0", f"ssh-ed25519 {encoded} a\u00a0b"),
            ("unexpected character U+00A0", f"ssh-ed25519\u00a0{encoded} x"),
            ("unexpected character U+3000", f"ssh-ed25519 {encoded}\u3000x"),
            ("unexpected character U+FEFF", f"\ufeffssh-ed25519 {encoded} x"),
            ("line break", f"# team\rssh-ed25519 {encoded} x"),
        ):
            self.assertRefused(words, f"{LINE}\n{bad}\n")
            self.assertRefused(":2: ", f"{LINE}\n{bad}\n")

    def test_unreadable(self) -> None:
        """A file that is missing, not a regular file, too large or not UTF-8 is an error."""
        for path, words in (
            (self.directory / "none", "No such file"),
            (self.directory, "Is a directory"),
            (Path("/dev/zero"), "not a regular file"),
        ):
            self.assertIn(words, str(self.assertRaises(ConfigurationError, load, path)))
        self.assertRefused("larger than", "#" * (MAX_LIST_SIZE + 1))
        self.assertRefused(":2: not valid UTF-8", f"{LINE}\n{LINE}\0")

    def test_tabs(self) -> None:
        """Fields may be separated by tabs."""
        self.assertEqual(self.load(LINE.replace(" ", "\t")).user_of(USER_KEY.blob), "alice")

    def test_mode(self) -> None:
        """A file that is writable by others is rejected."""
        self.assertRefused("chmod go-w", LINE, 0o664)

    @given(st.text(max_size=200) | st.text(max_size=90).map(lambda comment: f"{LINE}{comment}"))
    def test_anyLine(self, line: str) -> None:
        """Any line is a key with a printable user name, or a ValueError."""
        try:
            blob, (user, _options) = parse_line(line, MAX_ABOUT)
        except ValueError:
            return
        keys.check_blob(blob)
        self.assertTrue(user.isprintable())
        self.assertLessEqual(len(user.encode()), 64)

    @given(st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=9).map(b"".join))
    def test_anyBytes(self, data: bytes) -> None:
        """Any content is valid or a ConfigurationError with a message of one line."""
        path = self.directory / "file"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        path.chmod(0o600)
        try:
            load(path)
        except ConfigurationError as error:
            self.assertNotIn("\n", str(error))

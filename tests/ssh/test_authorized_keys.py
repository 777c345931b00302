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
from securechat.ssh.certificates import Certificate
from securechat.wire.messages import MAX_ABOUT
from tests.harness.certificates import CA, certificate, source_address
from tests.harness.pair import USER_KEY
from tests.harness.ssh import make_key

OTHER = keys.SigningKey.generate()
LINE = keys.public_line(USER_KEY.blob, "alice")
PIECES = [b"\n", b"\0", b"\xff", b"\r", b" ", b"\t", b"#", b"ssh-ed25519", LINE.encode()]


def load(path: Path) -> AuthorizedKeys:
    """Load a file as the server does."""
    data = read_bytes(path, OTHERS_WRITE, max_size=MAX_LIST_SIZE)
    return AuthorizedKeys.parse(data, path, max_name=MAX_ABOUT)


def user_of(found: AuthorizedKeys, blob: bytes, shown: Certificate | None = None) -> str | None:
    """The name of the user with a key and perhaps a certificate for it, if there is an entry for them."""
    entry = found.entry_of(blob, shown)
    return None if entry is None else entry.user


def allows(found: AuthorizedKeys, blob: bytes, host: str, now: float, shown: Certificate | None = None) -> bool:
    """Whether the user is authorized at this address and time."""
    entry = found.entry_of(blob, shown)
    return entry is not None and entry.allow(host, now)


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
        self.assertEqual(user_of(found, USER_KEY.blob), "alice in Wonderland")
        self.assertEqual(user_of(found, OTHER.blob), keys.fingerprint(OTHER.blob))
        self.assertIsNone(user_of(found, keys.SigningKey.generate().blob))

    def test_byteOrderMark(self) -> None:
        """A byte order mark at the beginning of the file is not part of its first line."""
        for text in (LINE, f"# team\r\n{LINE}\r\n"):
            self.assertEqual(user_of(self.load(f"\ufeff{text}"), USER_KEY.blob), "alice")

    def test_aRealKey(self) -> None:
        """A public key file written by ssh-keygen is accepted."""
        path = make_key(Path(self.mktemp()), comment="bob@laptop")
        line = path.with_suffix(".pub").read_text()
        blob, _comment = keys.parse_public_line(line)
        self.assertEqual(user_of(self.load(line), blob), "bob@laptop")

    def test_options(self) -> None:
        """A key with options is authorized at addresses and at times that they allow; without options always."""
        line = keys.public_line(OTHER.blob, "bob, with a comment")
        found = self.load(f'{LINE}\nfrom="192.0.2.0/24",expiry-time="20300101Z" {line}\n')
        self.assertEqual(user_of(found, OTHER.blob), "bob, with a comment")
        for host, now, allowed in (
            ("192.0.2.1", 0, True),
            ("192.0.3.1", 0, False),
            ("", 0, False),
            ("192.0.2.1", 2e9, False),
        ):
            self.assertEqual(allows(found, OTHER.blob, host, now), allowed)
            self.assertTrue(allows(found, USER_KEY.blob, host, now))
        stranger = keys.SigningKey.generate().blob
        self.assertFalse(allows(found, stranger, "192.0.2.1", 0))
        self.assertIsNone(found.entry_of(stranger))
        entry = found.entry_of(OTHER.blob)
        assert entry is not None
        self.assertEqual(entry.user, "bob, with a comment")

    def test_authorityOfOneUser(self) -> None:
        """Without principals, an authority issues certificates for the user that the comment names."""
        found = self.load(f"cert-authority {keys.public_line(CA.blob, 'alice')}\n")
        self.assertTrue(found.has_authorities)
        self.assertFalse(self.load(LINE).has_authorities)
        good = certificate(USER_KEY, b"bob", b"alice")
        self.assertEqual(user_of(found, USER_KEY.blob, good), "alice")
        self.assertTrue(allows(found, USER_KEY.blob, "", 0, good))
        for other in (certificate(USER_KEY, b"bob"), certificate(USER_KEY, b"alice", ca=OTHER)):
            self.assertIsNone(user_of(found, USER_KEY.blob, other))
            self.assertFalse(allows(found, USER_KEY.blob, "", 0, other))

    def test_authorityOfATeam(self) -> None:
        """With principals, the key ID is the user's name, or the fingerprint if it cannot be one."""
        found = self.load(f'cert-authority,principals="chat,ops" {keys.public_line(CA.blob, "team")}\n')
        fingerprint = keys.fingerprint(USER_KEY.blob)
        for key_id, user in (
            ("Alice on laptop", "Alice on laptop"),
            ("x" * 64, "x" * 64),
            ("x" * 65, fingerprint),
            ("", fingerprint),
            (" ", fingerprint),
            ("a\nb", fingerprint),
        ):
            self.assertEqual(user_of(found, USER_KEY.blob, certificate(USER_KEY, b"ops", key_id=key_id.encode())), user)
        self.assertEqual(user_of(found, USER_KEY.blob, certificate(USER_KEY, b"ops", key_id=b"\xff")), fingerprint)
        self.assertIsNone(user_of(found, USER_KEY.blob, certificate(USER_KEY, b"team")))

    def test_severalLines(self) -> None:
        """The first line of an authority that accepts a principal counts, and the key's own line otherwise."""
        ca = keys.public_line(CA.blob, "alice")
        found = self.load(
            f'cert-authority,principals="ops",from="192.0.2.0/24" {ca}\ncert-authority {ca}\n{LINE} by key\n'
        )
        ops, both = certificate(USER_KEY, b"ops"), certificate(USER_KEY, b"alice", b"ops")
        for shown in (ops, both):
            self.assertEqual(user_of(found, USER_KEY.blob, shown), "alice@laptop")
            self.assertEqual(
                [allows(found, USER_KEY.blob, host, 0, shown) for host in ("192.0.2.1", "::1")], [True, False]
            )
        alice = certificate(USER_KEY, b"alice")
        self.assertEqual(user_of(found, USER_KEY.blob, alice), "alice")
        self.assertTrue(allows(found, USER_KEY.blob, "::1", 0, alice))
        self.assertEqual(user_of(found, USER_KEY.blob, certificate(USER_KEY, b"bob")), "alice by key")
        self.assertEqual(user_of(found, USER_KEY.blob), "alice by key")
        self.assertEqual(found.names, {USER_KEY.blob: "alice by key"})

    def test_conditions(self) -> None:
        """Both the line and the certificate have to allow the address and the time."""
        line = keys.public_line(CA.blob, "alice")
        found = self.load(f'cert-authority,from="10.0.0.0/8",expiry-time="20300101Z" {line}\n')
        options = source_address(b"10.1.0.0/16")
        shown = certificate(USER_KEY, b"alice", options=options, valid_after=100, valid_before=2_000_000_000)
        for host, now, allowed in (
            ("10.1.0.1", 100, True),
            ("10.2.0.1", 100, False),
            ("", 100, False),
            ("10.1.0.1", 99, False),
            ("10.1.0.1", 1.9e9, False),
        ):
            self.assertIs(allows(found, USER_KEY.blob, host, now, shown), allowed)
        entry = found.entry_of(USER_KEY.blob, shown)
        assert entry is not None
        self.assertIs(entry.certificate, shown)

    def test_authorityItself(self) -> None:
        """The key of an authority is not the key of a user, unless another line says so."""
        authority = f"cert-authority {keys.public_line(CA.blob, 'alice')}\n"
        self.assertIsNone(user_of(self.load(authority), CA.blob))
        self.assertEqual(user_of(self.load(f"{authority}{keys.public_line(CA.blob, 'root')}"), CA.blob), "root")

    def test_badLines(self) -> None:
        """An invalid line is an error with its line number."""
        encoded = b64encode(OTHER.blob).decode()
        for words, bad in (
            ("an authority requires a user name", f"cert-authority ssh-ed25519 {encoded}"),
            ("must be an Ed25519 key", f"cert-authority ssh-rsa {encoded} x"),
            ("must be an Ed25519 key", f'cert-authority,from="::1" ecdsa-sha2-nistp256 {encoded} x'),
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
        self.assertEqual(user_of(self.load(LINE.replace(" ", "\t")), USER_KEY.blob), "alice")

    def test_mode(self) -> None:
        """A file that is writable by others is rejected."""
        self.assertRefused("chmod go-w", LINE, 0o664)

    @given(st.text(max_size=200) | st.text(max_size=90).map(lambda comment: f"{LINE}{comment}"))
    def test_anyLine(self, line: str) -> None:
        """Any line is a key with a printable user name, or a ValueError."""
        try:
            blob, entry = parse_line(line, MAX_ABOUT)
        except ValueError:
            return
        keys.check_blob(blob)
        self.assertTrue(entry.user.isprintable())
        self.assertLessEqual(len(entry.user.encode()), 64)

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

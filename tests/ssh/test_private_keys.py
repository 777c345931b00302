"""Private key files, made by the real ssh-keygen."""

import os
import resource
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.ssh import keys
from securechat.ssh.private_keys import load_or_create_host_key, load_private_key, load_successor

PASSPHRASE = b"correct horse"
PRIVATE = keys.SigningKey.generate().private_bytes()


def ssh_keygen(*arguments: str) -> str:
    """The output of ssh-keygen."""
    try:
        return subprocess.run(["ssh-keygen", *arguments], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise SkipTest("ssh-keygen is not installed") from None


class KeyFileTests(SynchronousTestCase):
    """A directory for key files."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "key"

    def make(self, *options: str, passphrase: bytes = b"", key_type: str = "ed25519") -> None:
        """Create a key with ssh-keygen at `self.path`."""
        ssh_keygen("-q", "-t", key_type, "-N", passphrase.decode(), "-f", str(self.path), *options)

    def write(self, data: bytes) -> None:
        self.path.write_bytes(data)
        self.path.chmod(0o600)

    def not_asked(self) -> bytes:
        self.fail("asked for a passphrase")

    def public_blob(self) -> bytes:
        """The public key next to the private key."""
        return keys.parse_public_line(Path(f"{self.path}.pub").read_text())[0]

    def assertRefused(self, problem: str, call: Callable[[], object]) -> None:
        """The call raises a ConfigurationError whose message is one line with the path and `problem`."""
        message = str(self.assertRaises(ConfigurationError, call))
        self.assertTrue(message.startswith(f"{self.path}: "), message)
        self.assertIn(problem, message)
        self.assertNotIn("\n", message)


class LoadPrivateKeyTests(KeyFileTests):
    """A user's key."""

    def test_sshKeygen(self) -> None:
        """A key created by ssh-keygen makes signatures that its public key verifies."""
        self.make()
        key = load_private_key(self.path)
        self.assertEqual(key.blob, self.public_blob())
        self.assertTrue(keys.verify(self.public_blob(), key.sign(b"data"), b"data"))

    def test_noPassphraseAsked(self) -> None:
        """No passphrase is requested for an unencrypted key."""
        self.make()
        asked: list[bytes] = []
        load_private_key(self.path, lambda: asked.append(b"") or b"")  # type: ignore[func-returns-value]
        self.assertEqual(asked, [])

    def test_passphrase(self) -> None:
        """An encrypted key is decrypted with its passphrase, with OpenSSH's default cipher and others."""
        for cipher in ("aes256-ctr", "aes256-cbc", "aes256-gcm@openssh.com"):
            self.path = self.directory / cipher
            self.make("-a", "1", "-Z", cipher, passphrase=PASSPHRASE)
            self.assertEqual(load_private_key(self.path, lambda: PASSPHRASE).blob, self.public_blob())

    def test_wrongPassphrase(self) -> None:
        """A wrong or empty passphrase is an error, and the message does not contain it."""
        for cipher in ("aes256-ctr", "aes256-gcm@openssh.com"):
            self.path = self.directory / cipher
            self.make("-a", "1", "-Z", cipher, passphrase=PASSPHRASE)
            for typed in (b"battery", b""):
                self.assertRefused(
                    "incorrect passphrase",
                    lambda typed=typed: load_private_key(self.path, lambda: typed),  # type: ignore[misc]
                )
        message = str(self.assertRaises(ConfigurationError, load_private_key, self.path, lambda: b"battery"))
        self.assertNotIn("battery", message)

    def test_noPassphraseCallback(self) -> None:
        """An encrypted key is an error if no passphrase can be requested."""
        self.make("-a", "1", passphrase=PASSPHRASE)
        self.assertRefused("passphrase", lambda: load_private_key(self.path))

    def test_unsupportedCipher(self) -> None:
        """An unsupported cipher is an error that says how to change it; no passphrase is asked for."""
        self.make("-a", "1", "-Z", "chacha20-poly1305@openssh.com", passphrase=PASSPHRASE)
        self.assertRefused(
            f"ssh-keygen -p -Z aes256-ctr -f {self.path}", lambda: load_private_key(self.path, self.not_asked)
        )
        same = ("-P", PASSPHRASE.decode(), "-N", PASSPHRASE.decode())
        ssh_keygen("-p", "-a", "1", *same, "-Z", "aes256-ctr", "-f", str(self.path))
        self.assertEqual(load_private_key(self.path, lambda: PASSPHRASE).blob, self.public_blob())

    def test_otherKeyTypes(self) -> None:
        """Keys of other types are rejected, and the message says how to create an Ed25519 key."""
        for key_type in ("rsa", "ecdsa"):
            self.path = self.directory / key_type
            self.make(key_type=key_type)
            self.assertRefused("ssh-keygen -t ed25519", lambda: load_private_key(self.path))

    def test_encryptedKeyOfOtherType(self) -> None:
        """No passphrase is asked for an encrypted key of another type, whose passphrase would not help."""
        for key_type in ("rsa", "ecdsa"):
            self.path = self.directory / key_type
            self.make("-a", "1", key_type=key_type, passphrase=PASSPHRASE)
            self.assertRefused("only Ed25519 keys", lambda: load_private_key(self.path, self.not_asked))

    def test_publicKey(self) -> None:
        """A public key is called one, and its permissions are not blamed: others may read it."""
        for key_type in ("ed25519", "rsa", "ecdsa"):
            self.path = self.directory / key_type
            self.make(key_type=key_type)
            self.path = Path(f"{self.path}.pub")
            self.path.chmod(0o644)
            self.assertRefused("this is a public key", lambda: load_private_key(self.path))

    def test_passphraseFails(self) -> None:
        """An error raised by the passphrase callback is not reported as a wrong passphrase."""
        self.make("-a", "1", passphrase=PASSPHRASE)

        def ask() -> bytes:
            raise ValueError("no terminal")

        self.assertRaises(ValueError, load_private_key, self.path, ask)

    def test_otherFormats(self) -> None:
        """An empty file, binary data and a PKCS #8 key are rejected."""
        pem = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n"
        for data in (b"", b"\0\xff" * 99, pem):
            self.write(data)
            self.assertRefused("OpenSSH format", lambda: load_private_key(self.path))

    def test_damage(self) -> None:
        """A truncated file, or one with a byte changed, is rejected or still loads; nothing else is raised."""
        self.make()
        begin, *body, end = self.path.read_bytes().splitlines()
        whole = b64decode(b"".join(body))
        damaged = [whole[:size] for size in range(len(whole))]
        damaged += [whole[:at] + bytes([whole[at] ^ 0x81]) + whole[at + 1 :] for at in range(len(whole))]
        refused = 0
        for data in damaged:
            self.write(b"\n".join([begin, b64encode(data), end, b""]))
            try:
                load_private_key(self.path)
            except ConfigurationError:
                refused += 1
        self.assertGreater(refused, len(whole))

    @given(
        st.binary(max_size=200)
        | st.binary(max_size=200).map(lambda body: PRIVATE[:36] + b64encode(b"openssh-key-v1\0" + body) + PRIVATE[-36:])
        | st.tuples(st.integers(0, len(PRIVATE)), st.integers(0, 9), st.binary(max_size=9)).map(
            lambda change: PRIVATE[: change[0]] + change[2] + PRIVATE[change[0] + change[1] :]
        )
    )
    def test_anyBytes(self, data: bytes) -> None:
        """Any content is a private key or a ConfigurationError with a message of one line."""
        self.path.unlink(missing_ok=True)
        self.write(data)
        try:
            load_private_key(self.path)
        except ConfigurationError as error:
            self.assertNotIn("\n", str(error))

    def test_mode(self) -> None:
        """A key file with any permission for group or others is rejected."""
        self.make()
        for bit in (0o040, 0o020, 0o010, 0o004, 0o002, 0o001):
            self.path.chmod(0o600 | bit)
            self.assertRefused(f"chmod 600 {self.path}", lambda: load_private_key(self.path))

    def test_missing(self) -> None:
        """A missing file is an error with its path."""
        self.assertRefused("No such file", lambda: load_private_key(self.path))

    def test_directory(self) -> None:
        """A directory is rejected as a key file."""
        self.path.mkdir()
        self.assertRefused("Is a directory", lambda: load_private_key(self.path))


class HostKeyTests(KeyFileTests):
    """The server's host key."""

    def test_firstStart(self) -> None:
        """The first start creates a key with mode 0600 in a directory with mode 0700, and the public key next to it."""
        self.addCleanup(os.umask, os.umask(0))
        self.path = self.directory / "state" / "key"
        key = load_or_create_host_key(self.path)
        self.assertEqual(self.path.parent.stat().st_mode & 0o777, 0o700)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(Path(f"{self.path}.pub").stat().st_mode & 0o777, 0o644)
        self.assertEqual(sorted(os.listdir(self.path.parent)), ["key", "key.pub"])
        self.assertEqual(self.public_blob(), key.blob)

    def test_sshKeygenReadsIt(self) -> None:
        """ssh-keygen reads the same public key and fingerprint from the new file."""
        key = load_or_create_host_key(self.path)
        self.assertEqual(keys.parse_public_line(ssh_keygen("-y", "-f", str(self.path)))[0], key.blob)
        self.assertIn(keys.fingerprint(key.blob), ssh_keygen("-l", "-f", f"{self.path}.pub"))

    def test_oldPublicKey(self) -> None:
        """An old .pub file without its private key is replaced, because operators distribute that file."""
        public = Path(f"{self.path}.pub")
        public.write_text(keys.public_line(keys.SigningKey.generate().blob))
        key = load_or_create_host_key(self.path)
        self.assertEqual(self.public_blob(), key.blob)

    def test_successor(self) -> None:
        """The next host key is loaded, not created, and must be another than the present one."""
        present, successor = load_or_create_host_key(self.path), keys.SigningKey.generate()
        self.assertRefused("this is the present host key", lambda: load_successor(self.path, present))
        self.path.unlink()
        self.assertRefused("No such file", lambda: load_successor(self.path, present))
        self.write(successor.private_bytes())
        self.assertEqual(load_successor(self.path, present).blob, successor.blob)

    def test_nameTooLong(self) -> None:
        """A file name that is too long is an error with the path."""
        self.path = self.directory / ("x" * 300)
        self.assertRefused("File name too long", lambda: load_or_create_host_key(self.path))

    def test_anotherDaemonWasFaster(self) -> None:
        """If two daemons start at the same time, the second uses the key of the first."""
        first, second = keys.SigningKey.generate(), keys.SigningKey.generate()

        def generate() -> keys.SigningKey:
            self.write(first.private_bytes())
            return second

        self.patch(keys.SigningKey, "generate", generate)
        key = load_or_create_host_key(self.path)
        self.assertEqual(key.blob, first.blob)

    def test_laterStart(self) -> None:
        """A later start loads the same key and does not write the file."""
        first = load_or_create_host_key(self.path)
        before = self.path.stat()
        second = load_or_create_host_key(self.path)
        self.assertEqual(second.blob, first.blob)
        self.assertEqual((self.path.stat().st_ino, self.path.stat().st_mtime_ns), (before.st_ino, before.st_mtime_ns))

    def test_operatorsKey(self) -> None:
        """A key that the operator created with ssh-keygen is used."""
        self.make()
        key = load_or_create_host_key(self.path)
        self.assertEqual(key.blob, self.public_blob())

    def test_danglingLink(self) -> None:
        """A dangling symbolic link is an error: a new key would change the server's identity."""
        self.path.symlink_to("nowhere")
        self.assertRefused("No such file", lambda: load_or_create_host_key(self.path))
        self.assertEqual(os.listdir(self.directory), ["key"])

    def test_notAKey(self) -> None:
        """A file that is not an Ed25519 private key is rejected and left unchanged."""
        self.write(b"precious")
        self.assertRefused("OpenSSH format", lambda: load_or_create_host_key(self.path))
        self.assertEqual(self.path.read_bytes(), b"precious")

    def test_mode(self) -> None:
        """A host key file that is readable by others is rejected; its mode is not changed."""
        load_or_create_host_key(self.path)
        self.path.chmod(0o644)
        self.assertRefused(f"chmod 600 {self.path}", lambda: load_or_create_host_key(self.path))

    def test_passphrase(self) -> None:
        """A host key with a passphrase is rejected."""
        self.make("-a", "1", passphrase=PASSPHRASE)
        self.assertRefused("passphrase", lambda: load_or_create_host_key(self.path))

    def test_directory(self) -> None:
        """A directory is rejected as a host key file."""
        self.path.mkdir()
        self.assertRefused("Is a directory", lambda: load_or_create_host_key(self.path))

    def test_diskFull(self) -> None:
        """If the disk is full, no partial or temporary file is left."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, before)
        self.assertRefused("File too large", lambda: load_or_create_host_key(self.path))
        self.assertEqual(os.listdir(self.directory), [])

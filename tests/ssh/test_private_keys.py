"""Private keys on a real disk, made by the real ssh-keygen."""

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
from securechat.ssh.private_keys import load_or_create_host_key, load_private_key

PASSPHRASE = b"correct horse"
PRIVATE = keys.SigningKey.generate().private_bytes()


def ssh_keygen(*arguments: str) -> str:
    """What ssh-keygen prints."""
    try:
        return subprocess.run(["ssh-keygen", *arguments], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise SkipTest("there is no ssh-keygen here") from None


class KeyFileTests(SynchronousTestCase):
    """What every test here needs."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "key"

    def make(self, *options: str, passphrase: bytes = b"", key_type: str = "ed25519") -> None:
        """ssh-keygen's key at `self.path`."""
        ssh_keygen("-q", "-t", key_type, "-N", passphrase.decode(), "-f", str(self.path), *options)

    def write(self, data: bytes) -> None:
        self.path.write_bytes(data)
        self.path.chmod(0o600)

    def public_blob(self) -> bytes:
        """The public key that is beside the private one."""
        return keys.parse_public_line(Path(f"{self.path}.pub").read_text())[0]

    def assertRefused(self, problem: str, call: Callable[[], object]) -> None:
        """A ConfigurationError of one line that names the file, and has `problem` in it."""
        message = str(self.assertRaises(ConfigurationError, call))
        self.assertTrue(message.startswith(f"{self.path}: "), message)
        self.assertIn(problem, message)
        self.assertNotIn("\n", message)


class LoadPrivateKeyTests(KeyFileTests):
    """A user's key."""

    def test_sshKeygen(self) -> None:
        """The key that ssh-keygen made signs for the public key that ssh-keygen wrote."""
        self.make()
        key = load_private_key(self.path)
        self.assertEqual(key.blob, self.public_blob())
        self.assertTrue(keys.verify(self.public_blob(), key.sign(b"data"), b"data"))

    def test_noPassphraseAsked(self) -> None:
        """Nobody is asked for the passphrase of a key that has none."""
        self.make()
        asked: list[bytes] = []
        load_private_key(self.path, lambda: asked.append(b"") or b"")  # type: ignore[func-returns-value]
        self.assertEqual(asked, [])

    def test_passphrase(self) -> None:
        """An encrypted key opens with its passphrase, in OpenSSH's default cipher and others."""
        for cipher in ("aes256-ctr", "aes256-cbc", "aes256-gcm@openssh.com"):
            self.path = self.directory / cipher
            self.make("-a", "1", "-Z", cipher, passphrase=PASSPHRASE)
            self.assertEqual(load_private_key(self.path, lambda: PASSPHRASE).blob, self.public_blob())

    def test_wrongPassphrase(self) -> None:
        """With another one, or none typed, it does not, and the message does not repeat what was typed."""
        for cipher in ("aes256-ctr", "aes256-gcm@openssh.com"):
            self.path = self.directory / cipher
            self.make("-a", "1", "-Z", cipher, passphrase=PASSPHRASE)
            for typed in (b"battery", b""):
                self.assertRefused(
                    "wrong passphrase",
                    lambda typed=typed: load_private_key(self.path, lambda: typed),  # type: ignore[misc]
                )
        message = str(self.assertRaises(ConfigurationError, load_private_key, self.path, lambda: b"battery"))
        self.assertNotIn("battery", message)

    def test_nobodyToAsk(self) -> None:
        """Where no passphrase can be asked for, an encrypted key is refused."""
        self.make("-a", "1", passphrase=PASSPHRASE)
        self.assertRefused("passphrase", lambda: load_private_key(self.path))

    def test_unsupportedCipher(self) -> None:
        """A cipher that we cannot open is refused, passphrase or not."""
        self.make("-a", "1", "-Z", "chacha20-poly1305@openssh.com", passphrase=PASSPHRASE)
        self.assertRefused("ssh-keygen -t ed25519", lambda: load_private_key(self.path, lambda: PASSPHRASE))

    def test_otherKeyTypes(self) -> None:
        """Keys of other types are refused, and the message says which one to make."""
        for key_type in ("rsa", "ecdsa"):
            self.path = self.directory / key_type
            self.make(key_type=key_type)
            self.assertRefused("ssh-keygen -t ed25519", lambda: load_private_key(self.path))

    def test_encryptedKeyOfOtherType(self) -> None:
        """An RSA key is not taken for a wrong passphrase."""
        self.make("-a", "1", key_type="rsa", passphrase=PASSPHRASE)
        self.assertRefused("ssh-keygen -t ed25519", lambda: load_private_key(self.path, lambda: PASSPHRASE))

    def test_passphraseFails(self) -> None:
        """What goes wrong while the user is asked is not taken for a wrong passphrase."""
        self.make("-a", "1", passphrase=PASSPHRASE)

        def ask() -> bytes:
            raise ValueError("no terminal")

        self.assertRaises(ValueError, load_private_key, self.path, ask)

    def test_otherFormats(self) -> None:
        """A public key, a key in PEM, no text at all: none is a private key in OpenSSH's format."""
        self.make()
        public = Path(f"{self.path}.pub").read_bytes()
        pem = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n"
        for data in (b"", b"\0\xff" * 99, public, pem):
            self.write(data)
            self.assertRefused("OpenSSH's format", lambda: load_private_key(self.path))

    def test_damage(self) -> None:
        """Cut short or with a byte changed, a file is refused or still a key; nothing else is raised."""
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
        """Any file is a private key or a ConfigurationError of one line."""
        self.path.unlink(missing_ok=True)
        self.write(data)
        try:
            load_private_key(self.path)
        except ConfigurationError as error:
            self.assertNotIn("\n", str(error))

    def test_mode(self) -> None:
        """A key that others may use is refused, whichever permission they have."""
        self.make()
        for bit in (0o040, 0o020, 0o010, 0o004, 0o002, 0o001):
            self.path.chmod(0o600 | bit)
            self.assertRefused(f"chmod 600 {self.path}", lambda: load_private_key(self.path))

    def test_missing(self) -> None:
        """A file that is not there is named."""
        self.assertRefused("No such file", lambda: load_private_key(self.path))

    def test_directory(self) -> None:
        """A directory is no key."""
        self.path.mkdir()
        self.assertRefused("Is a directory", lambda: load_private_key(self.path))


class HostKeyTests(KeyFileTests):
    """The server's key."""

    def test_firstStart(self) -> None:
        """A key is made, private, in a directory that is private, with the public key beside it."""
        self.addCleanup(os.umask, os.umask(0))
        self.path = self.directory / "state" / "key"
        key, created = load_or_create_host_key(self.path)
        self.assertTrue(created)
        self.assertEqual(self.path.parent.stat().st_mode & 0o777, 0o700)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(Path(f"{self.path}.pub").stat().st_mode & 0o777, 0o644)
        self.assertEqual(sorted(os.listdir(self.path.parent)), ["key", "key.pub"])
        self.assertEqual(self.public_blob(), key.blob)

    def test_sshKeygenReadsIt(self) -> None:
        """ssh-keygen finds the same public key in the file that we made, and the same fingerprint."""
        key, _created = load_or_create_host_key(self.path)
        self.assertEqual(keys.parse_public_line(ssh_keygen("-y", "-f", str(self.path)))[0], key.blob)
        self.assertIn(keys.fingerprint(key.blob), ssh_keygen("-l", "-f", f"{self.path}.pub"))

    def test_oldPublicKey(self) -> None:
        """A public key that a lost private key left behind is replaced: operators hand that file out."""
        public = Path(f"{self.path}.pub")
        public.write_text(keys.public_line(keys.SigningKey.generate().blob))
        key, created = load_or_create_host_key(self.path)
        self.assertTrue(created)
        self.assertEqual(self.public_blob(), key.blob)

    def test_unusableName(self) -> None:
        """A name that no file can have is an error that names it."""
        self.path = self.directory / ("x" * 300)
        self.assertRefused("File name too long", lambda: load_or_create_host_key(self.path))

    def test_anotherDaemonWasFaster(self) -> None:
        """Of two daemons that start at once, the second takes the first one's key."""
        first, second = keys.SigningKey.generate(), keys.SigningKey.generate()

        def generate() -> keys.SigningKey:
            self.write(first.private_bytes())
            return second

        self.patch(keys.SigningKey, "generate", generate)
        key, created = load_or_create_host_key(self.path)
        self.assertFalse(created)
        self.assertEqual(key.blob, first.blob)

    def test_laterStart(self) -> None:
        """The key stays the same, and its file is not written again."""
        first, _created = load_or_create_host_key(self.path)
        before = self.path.stat()
        second, created = load_or_create_host_key(self.path)
        self.assertFalse(created)
        self.assertEqual(second.blob, first.blob)
        self.assertEqual((self.path.stat().st_ino, self.path.stat().st_mtime_ns), (before.st_ino, before.st_mtime_ns))

    def test_operatorsKey(self) -> None:
        """A key that the operator made with ssh-keygen is taken."""
        self.make()
        key, created = load_or_create_host_key(self.path)
        self.assertFalse(created)
        self.assertEqual(key.blob, self.public_blob())

    def test_linkToNowhere(self) -> None:
        """A link whose target is gone is an error: a new key in its place would be a new identity."""
        self.path.symlink_to("nowhere")
        self.assertRefused("No such file", lambda: load_or_create_host_key(self.path))
        self.assertEqual(os.listdir(self.directory), ["key"])

    def test_notUsable(self) -> None:
        """What is there and is no private key of ours is refused and stays."""
        self.write(b"precious")
        self.assertRefused("OpenSSH's format", lambda: load_or_create_host_key(self.path))
        self.assertEqual(self.path.read_bytes(), b"precious")

    def test_mode(self) -> None:
        """A host key that others may read is refused, not quietly put right."""
        load_or_create_host_key(self.path)
        self.path.chmod(0o644)
        self.assertRefused(f"chmod 600 {self.path}", lambda: load_or_create_host_key(self.path))

    def test_passphrase(self) -> None:
        """A daemon has nobody to ask."""
        self.make("-a", "1", passphrase=PASSPHRASE)
        self.assertRefused("passphrase", lambda: load_or_create_host_key(self.path))

    def test_directory(self) -> None:
        """A directory is no host key."""
        self.path.mkdir()
        self.assertRefused("Is a directory", lambda: load_or_create_host_key(self.path))

    def test_noRoom(self) -> None:
        """When the disk is full there is no key, and nothing remains."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, before)
        self.assertRefused("File too large", lambda: load_or_create_host_key(self.path))
        self.assertEqual(os.listdir(self.directory), [])

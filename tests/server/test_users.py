"""Authorized users, and a file of keys that changes while the daemon runs."""

import os
from pathlib import Path
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.files import MAX_LIST_SIZE
from securechat.server.users import Anyone, AuthorizedUsers, UnlessRevoked
from securechat.ssh import keys
from securechat.wire.messages import ClientAuth
from tests.harness.pair import USER_KEY

REMOVED = keys.SigningKey.generate()
STRANGER = keys.SigningKey.generate()
ALICE, REMOVED_BOB, BOB = (
    keys.public_line(key.blob, name) + "\n" for key, name in ((USER_KEY, "alice"), (REMOVED, "bob"), (STRANGER, "bob"))
)
BOTH = ALICE + REMOVED_BOB


class AnyoneTests(SynchronousTestCase):
    """Without a file."""

    def test_anyone(self) -> None:
        """Anyone may talk; a key is taken, and its fingerprint is its user's name."""
        users = Anyone()
        self.assertIs(users.client_auth, ClientAuth.OPTIONAL)
        self.assertTrue(users.is_authorized(USER_KEY.blob))
        self.assertEqual(users.name_of(USER_KEY.blob), keys.fingerprint(USER_KEY.blob))
        self.assertFalse(users.has_list or users.is_listed(USER_KEY.blob))


class UnlessRevokedTests(SynchronousTestCase):
    """Authorized users, some of whose keys are revoked."""

    def setUp(self) -> None:
        self.paths = [Path(self.mktemp()) for _ in range(2)]
        self.write(0, BOTH)
        self.write(1, "# nobody")
        self.users = UnlessRevoked(AuthorizedUsers(self.paths[0]), self.paths[1])

    def write(self, number: int, text: str) -> None:
        self.paths[number].write_text(text)
        self.paths[number].chmod(0o600)

    def test_revoked(self) -> None:
        """A revoked key is refused from the next handshake on, although it is authorized."""
        self.assertTrue(self.users.is_authorized(USER_KEY.blob) and self.users.is_authorized(REMOVED.blob))
        self.assertFalse(self.users.is_authorized(STRANGER.blob))
        self.write(1, keys.fingerprint(REMOVED.blob))
        self.assertTrue(self.users.is_authorized(USER_KEY.blob) and self.users.is_listed(USER_KEY.blob))
        self.assertFalse(self.users.is_authorized(REMOVED.blob) or self.users.is_listed(REMOVED.blob))
        self.assertFalse(self.users.is_listed(b""))
        self.assertEqual(self.users.name_of(USER_KEY.blob), "alice")
        self.assertTrue(self.users.has_list)
        self.assertIs(self.users.client_auth, ClientAuth.REQUIRED)

    def test_reload(self) -> None:
        """A reload reads both files."""
        self.write(0, ALICE)
        self.write(1, keys.fingerprint(USER_KEY.blob))
        self.users.reload()
        self.assertFalse(self.users.is_listed(USER_KEY.blob) or self.users.is_listed(REMOVED.blob))

    def test_unusable(self) -> None:
        """While the list is unusable, no key is admitted; open sessions continue, and the problem is known."""
        self.paths[1].unlink()
        self.assertFalse(self.users.is_authorized(USER_KEY.blob))
        self.assertTrue(self.users.is_listed(USER_KEY.blob))
        self.assertIn("No such file", self.users.problem)
        self.assertRaises(ConfigurationError, self.users.load)
        self.write(1, "")
        self.assertTrue(self.users.is_authorized(USER_KEY.blob))
        self.assertEqual(self.users.problem, "")
        self.write(0, "nonsense")
        self.assertTrue(self.users.is_authorized(USER_KEY.blob))
        self.assertIn(":1: not a valid ssh-ed25519 public key", self.users.problem)
        self.assertRaises(ConfigurationError, self.users.load)

    def test_badStart(self) -> None:
        """A list that is wrong from the start is refused, with its line."""
        self.write(1, "nonsense")
        error = self.assertRaises(ConfigurationError, UnlessRevoked, AuthorizedUsers(self.paths[0]), self.paths[1])
        self.assertIn(f"{self.paths[1]}:1: ", str(error))


class AuthorizedUsersTests(SynchronousTestCase):
    """With a file."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.logged: list[dict[str, Any]] = []
        observer = cast(ILogObserver, self.logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.path = Path(self.mktemp())
        self.write(BOTH)
        self.users = AuthorizedUsers(self.path, self.clock.seconds)

    def write(self, text: str, mode: int = 0o600) -> None:
        """Write the file in place."""
        self.path.write_text(text)
        self.path.chmod(mode)

    def rename_over(self, text: str, mode: int = 0o600) -> None:
        """Replace the file by another."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.chmod(mode)
        new.rename(self.path)

    def assertAuthorized(self, *authorized: keys.SigningKey) -> None:
        for key in (USER_KEY, REMOVED, STRANGER):
            self.assertEqual(self.users.is_authorized(key.blob), key in authorized)

    def log_lines(self, level: LogLevel) -> list[str]:
        """The lines of this level since the last call."""
        lines = [event["log_format"].format(**event) for event in self.logged if event["log_level"] is level]
        self.logged.clear()
        return lines

    def test_onlyThose(self) -> None:
        """Only the keys in the file are authorized, and the comment is the user's name."""
        self.assertIs(self.users.client_auth, ClientAuth.REQUIRED)
        self.assertAuthorized(USER_KEY, REMOVED)
        self.assertTrue(self.users.has_list and self.users.is_listed(USER_KEY.blob))
        self.assertFalse(self.users.is_listed(STRANGER.blob) or self.users.is_listed(b""))
        self.assertEqual(self.users.name_of(USER_KEY.blob), "alice")
        self.assertEqual(self.users.name_of(STRANGER.blob), keys.fingerprint(STRANGER.blob))

    def test_options(self) -> None:
        """A key is refused at an address that its options do not allow, and after it has expired."""
        self.write(f'from="192.0.2.0/24",expiry-time="20300101Z" {ALICE}')
        now = [1_800_000_000.0]
        users = AuthorizedUsers(self.path, self.clock.seconds, lambda: now[0])
        for host, allowed in (("192.0.2.7", True), ("192.0.3.7", False), ("", False)):
            self.assertTrue(users.is_authorized(USER_KEY.blob))
            self.assertIs(users.is_listed(USER_KEY.blob, host), allowed)
        now[0] = 1_900_000_000.0
        self.assertFalse(users.is_listed(USER_KEY.blob, "192.0.2.7"))
        self.assertEqual(users.name_of(USER_KEY.blob), "alice")

    def test_changes(self) -> None:
        """A key that is removed or added is refused or admitted from the next handshake on."""
        for change in (self.write, self.rename_over):
            change(ALICE + BOB)
            self.assertAuthorized(USER_KEY, STRANGER)
            self.assertEqual(self.log_lines(LogLevel.info), [f"reloaded {self.path}"])
            change(BOTH)
            self.assertAuthorized(USER_KEY, REMOVED)
            self.logged.clear()

    def test_kubernetes(self) -> None:
        """A file behind a symbolic link to a directory that is swapped, as in a Kubernetes volume, is followed."""
        volume = Path(self.mktemp())
        for version, text in (("1", BOTH), ("2", ALICE)):
            (volume / version).mkdir(parents=True)
            (volume / version / "keys").write_text(text)
        (volume / "..data").symlink_to("1")
        (volume / "keys").symlink_to("..data/keys")
        self.users = AuthorizedUsers(volume / "keys")
        self.assertAuthorized(USER_KEY, REMOVED)
        (volume / "new").symlink_to("2")
        (volume / "new").rename(volume / "..data")
        self.assertAuthorized(USER_KEY)

    def test_sameTimeAndSize(self) -> None:
        """A change is noticed also if the file's time, size and inode remain the same."""
        before = self.path.stat()
        self.write(ALICE + BOB)
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        after = self.path.stat()
        self.assertEqual((after.st_size, after.st_mtime_ns), (before.st_size, before.st_mtime_ns))
        self.assertAuthorized(USER_KEY, STRANGER)

    def test_badChange(self) -> None:
        """While the file is wrong, or gone, the previous keys stay in force, and no other key is admitted."""
        self.write(BOB + "ssh-ed25519 nonsense\n")
        self.assertAuthorized(USER_KEY, REMOVED)
        self.path.unlink()
        self.assertAuthorized(USER_KEY, REMOVED)

    def test_repairedPermissions(self) -> None:
        """A key that was removed is refused as soon as permissions that made the file unusable are repaired."""
        self.rename_over(ALICE, 0o664)
        self.assertAuthorized(USER_KEY, REMOVED)
        self.path.chmod(0o600)
        self.assertAuthorized(USER_KEY)

    def test_unreadable(self) -> None:
        """Nor does a removed key come back because the file is unusable later, or is moved away for a moment."""
        self.write(ALICE)
        self.assertAuthorized(USER_KEY)
        away = self.path.with_suffix(".away")
        self.path.rename(away)
        self.assertAuthorized(USER_KEY)
        away.rename(self.path)
        self.assertAuthorized(USER_KEY)

    def test_reminders(self) -> None:
        """The log names the problem at once, then once a minute and at each SIGHUP, and says when it is over."""
        for text, words in ((ALICE + "ssh-ed25519 nonsense\n", ":2: "), (None, "No such file")):
            if text is None:
                self.path.unlink()
            else:
                self.write(text)
            self.clock.advance(60)
            for _ in range(10):
                self.users.is_authorized(USER_KEY.blob)
            [line] = self.log_lines(LogLevel.error)
            self.assertIn(f"{self.path}{words}" if text else words, line)
            self.assertIn("; keeping the previous keys", line)
            self.clock.advance(59)
            self.users.is_authorized(USER_KEY.blob)
            self.assertEqual(self.log_lines(LogLevel.error), [])
            self.clock.advance(1)
            self.users.is_authorized(USER_KEY.blob)
            self.users.reload()
            self.assertEqual(len(self.log_lines(LogLevel.error)), 2)
        self.write(ALICE + "ssh-ed25519 nonsense\n")
        self.users.reload()
        self.write(BOTH)
        self.users.is_authorized(USER_KEY.blob)
        self.users.is_authorized(USER_KEY.blob)
        self.assertEqual(self.log_lines(LogLevel.info), [f"reloaded {self.path}"])

    def test_reload(self) -> None:
        """A reload that the operator asks for is confirmed also if nothing changed."""
        self.users.reload()
        self.assertEqual(self.log_lines(LogLevel.info), [f"reloaded {self.path}"])

    def test_many(self) -> None:
        """A file with 10,000 keys and long names is accepted."""
        head = USER_KEY.blob[:-32]
        blobs = [head + bytes(30) + number.to_bytes(2, "big") for number in range(10_000, 20_000)]
        self.write(ALICE + "".join(f"{keys.public_line(blob, 'x' * 64)}\n" for blob in blobs))
        self.assertAuthorized(USER_KEY)
        self.assertEqual(self.users.name_of(blobs[-1]), "x" * 64)

    def test_tooLarge(self) -> None:
        """A file that becomes larger than the limit is an error that names both, and the previous keys remain."""
        self.write(ALICE + "#" * MAX_LIST_SIZE)
        self.assertAuthorized(USER_KEY, REMOVED)
        [line] = self.log_lines(LogLevel.error)
        self.assertEqual(line, f"{self.path}: larger than the limit of 4 MiB; keeping the previous keys")

    def test_fifo(self) -> None:
        """A FIFO in place of the file does not block the daemon, and the previous keys remain."""
        self.path.unlink()
        os.mkfifo(self.path)
        self.assertAuthorized(USER_KEY, REMOVED)
        [line] = self.log_lines(LogLevel.error)
        self.assertEqual(line, f"{self.path}: not a regular file; keeping the previous keys")

    def test_badStart(self) -> None:
        """A file that is wrong from the start is refused, with its line."""
        self.write("# team\nssh-ed25519 nonsense")
        error = self.assertRaises(ConfigurationError, AuthorizedUsers, self.path)
        self.assertIn(f"{self.path}:2:", str(error))

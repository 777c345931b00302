"""The server's host key against known_hosts and --host-key."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.host_key_check import MAX_KEYS, HostKeyCheck, UnknownHostError
from securechat.errors import AuthenticationError, Category, ConfigurationError
from securechat.ssh import keys
from securechat.wire.host_keys import hint_of
from tests.harness.pair import HOST_KEY, USER_KEY

NAME = "[chat.example.org]:8080"
OTHER = keys.SigningKey.generate()
MINE, OTHERS = keys.fingerprint(HOST_KEY.blob), keys.fingerprint(OTHER.blob)
LINE = f"{NAME} {keys.public_line(HOST_KEY.blob)}\n"
OTHER_LINE = f"{NAME} {keys.public_line(OTHER.blob)}\n"
REVOKED = f"@revoked * {keys.public_line(HOST_KEY.blob)}\n"


class HostKeyCheckTests(SynchronousTestCase):
    """A server that proved possession of HOST_KEY."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "known_hosts"
        self.path.parent.mkdir()
        self.told: list[str] = []

    def make(self, *, content: str = "", pinned: str | None = None, accept_new: bool = False) -> HostKeyCheck:
        if content:
            self.path.write_text(content)
        return HostKeyCheck(NAME, self.path, pinned=pinned, accept_new=accept_new, tell=self.told.append)

    def assertRejected(self, check: HostKeyCheck, *words: str) -> AuthenticationError:
        """HOST_KEY is rejected for good, with these words; nothing is told or written."""
        before = self.path.read_text() if self.path.exists() else None
        error = self.assertRaises(AuthenticationError, check.check, HOST_KEY.blob)
        assert isinstance(error, AuthenticationError)
        self.assertEqual(error.category, Category.HOST_KEY)
        for word in (NAME, MINE, *words):
            self.assertIn(word, str(error))
        self.assertEqual(self.told, [])
        self.assertEqual(self.path.read_text() if self.path.exists() else None, before)
        return error

    def test_known(self) -> None:
        """A known key is accepted, and the user is told where it is known from."""
        self.make(content="# mine\n" + LINE).check(HOST_KEY.blob)
        [line] = self.told
        self.assertIn(NAME, line)
        self.assertIn(f"{self.path}:2", line)

    def test_unknown(self) -> None:
        """The user has to decide about an unknown key: the error has the key, and the fingerprint for --host-key."""
        for content in ("", OTHER_LINE.replace("8080", "8081")):
            error = self.assertRejected(self.make(content=content), f"--host-key {MINE}", "--accept-new")
            assert isinstance(error, UnknownHostError)
            self.assertEqual(error.blob, HOST_KEY.blob)

    def test_twoClients(self) -> None:
        """Of two clients whose users accept the same new key, one adds it; the other finds it."""
        clients = self.make(), self.make()
        for client in clients:
            self.assertRaises(UnknownHostError, client.check, HOST_KEY.blob)
        for client in clients:
            client.accept(HOST_KEY.blob)
            client.check(HOST_KEY.blob)
        self.assertEqual(self.path.read_text(), LINE)
        self.assertIn("permanently added", self.told[0])
        self.assertNotIn("permanently added", "".join(self.told[1:]))

    def test_otherKeyMeanwhile(self) -> None:
        """A key that the user accepts is rejected if another client has added another one while the user was asked."""
        for content, words in ((OTHER_LINE, "HAS CHANGED"), (REVOKED, "REVOKED")):
            check = self.make()
            self.assertRaises(UnknownHostError, check.check, HOST_KEY.blob)
            self.path.write_text(content)
            self.assertIn(words, str(self.assertRaises(AuthenticationError, check.accept, HOST_KEY.blob)))
            self.assertRaises(AuthenticationError, check.check, HOST_KEY.blob)
            self.assertEqual(self.path.read_text(), content)
            self.path.unlink()

    def test_outOfReach(self) -> None:
        """In another user's home directory, --accept-new accepts a key with a warning; without it, this is an error."""

        def stat(path: Path) -> None:
            raise PermissionError(13, "")

        (self.path / "x").mkdir(parents=True)  # it cannot be read
        self.patch(Path, "stat", stat)
        self.assertRaises(ConfigurationError, self.make)
        check = self.make(accept_new=True)
        check.check(HOST_KEY.blob)
        check.check(HOST_KEY.blob)
        self.assertEqual(len(self.told), 2)
        self.assertIn("the known hosts cannot be read", self.told[0])
        self.assertIn("failed to add the host", self.told[1])

    def test_noDirectory(self) -> None:
        """So it is if the home directory is none, such as /dev/null."""
        self.path = Path("/dev/null/known_hosts")
        self.assertRaises(ConfigurationError, self.make)
        self.make(accept_new=True).check(HOST_KEY.blob)
        self.assertIn("failed to add the host", self.told[1])

    def test_acceptNew(self) -> None:
        """With --accept-new an unknown key is written to known_hosts, once, and the user is told."""
        check = self.make(accept_new=True)
        check.check(HOST_KEY.blob)
        self.assertEqual(self.path.read_text(), LINE)
        [line] = self.told
        self.assertIn(NAME, line)
        self.assertIn(str(self.path), line)
        check.check(HOST_KEY.blob)
        self.assertEqual(self.path.read_text(), LINE)
        self.told.clear()
        self.make(accept_new=True).check(HOST_KEY.blob)
        self.assertEqual(self.path.read_text(), LINE)

    def test_changed(self) -> None:
        """A changed key is rejected with the line of the other one, whether new ones are accepted or not."""
        for accept_new in (False, True):
            check = self.make(content="# mine\n" + OTHER_LINE, accept_new=accept_new)
            error = self.assertRejected(check, "HAS CHANGED", f"{self.path}:2")
            self.assertNotIsInstance(error, UnknownHostError)
            self.assertNotIn(OTHERS, str(error))

    def test_pinned(self) -> None:
        """--host-key accepts exactly its key, whatever known_hosts has for the host, and adds nothing."""
        for content in ("", LINE, OTHER_LINE):
            for accept_new in (False, True):
                check = self.make(content=content, pinned=MINE, accept_new=accept_new)
                before = self.path.read_text() if self.path.exists() else None
                check.check(HOST_KEY.blob)
                self.assertEqual(self.path.read_text() if self.path.exists() else None, before)
                check = self.make(content=content, pinned=OTHERS, accept_new=accept_new)
                error = self.assertRejected(check, "does not match --host-key")
                self.assertNotIsInstance(error, UnknownHostError)

    def test_almost(self) -> None:
        """A fingerprint that differs in one place is another one."""
        for place in range(len("SHA256:"), len(MINE)):
            other = MINE[:place] + ("b" if MINE[place] == "a" else "a") + MINE[place + 1 :]
            self.assertRejected(self.make(pinned=other), "does not match --host-key")

    def test_revoked(self) -> None:
        """A revoked key is rejected with its line, although it is known, pinned or accepted if new."""
        for pinned, accept_new in ((None, False), (None, True), (MINE, False)):
            check = self.make(content=LINE + REVOKED, pinned=pinned, accept_new=accept_new)
            error = self.assertRejected(check, "revoked", f"{self.path}:2")
            self.assertNotIsInstance(error, UnknownHostError)

    def test_remember(self) -> None:
        """After the user has confirmed a key, this key is known, and any other one has changed."""
        check = self.make()
        check.accept(OTHER.blob)
        self.assertEqual(self.path.read_text(), OTHER_LINE)
        self.assertEqual(len(self.told), 1)
        self.told.clear()
        self.assertNotIsInstance(self.assertRejected(check, "HAS CHANGED", f"{self.path}:1"), UnknownHostError)
        check.check(OTHER.blob)

    def test_wants(self) -> None:
        """The client requests the next key if the present one is known, and the next one neither known nor revoked."""
        hint = hint_of(OTHER.blob)
        self.assertTrue(self.make(content=LINE).wants(hint))
        self.assertFalse(self.make(content=LINE + OTHER_LINE).wants(hint))
        self.assertFalse(self.make(content=LINE, pinned=MINE).wants(hint))
        self.assertFalse(self.make(content=LINE.replace("8080", "8081")).wants(hint))
        self.assertFalse(self.make(content=REVOKED).wants(hint))
        self.assertFalse(self.make(content=LINE + f"@revoked * {keys.public_line(OTHER.blob)}\n").wants(hint))

    def test_learn(self) -> None:
        """The next key is added beside the present one, and both are accepted without a question."""
        check = self.make(content=LINE)
        check.learn(HOST_KEY.blob, OTHER.blob)
        self.assertEqual(self.path.read_text(), LINE + OTHER_LINE)
        self.assertEqual(self.told, [f"added the server's next host key {OTHERS} to the known hosts: {self.path}"])
        for known in (check, self.make()):
            known.check(OTHER.blob)
            known.check(HOST_KEY.blob)
            self.assertFalse(known.wants(hint_of(OTHER.blob)))
            known.learn(HOST_KEY.blob, OTHER.blob)
        self.assertEqual(self.path.read_text(), LINE + OTHER_LINE)

    def test_manyKeys(self) -> None:
        """A server that announces another key in each session does not fill the file; its present key is accepted."""
        check = self.make(content=LINE)
        successors = [keys.SigningKey.generate().blob for _number in range(MAX_KEYS)]
        wanted = []
        for successor in successors:
            wanted.append(check.wants(hint_of(successor)))
            check.learn(HOST_KEY.blob, successor)  # also of a session that has asked before
        self.assertEqual(wanted, [True] * (MAX_KEYS - 1) + [False])
        self.assertEqual(len(self.path.read_text().splitlines()), MAX_KEYS)
        for blob in (HOST_KEY.blob, *successors[:-1]):
            self.make().check(blob)

    def test_learnedMeanwhile(self) -> None:
        """A key that another client has added is known from then on, and is not added twice."""
        check = self.make(content=LINE)
        self.path.write_text(LINE + OTHER_LINE)
        check.learn(HOST_KEY.blob, OTHER.blob)
        self.assertEqual(self.path.read_text(), LINE + OTHER_LINE)
        check.check(OTHER.blob)

    def test_learnedByAnother(self) -> None:
        """A client that has not asked for the next key accepts it if another client has stored it."""
        check = self.make(content=LINE)
        self.assertIn("HAS CHANGED", str(self.assertRaises(AuthenticationError, check.check, OTHER.blob)))
        self.path.write_text("nonsense")
        self.assertIn("HAS CHANGED", str(self.assertRaises(AuthenticationError, check.check, OTHER.blob)))
        self.path.write_text(LINE + OTHER_LINE)
        check.check(OTHER.blob)
        check.check(HOST_KEY.blob)

    def test_notLearned(self) -> None:
        """Nothing is added if the present key was removed or revoked in the meantime, or the next one is revoked."""
        revoked = f"@revoked * {keys.public_line(OTHER.blob)}\n"
        for content in ("# removed\n", OTHER_LINE.replace("8080", "1"), LINE + REVOKED, LINE + revoked):
            check = self.make(content=LINE)
            self.path.write_text(content)
            check.learn(HOST_KEY.blob, OTHER.blob)
            self.assertEqual((self.path.read_text(), self.told), (content, []))

    def test_cannotLearn(self) -> None:
        """If known_hosts cannot be written or read, the session goes on, and the user can find out why."""
        check = self.make(content=LINE)
        self.path.write_text("nonsense\n")
        check.learn(HOST_KEY.blob, OTHER.blob)
        [told] = self.told
        self.assertIn(f"failed to add the server's next host key to the known hosts: {self.path}:1: ", told)

    def test_unreadable(self) -> None:
        """An invalid known_hosts is an error before anything is connected."""
        for pinned in (None, MINE):
            self.assertRaises(ConfigurationError, self.make, content="nonsense\n", pinned=pinned)


class UnwritableTests(SynchronousTestCase):
    """A known_hosts file that cannot be written: its directory would have to be made below a file."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.path = self.directory / "known_hosts"
        self.told: list[str] = []

    def make(self, *, accept_new: bool) -> HostKeyCheck:
        check = HostKeyCheck(NAME, self.path, pinned=None, accept_new=accept_new, tell=self.told.append)
        self.directory.write_text("in the way")
        return check

    def assertToldOnce(self) -> None:
        [told] = self.told
        self.assertIn("failed to add the host to the list of known hosts: ", told)
        self.assertIn(str(self.directory), told)

    def test_yes(self) -> None:
        """A key that the user has accepted remains accepted for this run, and no other does."""
        check = self.make(accept_new=False)
        self.assertRaises(UnknownHostError, check.check, HOST_KEY.blob)
        check.accept(HOST_KEY.blob)
        check.check(HOST_KEY.blob)
        self.assertToldOnce()
        self.assertIn("HAS CHANGED", str(self.assertRaises(AuthenticationError, check.check, USER_KEY.blob)))

    def test_acceptNew(self) -> None:
        """With --accept-new, the session goes on as well, and the user is told once; another key is not new then."""
        check = self.make(accept_new=True)
        check.check(HOST_KEY.blob)
        check.check(HOST_KEY.blob)
        self.assertToldOnce()
        self.assertIn("HAS CHANGED", str(self.assertRaises(AuthenticationError, check.check, USER_KEY.blob)))

    def test_changedMeanwhile(self) -> None:
        """Accepting a key does not accept one that known_hosts says has changed."""
        self.directory.mkdir()
        self.path.write_text(f"{NAME} {keys.public_line(USER_KEY.blob)}\n")
        check = HostKeyCheck(NAME, self.path, pinned=None, accept_new=True, tell=self.told.append)
        self.assertRaises(AuthenticationError, check.check, HOST_KEY.blob)

"""Verification of the server's host key."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.host_key_check import HostKeyCheck, UnknownHostError
from securechat.errors import AuthenticationError
from securechat.ssh import keys
from tests.harness.pair import HOST_KEY, NAME, USER_KEY


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
        self.assertRaises(UnknownHostError, check.check, USER_KEY.blob)

    def test_acceptNew(self) -> None:
        """With --accept-new, the session goes on as well, and the user is told once."""
        check = self.make(accept_new=True)
        check.check(HOST_KEY.blob)
        check.check(HOST_KEY.blob)
        self.assertToldOnce()

    def test_changedMeanwhile(self) -> None:
        """Accepting a key does not accept one that known_hosts says has changed."""
        self.directory.mkdir()
        self.path.write_text(f"{NAME} {keys.public_line(USER_KEY.blob)}\n")
        check = HostKeyCheck(NAME, self.path, pinned=None, accept_new=True, tell=self.told.append)
        self.assertRaises(AuthenticationError, check.check, HOST_KEY.blob)

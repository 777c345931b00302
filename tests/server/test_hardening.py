"""What the daemon gives up when it starts."""

import ctypes
import os
import resource

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.server.hardening import forbid_dumps, refuse_root
from securechat.server.settings import ServerSettings


class RootTests(SynchronousTestCase):
    """Whether the daemon may run as this user."""

    public = ServerSettings(listen=("tcp:0:interface=127.0.0.1", "tcp:0"))

    def test_root(self) -> None:
        """Root is refused, unless twistd changes to another user or the operator allows it."""
        self.patch(os, "geteuid", lambda: 0)
        for uid in (None, 0):
            error = self.assertRaises(ConfigurationError, refuse_root, self.public, uid)
            self.assertIn("refusing to run as root", str(error))
            refuse_root(replace(self.public, allow_root=True), uid)
        refuse_root(self.public, 1000)

    def test_local(self) -> None:
        """Root is accepted where no other machine can reach the daemon."""
        self.patch(os, "geteuid", lambda: 0)
        refuse_root(ServerSettings(), None)

    def test_others(self) -> None:
        """Any other user is accepted."""
        self.patch(os, "geteuid", lambda: 1000)
        refuse_root(self.public, None)


class DumpTests(SynchronousTestCase):
    """Core dumps."""

    def test_filtered(self) -> None:
        """A filter of system calls that forbids the limit does not keep the daemon from starting."""

        def fail(*_arguments: object) -> None:
            raise PermissionError

        calls: list[tuple[int, ...]] = []

        class Library:
            def prctl(self, *arguments: int) -> None:
                calls.append(arguments)

        self.patch(resource, "setrlimit", fail)
        self.patch(ctypes, "CDLL", lambda _name: Library())
        forbid_dumps()
        self.assertLessEqual(len(calls), 1)

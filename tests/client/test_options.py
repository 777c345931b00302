"""The client's options, and how they become its settings."""

import contextlib
import io
from pathlib import Path
from typing import Any

from msgspec.structs import asdict, replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.destination import Destination
from securechat.client.options import parse
from securechat.client.settings import ClientSettings
from securechat.settings import options_of
from securechat.wire.suites import MLKEM768X25519, RSA2048Fernet

FINGERPRINT = "SHA256:" + "a" * 43
DEFAULTS = {
    "destination": Destination("localhost", 8080),
    "identity": None,
    "agent": False,
    "host_key": None,
    "accept_new": False,
    "suite": MLKEM768X25519.name,
    "messages": (),
    "verbose": False,
    "no_history": False,
}

# For each setting, options that change it, and to what.
OPTIONS: dict[str, tuple[list[str], Any]] = {
    "destination": (["[::1]:80"], Destination("::1", 80)),
    "identity": (["-i", "/a"], Path("/a")),
    "agent": (["--agent"], True),
    "known_hosts": (["--known-hosts", "/b"], Path("/b")),
    "host_key": (["--host-key", FINGERPRINT + "="], FINGERPRINT),
    "accept_new": (["--accept-new"], True),
    "suite": (["--suite", "rsa2048-fernet"], RSA2048Fernet.name),
    "messages": (["-m", "one", "--message", "two"], ("one", "two")),
    "verbose": (["-v"], True),
    "no_history": (["--no-history"], True),
}


class CommandLineTests(SynchronousTestCase):
    """From a command line to settings."""

    def test_defaults(self) -> None:
        """Without options the client is anonymous, and asks a server on this machine."""
        settings = asdict(parse([]))
        self.assertEqual(settings.pop("known_hosts").name, "known_hosts")
        self.assertEqual(settings, DEFAULTS)

    def test_eachOption(self) -> None:
        """Each option changes its own setting, and no other."""
        self.assertEqual({option.attribute for option in options_of(ClientSettings)}, OPTIONS.keys())
        for name, (arguments, value) in OPTIONS.items():
            self.assertEqual(parse(arguments), replace(ClientSettings(), **{name: value}), arguments)

    def test_wrong(self) -> None:
        """A value that does not fit ends the program with one line, which does not repeat a message."""
        for words, *arguments in (
            ("a:b:c: expected HOST, HOST:PORT or [ADDRESS]:PORT", "a:b:c"),
            ("--suite rot13: expected mlkem768x25519-chacha20poly1305 or rsa2048-fernet", "--suite", "rot13"),
            ("--host-key x: expected SHA256: and 43 characters, as ssh-keygen -l prints it", "--host-key", "x"),
            ("--message …: not text in UTF-8", "-m", "\udcff"),
            ("unrecognized arguments: --nonsense", "--nonsense"),
        ):
            with contextlib.redirect_stderr(io.StringIO()) as errors:
                stopped = self.assertRaises(SystemExit, parse, arguments)
            self.assertEqual(stopped.code, 2)
            self.assertEqual(errors.getvalue(), f"securechat: {words}; see securechat --help\n")

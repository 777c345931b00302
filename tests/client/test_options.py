"""The client's options, and how they become its settings."""

import contextlib
import io
from pathlib import Path
from typing import Any

from msgspec.structs import asdict, replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.api.address import ServeAddress
from securechat.client.destination import Destination
from securechat.client.options import parse
from securechat.client.settings import ClientSettings
from securechat.settings import options_of
from securechat.wire.suites import MLKEM768X25519, RSA2048Fernet

ADDRESS = ServeAddress("127.0.0.1", 80)
FINGERPRINT = "SHA256:" + "a" * 43
DEFAULTS = {
    "destination": Destination("localhost", 8080),
    "config": None,
    "identity": None,
    "agent": False,
    "host_key": None,
    "accept_new": False,
    "suite": MLKEM768X25519.name,
    "messages": (),
    "stdin": False,
    "lines": False,
    "json": False,
    "wait": False,
    "serve": None,
    "serve_sessions": 4,
    "serve_key_file": None,
    "serve_open": False,
    "serve_origins": (),
    "serve_any_address": False,
    "print_env": False,
    "quiet": False,
    "verbose": False,
    "no_history": False,
    "save_conversations": False,
    "continue_latest": False,
    "resume": None,
}

SERVE = ("--serve", "80")
ORIGIN = "as browsers send it, such as http://localhost:3000"

# For each setting, options that change it, and to what.
OPTIONS: dict[str, tuple[list[str], Any]] = {
    "destination": (["[::1]:80"], Destination("::1", 80)),
    "config": (["-F", "/dev/null"], Path("/dev/null")),
    "identity": (["-i", "/a"], Path("/a")),
    "agent": (["--agent"], True),
    "known_hosts": (["--known-hosts", "/b"], Path("/b")),
    "host_key": (["--host-key", FINGERPRINT + "="], FINGERPRINT),
    "accept_new": (["--accept-new"], True),
    "suite": (["--suite", "rsa2048-fernet"], RSA2048Fernet.name),
    "messages": (["-m", "one", "--message", "two"], ("one", "two")),
    "stdin": (["-"], True),
    "lines": (["--lines"], True),
    "json": (["--json"], True),
    "wait": (["--wait"], True),
    "serve": (["--serve", "80"], ADDRESS),
    "serve_sessions": (["--serve", "80", "--serve-sessions", "16"], 16),
    "serve_key_file": (["--serve", "80", "--serve-key-file", "/c"], Path("/c")),
    "serve_open": (["--serve", "80", "--serve-open"], True),
    "serve_origins": (
        ["--serve", "80", "--serve-origin", "http://A:1", "--serve-origin", "app://x.y"],
        ("http://a:1", "app://x.y"),
    ),
    "serve_any_address": (["--serve", "80", "--serve-any-address"], True),
    "print_env": (["--serve", "80", "--print-env"], True),
    "quiet": (["-q"], True),
    "verbose": (["-v"], True),
    "no_history": (["--no-history"], True),
    "save_conversations": (["--save-conversations"], True),
    "continue_latest": (["--continue"], True),
    "resume": (["--resume", "work"], "work"),
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
            serve = {"serve": ADDRESS} if "--serve" in arguments else {}
            self.assertEqual(parse(arguments), replace(ClientSettings(), **{**serve, name: value}), arguments)

    def test_wrong(self) -> None:
        """A value that does not fit ends the program with one line, which does not repeat a message."""
        for words, *arguments in (
            ("a:b:c: expected HOST, HOST:PORT or [ADDRESS]:PORT", "a:b:c"),
            ("--suite rot13: expected mlkem768x25519-chacha20poly1305 or rsa2048-fernet", "--suite", "rot13"),
            ("--host-key x: expected SHA256: and 43 characters, as ssh-keygen -l prints it", "--host-key", "x"),
            ("--message …: not text in UTF-8", "-m", "\udcff"),
            ("--serve x: expected PORT, ADDRESS:PORT, [IPV6-ADDRESS]:PORT or unix:PATH", "--serve", "x"),
            ("--serve-sessions 17: expected a whole number from 1 to 16", *SERVE, "--serve-sessions", "17"),
            ("--serve-sessions 0: expected a whole number from 1 to 16", *SERVE, "--serve-sessions", "0"),
            ("--serve-origin *: expected an origin " + ORIGIN, *SERVE, "--serve-origin", "*"),
            ("--serve-origin null: expected an origin " + ORIGIN, *SERVE, "--serve-origin", "null"),
            ("--serve-origin http://a/b: expected an origin " + ORIGIN, *SERVE, "--serve-origin", "http://a/b"),
            ("unrecognized arguments: --nonsense", "--nonsense"),
        ):
            with contextlib.redirect_stderr(io.StringIO()) as errors:
                stopped = self.assertRaises(SystemExit, parse, arguments)
            self.assertEqual(stopped.code, 2)
            self.assertEqual(errors.getvalue(), f"securechat: {words}; see securechat --help\n")

    def test_conflicts(self) -> None:
        """Options that do not go together are refused with the reason."""
        for words, *arguments in (
            ("--serve and --message exclude each other", *SERVE, "-m", "x"),
            ("--continue and --resume exclude each other", "--continue", "--resume", "x"),
            ("--continue and --resume require a terminal", "--continue", "-m", "x"),
            ("--continue and --resume require a terminal", *SERVE, "--resume", "x"),
            ("--serve and --stdin exclude each other", *SERVE, "-"),
            ("--serve and --lines exclude each other", *SERVE, "--lines"),
            ("--serve and --json exclude each other", *SERVE, "--json"),
            ("--serve and --wait exclude each other", *SERVE, "--wait"),
            ("--lines and --message exclude each other", "--lines", "-m", "x"),
            ("--lines and --stdin exclude each other", "--lines", "--stdin"),
            ("--serve-open and --serve-key-file exclude each other", *SERVE, "--serve-open", "--serve-key-file", "x"),
            ("--serve-open and --serve-any-address exclude", *SERVE, "--serve-open", "--serve-any-address"),
            ("--serve 0.0.0.0:80: other machines could connect", "--serve", "0.0.0.0:80"),
            ("--serve [::]:80: other machines could connect", "--serve", "[::]:80"),
            ("or --serve-any-address if that is intended, as in a container", "--serve", "192.0.2.1:80"),
            ("--serve-sessions requires --serve", "--serve-sessions", "2"),
            ("--serve-key-file requires --serve", "--serve-key-file", "x"),
            ("--serve-open requires --serve", "--serve-open"),
            ("--serve-origin requires --serve", "--serve-origin", "http://a"),
            ("--serve-any-address requires --serve", "--serve-any-address"),
            ("--print-env requires --serve", "--print-env"),
        ):
            with contextlib.redirect_stderr(io.StringIO()) as errors:
                stopped = self.assertRaises(SystemExit, parse, arguments)
            self.assertEqual((stopped.code, errors.getvalue().count("\n")), (2, 1))
            self.assertIn(words, errors.getvalue())

    def test_anyAddress(self) -> None:
        """Other machines can be let in, if that is said."""
        settings = parse(["--serve", "0.0.0.0:80", "--serve-any-address"])
        self.assertEqual(settings.serve, ServeAddress("0.0.0.0", 80))

"""The configuration file of the client."""

import contextlib
import io
import os
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.client import config
from securechat.client.config import Config, load
from securechat.client.destination import Destination
from securechat.client.options import parse
from securechat.client.settings import ClientSettings
from securechat.config_file import ConfigFile
from securechat.errors import ConfigurationError
from securechat.settings import options_of

PATH = Path("/etc/client.toml")
FINGERPRINT = "SHA256:" + "a" * 43
FILE = f"""
destination = "work"
identity = "/keys/all"
serve-sessions = 8
serve-origin = ["http://a:1", "app://b"]

[host.work]
address = "chat.example.org:80"
identity = "/keys/work"
agent = true
host-key = "{FINGERPRINT}"

[host."other.example.org"]
suite = "rsa2048-fernet"

[host]
last = {{address = "[::1]:1"}}
"""


def problem(text: str) -> str:
    """The error of a file with this content, after its path and a colon."""
    try:
        config.read(ConfigFile(PATH, text.encode()))
    except ConfigurationError as error:
        return str(error).removeprefix(f"{PATH}:")
    raise AssertionError("no error")


class ConfigTests(SynchronousTestCase):
    """What is set in a file."""

    def setUp(self) -> None:
        self.config = config.read(ConfigFile(PATH, FILE.encode()))

    def test_host(self) -> None:
        """The settings of a host win over those for all, and its address is the destination."""
        self.assertEqual(
            self.config.settings("work"),
            {
                "destination": Destination("chat.example.org", 80),
                "identity": Path("/keys/work"),
                "agent": True,
                "host_key": FINGERPRINT,
                "serve_sessions": 8,
                "serve_origins": ("http://a:1", "app://b"),
            },
        )

    def test_default(self) -> None:
        """If no server is named, it is the one that the file names."""
        self.assertEqual(self.config.settings(None), self.config.settings("work"))
        elsewhere = config.read(ConfigFile(PATH, b'destination = "a:1"'))
        self.assertEqual(elsewhere.settings(None), {"destination": Destination("a", 1)})
        self.assertEqual(Config().settings(None), {})

    def test_nameAsAddress(self) -> None:
        """A host without an address is known by its name."""
        self.assertEqual(
            self.config.settings("other.example.org")["destination"], Destination("other.example.org", 8080)
        )

    def test_otherServer(self) -> None:
        """Any other server has the settings for all, and is an address."""
        settings = self.config.settings("a.example.org:1")
        self.assertEqual(
            (settings["destination"], settings["identity"]), (Destination("a.example.org", 1), Path("/keys/all"))
        )
        with self.assertRaisesRegex(ConfigurationError, "^a:b:c: expected HOST"):
            self.config.settings("a:b:c")

    def test_everyOption(self) -> None:
        """The options that concern a single run are not among the keys, and all others are."""
        names = {option.name for option in options_of(ClientSettings)}
        single = {"config", "message", "stdin", "lines", "json", "serve", "print-env", "continue", "resume"}
        for name in names:
            self.assertEqual("unknown key" in problem(f"{name} = [[1]]"), name in single, name)

    def test_problems(self) -> None:
        """What is wrong is reported with its line."""
        for text, words in (
            ("identity = 1", "1: identity: expected a string"),
            ("\n\nagent = 'yes'", "3: agent: expected true or false"),
            ("serve-sessions = 17", "1: serve-sessions: expected a whole number from 1 to 16"),
            ("serve-sessions = '4'", "1: serve-sessions: expected a whole number from 1 to 16"),
            ("serve-sessions = true", "1: serve-sessions: expected a whole number from 1 to 16"),
            ("serve-origin = 1", "1: serve-origin: expected a string"),
            (
                "serve-origin = ['*']",
                "1: serve-origin: expected an origin as browsers send it, such as http://localhost:3000",
            ),
            ("suite = 'x'", "1: suite: expected mlkem768x25519-chacha20poly1305 or rsa2048-fernet"),
            ("destination = 1", "1: destination: expected a string"),
            ("# identiy\nidentiy = ''", "2: identiy: unknown key; did you mean identity?"),
            ("xyz = 1", "1: xyz: unknown key"),
            ("address = 'a'", "1: address: unknown key"),
            ("host = 1", "1: host: expected a table [host.NAME]"),
            ("host.a = 1", "1: host.a: expected a table [host.NAME]"),
            (
                "[host.a]\n\n[host.b]\nagent = true\nverbos = true",
                "5: host.b.verbos: unknown key; did you mean verbose?",
            ),
            ("[host.a]\nagent = [\n1\n]", "2: host.a.agent: expected true or false"),
            ("[host.a]\naddress = 'a:b:c'", "2: host.a.address: expected HOST, HOST:PORT or [ADDRESS]:PORT"),
            ("[host.a]\naddress = 1", "2: host.a.address: expected a string"),
            ("[host.a]\ndestination = 'b'", "2: host.a.destination: unknown key"),
            ("[host.a]\n[host.'a b']\nagent = true", "2: host.…: no address"),
            ("agent = true\nagent = true", "2: Cannot overwrite a value"),
            ("agent: true", "1: Expected '=' after a key in a key/value pair"),
            ("agent = " + "1" * 5000, " not valid TOML"),
            ("agent = " + "[" * 5000, " not valid TOML"),
        ):
            self.assertEqual(problem(text), words)

    def test_relativePath(self) -> None:
        """A relative path is relative to the directory of the file, as in that of the daemon."""
        found = config.read(ConfigFile(PATH, b"identity = 'keys/work'")).settings(None)
        self.assertEqual(found, {"identity": PATH.parent / "keys/work"})

    def test_noText(self) -> None:
        """A file that is not text is reported."""
        with self.assertRaisesRegex(ConfigurationError, f"^{PATH}:2: not valid UTF-8"):
            ConfigFile(PATH, b"\n\xff")

    @given(st.text("a=[]'\"\n #.1{},-\\", max_size=60))
    def test_any(self, text: str) -> None:
        """Any text is a configuration or a ConfigurationError."""
        with contextlib.suppress(ConfigurationError):
            config.read(ConfigFile(PATH, text.encode()))

    @given(
        st.lists(
            st.sampled_from(["# x", "", "quiet = true", "x = [\n1\n]", "[host.a]", "x.y = '''\n# x\n'''"]), max_size=8
        )
    )
    def test_lines(self, parts: list[str]) -> None:
        """The line of an unknown key is the one on which it begins."""
        text = "\n".join(parts)
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            return
        unknown = [number for number, line in enumerate(text.split("\n"), 1) if line.startswith("x")]
        if unknown:
            self.assertRegex(problem(text), f"^{unknown[0]}: (host.a.)?x: unknown key")


class FileTests(SynchronousTestCase):
    """The file, and the command line."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.file = self.directory / "securechat/client.toml"
        self.file.parent.mkdir(parents=True)
        self.file.write_text(FILE)
        self.file.chmod(0o600)
        self.patch(os, "environ", {**os.environ, "XDG_CONFIG_HOME": str(self.directory)})

    def test_default(self) -> None:
        """The default file need not exist, nor a home directory."""
        self.assertEqual(load(None).destination, "work")
        self.file.unlink()
        self.assertEqual(load(None), Config())
        del os.environ["XDG_CONFIG_HOME"]
        os.environ["HOME"] = "relative"
        self.assertEqual(load(None), Config())

    def test_named(self) -> None:
        """A file that the user names must exist; with /dev/null there is none."""
        self.assertEqual(load(Path("/dev/null")), Config())
        with self.assertRaisesRegex(ConfigurationError, "No such file"):
            load(self.directory / "none")

    def test_permissions(self) -> None:
        """A file that others can write is refused."""
        self.file.chmod(0o620)
        with self.assertRaisesRegex(ConfigurationError, "too open"):
            load(None)

    def test_commandLine(self) -> None:
        """The command line wins over the file, also with flags."""
        work: dict[str, Any] = {
            "destination": Destination("chat.example.org", 80),
            "identity": Path("/keys/work"),
            "agent": True,
            "host_key": FINGERPRINT,
            "serve_sessions": 8,
            "serve_origins": ("http://a:1", "app://b"),
        }
        expected = replace(ClientSettings(), **work)
        self.assertEqual(parse([]), expected)
        self.assertEqual(parse(["work", "-i", "/x"]), replace(expected, identity=Path("/x")))
        self.assertEqual(parse(["--no-agent"]), replace(expected, agent=False))
        self.assertEqual(parse(["[::1]"]).destination, Destination("::1", 8080))
        self.assertEqual(parse(["last"]).destination, Destination("::1", 1))

    def test_bad(self) -> None:
        """A bad file ends the program with one line and code 2."""
        self.file.write_text("identiy = 1")
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            stopped = self.assertRaises(SystemExit, parse, ["-m", "x"])
        self.assertEqual(stopped.code, 2)
        self.assertEqual(
            errors.getvalue(), f"securechat: {self.file}:1: identiy: unknown key; did you mean identity?\n"
        )

    def test_help(self) -> None:
        """The help and the version do not need it."""
        self.file.write_text("identiy = 1")
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(self.assertRaises(SystemExit, parse, ["--version"]).code, 0)

"""``twistd securechat``: what its options print, and what the daemon is made of."""

import os
import re
import sys
from io import StringIO
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from msgspec.structs import replace
from twisted.application.service import MultiService
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from securechat import __version__
from securechat.clock import MonotonicReactor
from securechat.errors import Category, RemoteProtocolError
from securechat.robots import registry
from securechat.server.factory import ChatServerFactory
from securechat.server.service import StartError
from securechat.server.settings import ROOT_STATE_DIR, CommandLineSettings, ServerSettings
from securechat.settings import options_of
from securechat.ssh import keys
from securechat.tap import Options, makeService
from securechat.wire.handshake import ClientHandshake, ServerHandshake
from securechat.wire.messages import ClientAuth
from securechat.wrap import columns
from tests.harness.pair import NAME, PQ, USER_KEY, accept, ephemeral_key
from tests.robots.test_fallback import FarSettings, PuppetMaker


class PrintingTests(SynchronousTestCase):
    """Options that print something and exit."""

    def printed(self, *arguments: str) -> str:
        """What is printed; the exit status is 0."""
        output = StringIO()
        self.patch(sys, "stdout", output)
        with self.assertRaises(SystemExit) as exited:
            Options().parseOptions(arguments)
        self.assertEqual(exited.exception.code, 0)
        return output.getvalue()

    def test_version(self) -> None:
        """The version is ours, and not Twisted's."""
        self.assertEqual(self.printed("--version"), f"securechat {__version__}\n")

    def test_robots(self) -> None:
        """Each robot is listed with its options, in the order of their names."""
        lines = self.printed("--help-robots").splitlines()
        names = [line.partition(":")[0] for line in lines if not line.startswith(" ")]
        self.assertEqual(names, sorted(names))
        for name, maker in registry.BUILT_IN.items():
            self.assertIn(name, names)
            for option in options_of(maker.settings):
                self.assertIn(f"    -R {option.name}=…  {option.help}", lines)

    def test_help(self) -> None:
        """The help has every option with its help text, and those of twistd for plugins."""
        text = " ".join(self.printed("--help").split())
        self.assertIn("Put a chat robot on the network", text)
        for option in (*options_of(CommandLineSettings), *options_of(ServerSettings)):
            shown = option.description if option.is_flag else option.help
            self.assertRegex(text, rf"--{option.name}[= ] ?{re.escape(shown)}")
        for name in ("robot", "robot-option", "help-robots", "version", "help"):
            self.assertIn(f"--{name}", text)
        self.assertIn("-R, --robot-option=", text)

    def test_columns(self) -> None:
        """Lines are as long as the terminal is wide, which the shell says in COLUMNS."""
        for width in ("80", "100", "140"):
            with patch.dict(os.environ, COLUMNS=width):
                longest = max(map(columns, Options().getUsage().splitlines()))
            self.assertLessEqual(longest, int(width))
            self.assertGreater(longest, int(width) - 12)
        with patch.dict(os.environ):
            os.environ.pop("COLUMNS", None)
            self.assertEqual(Options().getUsage(), Options().getUsage(80))


class ConfigTests(SynchronousTestCase):
    """A configuration file, and the check of it."""

    def write(self, text: str) -> str:
        self.path = Path(self.mktemp()).absolute()
        self.path.write_text(text)
        return str(self.path)

    def parse(self, text: str, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(["--config", self.write(text), *arguments])
        return options

    def check(self, *arguments: str) -> tuple[object, str, str]:
        """Exit status of --check-config, and what it prints to standard output and error."""
        output, errors = StringIO(), StringIO()
        self.patch(sys, "stdout", output)
        self.patch(sys, "stderr", errors)
        with self.assertRaises(SystemExit) as exited:
            Options().parseOptions([*arguments, "--check-config"])
        return exited.exception.code, output.getvalue(), errors.getvalue()

    def test_precedence(self) -> None:
        """An option on the command line takes precedence over the file, and the file over the default."""
        options = self.parse("tick = 0.05\nwidth = 2\napi = true", "--width", "3")
        self.assertEqual(options.settings, replace(ServerSettings(), tick=0.05, width=3, api=True))
        self.assertEqual(options.robots, [("eliza", [])])

    def test_robots(self) -> None:
        """The robots of the file answer in its order, unless the command line has robots."""
        text = "[robot.turing]\n[robot.echo]"
        self.assertEqual([name for name, _table in self.parse(text).robots], ["turing", "echo"])
        self.assertEqual(self.parse(text, "--robot", "eliza").robots, [("eliza", [])])
        self.assertEqual(self.parse(text, "-R", "a=b").robots, [("eliza", ["a=b"])])

    def test_userLimits(self) -> None:
        """A user has the limits in a table of their own, and else those of all users, from the command line, too."""
        users = Path(self.mktemp()).absolute()
        users.write_text("")
        users.chmod(0o600)
        keys = f'authorized-keys = "{users}"\ncalls-per-day = 7\n'
        text = '[user.ann]\ntokens-per-day = 5\n[user."bob@laptop"]\ntokens-per-day = 0\nmax-replies = 2\n'
        limits = self.parse(keys + text, "--tokens-per-day", "9").user_limits
        found = {name: (own.tokens_per_day, own.calls_per_day, own.max_replies) for name, own in limits.items()}
        self.assertEqual(found, {"ann": (5, 7, 0), "bob@laptop": (0, 7, 2)})
        self.assertEqual(self.parse("").user_limits, {})
        state = f'state-dir = "{Path(self.mktemp()).absolute()}"\n'
        for text, words in (
            ("tokens-per-day = -1", "4: user.ann.tokens-per-day: expected a whole number from 0 to "),
            ("tokens-per-day = '5'", "4: user.ann.tokens-per-day: expected a whole number from 0 to "),
            ("tokens-per-dya = 5", "4: user.ann.tokens-per-dya: unknown key; did you mean tokens-per-day?"),
            ("max-sessions = 5", "4: user.ann.max-sessions: unknown key"),
        ):
            status, _output, errors = self.check(
                "--config", self.write(f'{state}authorized-keys = "{users}"\n[user.ann]\n{text}')
            )
            self.assertEqual(status, 2)
            self.assertTrue(errors.startswith(f"{self.path}:{words}"), errors)

    def test_userLimitsWithoutUsers(self) -> None:
        """Limits of single users are an error if there are no authorized users."""
        status, _output, errors = self.check("--config", self.write("tick = 0.1\n[user.ann]\nmax-replies = 1"))
        self.assertEqual((status, errors), (2, f"{self.path}:2: user: has no effect without authorized keys\n"))

    def test_contradiction(self) -> None:
        """A setting that another one forbids is located, if it is in the file."""
        error = self.assertRaises(UsageError, self.parse, "\nmax-message = 5000\nmax-buffered = 9999")
        problem = "expected at most an eighth of --max-buffered, 1249"
        self.assertEqual(str(error), f"{self.path}:2: max-message: {problem}")
        error = self.assertRaises(UsageError, self.parse, "max-buffered = 9999", "--max-message", "5000")
        self.assertEqual(str(error), f"--max-message: {problem}")

    def test_checked(self) -> None:
        """The check prints OK if the daemon could start; it creates no host key."""
        state = Path(self.mktemp()).absolute()
        text = f'state-dir = "{state}"\nlisten = ["tcp:1"]\nanyone = true\n[robot.echo]\n'
        self.assertEqual(self.check("--config", self.write(text)), (0, "OK\n", ""))
        self.assertFalse(state.exists())

    def test_mistakes(self) -> None:
        """Otherwise it prints the problem, with file, line and key if it is in the file, and exits with 2."""
        state = f'state-dir = "{Path(self.mktemp()).absolute()}"\n'
        for text, words in (
            ("tick = 5", "{path}:2: tick: expected a number from 0.01 to 0.25"),
            ("[robot.marvin]", "{path}:2: robot.marvin: unknown robot marvin; expected one of echo, "),
            ("[robot.echo]\nx = 1", "{path}:3: robot.echo.x: unknown key"),
            ("[robot.turing]\nkey-file = '/nonexistent'", "{path}:2: robot.turing: /nonexistent: No such file"),
            ("authorized-keys = '/nonexistent'", "/nonexistent: No such file"),
            ("host-key = '/dev/null'", "/dev/null: not a regular file"),
            ("listen = ['nonsense:1']", "--listen nonsense:1: "),
            ("listen = ['tcp:1']", "--listen tcp:1: open to everyone who can reach it; use "),
        ):
            status, output, errors = self.check("--config", self.write(state + text))
            self.assertEqual((status, output), (2, ""))
            self.assertTrue(errors.startswith(words.format(path=self.path)), errors)
            self.assertEqual(errors.count("\n"), 1)

    def test_missing(self) -> None:
        """A file that does not exist is named."""
        self.assertEqual(self.check("--config", "/nonexistent"), (2, "", "/nonexistent: No such file or directory\n"))

    def test_options(self) -> None:
        """Options without a file can be checked as well; a wrong one is an error as always."""
        state = self.mktemp()
        self.assertEqual(self.check("--state-dir", state)[0], 0)
        self.assertEqual(self.check("--state-dir", state, "--robot", "marvin")[0], 2)


class StateDirectoryTests(SynchronousTestCase):
    """Where the host key is, unless an option says so."""

    def test_default(self) -> None:
        """root's daemon keeps it in /var/lib, that of any other user in the user's own directory."""
        self.patch(os, "geteuid", lambda: 0)
        self.assertEqual(ServerSettings().state_dir, Path("/var/lib/securechat"))
        self.assertEqual(ServerSettings().state_dir, ROOT_STATE_DIR)
        self.patch(os, "geteuid", lambda: 1000)
        environ = {name: value for name, value in os.environ.items() if name != "XDG_STATE_HOME"}
        with patch.dict(os.environ, {**environ, "HOME": "/home/ann"}, clear=True):
            path = ServerSettings().state_dir.relative_to("/home/ann")
        self.assertEqual(path.name, "securechat")
        if sys.platform == "linux":
            self.assertEqual(path, Path(".local/state/securechat"))


class ServiceTests(SynchronousTestCase):
    """What the daemon is made of."""

    def setUp(self) -> None:
        self.addCleanup(os.umask, os.umask(0o022))
        self.far = PuppetMaker("far-one", FarSettings)
        self.patch(registry, "BUILT_IN", {**registry.BUILT_IN, "far-one": self.far})

    def make(self, *arguments: str) -> ChatServerFactory:
        """The factory of a daemon's service; nothing listens."""
        options = Options()
        options.parseOptions(["--state-dir", self.mktemp(), *arguments])
        service = cast(MultiService, makeService(options))
        return cast(ChatServerFactory, cast(Any, service.services[0]).factory)

    def test_reactor(self) -> None:
        """The daemon and its robots have timers that do not follow the wall clock, and the same ones."""
        reactors: list[object] = []
        make = self.far.makeRobot

        def note(reactor: object, settings: Any, key: str | None) -> Any:
            reactors.append(reactor)
            return make(reactor, settings, key)

        self.patch(self.far, "makeRobot", note)
        factory = self.make("--robot", "far-one")
        self.assertIsInstance(factory.clock, MonotonicReactor)
        self.assertEqual(reactors, [factory.clock])

    def test_robots(self) -> None:
        """A robot has its options and its key, which comes from the environment."""
        with patch.dict(os.environ, SECURECHAT_FAR_ONE_KEY="secret"):
            self.make("--robot", "far-one", "-R", "url=x", "--robot", "eliza")
        self.assertEqual(self.far.made, [(FarSettings(url="x"), "secret")])

    def test_everyone(self) -> None:
        """Without a file of keys, a key is optional and any is accepted."""
        identity = self.make().identity
        self.assertIs(identity.client_auth, ClientAuth.OPTIONAL)
        self.assertTrue(identity.is_authorized(USER_KEY.blob))

    def test_authorizedKeys(self) -> None:
        """With one, a key is required, and those of others are refused."""
        path = Path(self.mktemp())
        path.write_text(keys.public_line(USER_KEY.blob, "alice") + "\n")
        identity = self.make("--authorized-keys", str(path)).identity
        self.assertIs(identity.client_auth, ClientAuth.REQUIRED)
        self.assertTrue(identity.is_authorized(USER_KEY.blob))
        self.assertFalse(identity.is_authorized(keys.SigningKey.generate().blob))

    def test_umask(self) -> None:
        """Files that the daemon creates, its log among them, are its user's only."""
        self.make()
        self.assertEqual(os.umask(0o022), 0o077)

    def test_wrongEndpoints(self) -> None:
        """Whatever is wrong with an endpoint, the daemon says so in one line."""
        for endpoint in ("tcp", "tcp:x", "tcp:1:colour=red", "ssl:1:privateKey=/nonexistent", "nonsense:1", ""):
            error = self.assertRaises(StartError, self.make, "--listen", endpoint)
            self.assertRegex(str(error), rf"^securechat: --listen {endpoint}: .")
            self.assertNotIn("\n", str(error))

    def test_suites(self) -> None:
        """A client's suite is refused if it is not one of those that were named."""
        identity = self.make("--suites", "rsa2048-fernet").identity
        hello = ClientHandshake(PQ, ephemeral_key(PQ), NAME, accept).hello()
        error = self.assertRaises(RemoteProtocolError, ServerHandshake(identity, {NAME}).receive_hello, hello)
        self.assertIs(error.category, Category.SUITE)

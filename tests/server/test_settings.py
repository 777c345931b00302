"""The daemon's options: how they become its settings, and what the daemon makes of them."""

import os
from pathlib import Path
from typing import Any, cast

from msgspec.structs import asdict, replace
from twisted.application.service import MultiService
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from securechat.server.factory import ChatServerFactory
from securechat.server.service import StartError
from securechat.server.settings import LogFormat, ServerSettings
from securechat.server.startup import PublicEndpoint
from securechat.server.users import Anyone, AuthorizedUsers
from securechat.settings import options_of
from securechat.ssh import keys
from securechat.ssh.private_keys import load_private_key
from securechat.tap import Options, makeService
from securechat.wire.shaping import Shaping
from securechat.wire.suites import MLKEM768X25519, RSA2048Fernet
from tests.harness.pair import USER_KEY
from tests.harness.ssh import make_key
from tests.server.test_protocol import ServerTestCase, Session

DEFAULTS = {
    "listen": ("tcp:8080:interface=127.0.0.1",),
    "proxy_from": ("127.0.0.0/8", "::1/128"),
    "names": (),
    "host_key": None,
    "next_host_key": None,
    "authorized_keys": None,
    "authorized_keys_command": None,
    "revoked_keys": None,
    "anyone": False,
    "suites": (MLKEM768X25519.name, RSA2048Fernet.name),
    "shaping": Shaping.REPLY,
    "tick": 0.1,
    "width": 1,
    "max_message": None,
    "max_buffered": 256 * 1024 * 1024,
    "max_reply": None,
    "history_turns": 40,
    "history_bytes": 65536,
    "max_sessions": 1000,
    "max_sessions_per_user": 16,
    "max_sessions_per_source": 16,
    "idle_timeout": 3600.0,
    "max_handshakes": 500,
    "max_handshakes_per_source": 4,
    "handshake_rate": 2.0,
    "handshake_burst": 10,
    "message_rate": 1.0,
    "message_burst": 20,
    "api": False,
    "call_rate": 5.0,
    "call_burst": 50,
    "hello_timeout": 5.0,
    "proof_timeout": 30.0,
    "drain": 60.0,
    "ledger": None,
    "ledger_password_file": None,
    "usage_days": 400,
    "allow_root": False,
    "log_format": LogFormat.TEXT,
    "metrics": None,
    "metrics_users": False,
    "metrics_public": False,
    "control": None,
    "log_text": False,
    "messages_per_minute": 0,
    "messages_per_day": 0,
    "calls_per_minute": 0,
    "calls_per_day": 0,
    "tokens_per_day": 0,
    "max_replies": 0,
}

# For each setting, an option that changes it, and to what.
OPTIONS: dict[str, tuple[str, Any]] = {
    "listen": ("--listen=tcp:1", ("tcp:1",)),
    "proxy_from": ("--proxy-from=10.0.0.1,fd00::/8", ("10.0.0.1/32", "fd00::/8")),
    "names": ("--name=[Chat.Example.org]:80", ("[chat.example.org]:80",)),
    "state_dir": ("--state-dir=/a", Path("/a")),
    "host_key": ("--host-key=/b", Path("/b")),
    "next_host_key": ("--next-host-key=/b", Path("/b")),
    "authorized_keys": ("--authorized-keys=/c", Path("/c")),
    "authorized_keys_command": ("--authorized-keys-command=/e %k", "/e %k"),
    "revoked_keys": ("--revoked-keys=/d", Path("/d")),
    "anyone": ("--anyone", True),
    "suites": ("--suites=rsa2048-fernet", (RSA2048Fernet.name,)),
    "shaping": ("--shaping=off", Shaping.OFF),
    "tick": ("--tick=0.25", 0.25),
    "width": ("--width=64", 64),
    "max_message": ("--max-message=4096", 4096),
    "max_buffered": ("--max-buffered=8388608", 8388608),
    "max_reply": ("--max-reply=1", 1),
    "history_turns": ("--history-turns=2", 2),
    "history_bytes": ("--history-bytes=3", 3),
    "max_sessions": ("--max-sessions=4", 4),
    "max_sessions_per_user": ("--max-sessions-per-user=3", 3),
    "max_sessions_per_source": ("--max-sessions-per-source=5", 5),
    "idle_timeout": ("--idle-timeout=0", 0.0),
    "max_handshakes": ("--max-handshakes=6", 6),
    "max_handshakes_per_source": ("--max-handshakes-per-source=7", 7),
    "handshake_rate": ("--handshake-rate=0.7", 0.7),
    "handshake_burst": ("--handshake-burst=8", 8),
    "message_rate": ("--message-rate=0.5", 0.5),
    "message_burst": ("--message-burst=11", 11),
    "api": ("--api", True),
    "call_rate": ("--call-rate=0.6", 0.6),
    "call_burst": ("--call-burst=12", 12),
    "hello_timeout": ("--hello-timeout=9.5", 9.5),
    "proof_timeout": ("--proof-timeout=0.1", 0.1),
    "drain": ("--drain=0", 0.0),
    "ledger": ("--ledger=postgresql://a@b/c", "postgresql://a@b/c"),
    "ledger_password_file": ("--ledger-password-file=/f", Path("/f")),
    "usage_days": ("--usage-days=13", 13),
    "allow_root": ("--allow-root", True),
    "log_format": ("--log-format=json", LogFormat.JSON),
    "metrics": ("--metrics=unix:metrics", "unix:metrics"),
    "metrics_users": ("--metrics-users", True),
    "metrics_public": ("--metrics-public", True),
    "control": ("--control=/run/control", Path("/run/control")),
    "log_text": ("--log-text", True),
    "messages_per_minute": ("--messages-per-minute=14", 14),
    "messages_per_day": ("--messages-per-day=15", 15),
    "calls_per_minute": ("--calls-per-minute=16", 16),
    "calls_per_day": ("--calls-per-day=17", 17),
    "tokens_per_day": ("--tokens-per-day=18", 18),
    "max_replies": ("--max-replies=19", 19),
}

NEEDED = {"revoked_keys": ("authorized_keys",), "ledger_password_file": ("ledger",)}  # without which it is refused


def parse(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(arguments)
    return options


class CommandLineTests(SynchronousTestCase):
    """From a command line to settings."""

    def test_defaults(self) -> None:
        """Without options the daemon is for this machine only, and Eliza answers."""
        options = parse()
        settings = asdict(options.settings)
        settings.pop("state_dir")  # which differs from machine to machine
        self.assertEqual(settings, DEFAULTS)
        self.assertEqual(options.robots, [("eliza", [])])

    def test_eachOption(self) -> None:
        """Each option changes its own setting, and no other."""
        self.assertEqual({option.attribute for option in options_of(ServerSettings)}, OPTIONS.keys())
        for name, (argument, value) in OPTIONS.items():
            needs = NEEDED.get(name, ())
            settings = parse(*(OPTIONS[other][0] for other in needs), argument).settings
            changed = {other: OPTIONS[other][1] for other in (*needs, name)}
            self.assertEqual(settings, replace(ServerSettings(), **changed), argument)
            self.assertIs(type(getattr(settings, name)), type(value), argument)

    def test_limits(self) -> None:
        """Requests of tools and the responses to them may be longer than what a person writes or reads."""
        text, api = 1024 * 1024, 16 * 1024 * 1024
        for arguments, expected in (
            ((), (text, text, api)),
            (("--api",), (api, text, api)),
            (("--api", "--max-message", "5000", "--max-reply", "7"), (5000, 7, 7)),
        ):
            settings = parse(*arguments).settings
            limits = (settings.message_limit, settings.reply_limit, settings.response_limit)
            self.assertEqual(limits, expected, arguments)

    def test_repeated(self) -> None:
        """Endpoints and names add up; suites are a list with commas."""
        settings = parse(
            *("--listen", "tcp:1", "--listen", "tcp:2", "--name", "[a]:1", "--name", "[::1]:2"),
            *("--suites", "rsa2048-fernet,mlkem768x25519-chacha20poly1305"),
        ).settings
        self.assertEqual(settings.listen, ("tcp:1", "tcp:2"))
        self.assertEqual(settings.names, ("[a]:1", "[::1]:2"))
        self.assertEqual(settings.suites, (RSA2048Fernet.name, MLKEM768X25519.name))

    def test_robots(self) -> None:
        """An option of a robot belongs to the robot before it, or to the default robot."""
        self.assertEqual(parse("-R", "a=b").robots, [("eliza", ["a=b"])])
        options = parse("--robot", "turing", "-R", "a=b", "-R", "c=d", "--robot", "echo", "--robot-option", "e=f")
        self.assertEqual(options.robots, [("turing", ["a=b", "c=d"]), ("echo", ["e=f"])])

    def test_wrong(self) -> None:
        """A value that does not fit is refused with its option and with what was expected."""
        for words, *arguments in (
            ("--tick 5: expected a number from 0.01 to 0.25", "--tick", "5"),
            ("--max-sessions many: expected a whole number from 1 to 1000000000", "--max-sessions", "many"),
            ("--hello-timeout 0: expected a number above 0, at most 1000000000", "--hello-timeout", "0"),
            ("--shaping fast: expected reply, constant or off", "--shaping", "fast"),
            (
                "--suites rot13: expected mlkem768x25519-chacha20poly1305 or rsa2048-fernet",
                *("--suites", "rsa2048-fernet,rot13"),
            ),
            *(
                (f"--name {name}: expected [HOST]:PORT, for example [chat.example.org]:8080", "--name", name)
                for name in ("chat.example.org", "[a]:0", "[a]:65536", "[a b]:80", "[a]:", "a:80", "")
            ),
            ("--listen: a UNIX socket has no host name: use --name [HOST]:PORT", "--listen", "unix:/tmp/socket"),
            (
                "--revoked-keys: has no effect without authorized keys: anyone can make another key",
                *("--revoked-keys", "/x"),
            ),
            ("--ledger-password-file: has no effect without --ledger", "--ledger-password-file", "/x"),
            *(
                ("--ledger …: expected a URI such as postgresql://USER@HOST/DATABASE", "--ledger", uri)
                for uri in ("", "mysql://a/b", "postgresql:a", "host=a dbname=b", "postgresql://[a/b")
            ),
            *(
                (
                    "--ledger …: expected a URI without a password; use --ledger-password-file or passfile=FILE",
                    *("--ledger", uri),
                )
                for uri in (
                    "postgresql://a:secret@b/c",
                    "postgresql://a:secret@b:1,c:2/d",
                    "postgres://b/c?user=a&password=secret",
                    "postgresql://b/c?pass%77ord=secret",
                    "postgresql://b/c?sslpassword=secret",
                )
            ),
            (
                "--max-message: expected at most an eighth of --max-buffered, 4096",
                *("--max-message", "4097", "--max-buffered", "32775"),
            ),
        ):
            self.assertEqual(str(self.assertRaises(UsageError, parse, *arguments)), words)

    def test_unixSocket(self) -> None:
        """With a name a UNIX socket is an endpoint like any other."""
        self.assertEqual(parse("--listen", "unix:/x", "--name", "[a]:1").settings.listen, ("unix:/x",))


class ServiceTests(SynchronousTestCase):
    """From settings to the daemon."""

    def make(self, *arguments: str) -> ChatServerFactory:
        """The factory of a daemon's service; nothing listens."""
        self.state_dir = Path(self.mktemp())
        self.addCleanup(os.umask, os.umask(0o022))
        self.options = parse("--state-dir", str(self.state_dir), *arguments)
        self.service = cast(MultiService, makeService(self.options))
        return cast(ChatServerFactory, cast(Any, self.service.services[0]).factory)

    def test_default(self) -> None:
        """A host key is made in the state directory; everyone is admitted, with every suite."""
        factory = self.make()
        self.assertIs(factory.settings, self.options.settings)
        host_key = load_private_key(self.state_dir / "ssh_host_ed25519_key")
        self.assertEqual(factory.identity.host_key.blob, host_key.blob)
        self.assertEqual(tuple(factory.identity.suites), DEFAULTS["suites"])
        self.assertIsInstance(factory.users, Anyone)
        self.assertIsInstance(cast(Any, self.service.services[0]).endpoint, PublicEndpoint)
        self.assertEqual((factory.robot.name, len(self.service.services)), ("eliza", 1))

    def test_files(self) -> None:
        """The host key and the authorized keys are those of the files."""
        host_key, authorized = make_key(Path(self.mktemp())), Path(self.mktemp())
        authorized.write_text(keys.public_line(USER_KEY.blob, "alice") + "\n")
        factory = self.make("--host-key", str(host_key), "--authorized-keys", str(authorized))
        self.assertFalse(self.state_dir.exists())
        self.assertEqual(factory.identity.host_key.blob, load_private_key(host_key).blob)
        self.assertIsInstance(factory.users, AuthorizedUsers)
        self.assertEqual(factory.users.name_of(USER_KEY.blob), "alice")
        self.assertTrue(factory.identity.is_authorized(USER_KEY.blob, None))
        self.assertNotIsInstance(cast(Any, self.service.services[0]).endpoint, PublicEndpoint)

    def test_rest(self) -> None:
        """Suites that were not named are not allowed; each endpoint has its service; robots are made."""
        factory = self.make("--suites=rsa2048-fernet", "--listen=tcp:1", "--listen=tcp:2", "--robot=echo", "--anyone")
        self.assertEqual(list(factory.identity.suites), [RSA2048Fernet.name])
        self.assertEqual((factory.robot.name, len(self.service.services)), ("echo", 2))

    def test_wrong(self) -> None:
        """What cannot be used is named in one line."""
        for words, *arguments in (
            ("securechat: --listen nonsense: ", "--listen", "nonsense"),
            *(
                (f"--listen systemd:domain=INET:{which}: systemd passed no such socket", "--listen", endpoint)
                for which in ("index=0", "name=chat")
                for endpoint in (f"systemd:domain=INET:{which}",)
            ),
            (
                "securechat: --listen tcp:8080: open to everyone who can reach it; use --authorized-keys FILE, "
                "or --anyone to admit everyone",
                *("--listen", "tcp:8080"),
            ),
            ("securechat: /nonexistent", "--authorized-keys", "/nonexistent"),
            ("securechat: unknown robot marvin; expected one of echo, ", "--robot", "marvin"),
        ):
            self.assertIn(words, str(self.assertRaises(StartError, self.make, *arguments)))


class EffectTests(ServerTestCase):
    """What settings do in a session. Those of admission and of the pace have tests of their own."""

    def test_tick(self) -> None:
        """A tick is rounded to whole milliseconds, of which clients are told."""
        for tick, milliseconds in ((0.1, 100), (0.0159, 16), (0.029, 29), (0.25, 250)):
            self.assertEqual(self.make_factory(tick=tick).about("").tick, milliseconds)

    def test_helloTimeout(self) -> None:
        """A client has so many seconds to send its Hello."""
        self.factory = self.make_factory(hello_timeout=2.0, proof_timeout=7.0)
        session = Session(self.factory)
        self.clock.advance(1.9)
        self.assertFalse(session.wire.aborted)
        self.clock.advance(0.2)
        self.assertTrue(session.wire.aborted)

    def test_proofTimeout(self) -> None:
        """And so many to authenticate."""
        self.factory = self.make_factory(hello_timeout=2.0, proof_timeout=7.0)
        session = Session(self.factory)
        session.server.dataReceived(session.client.data_to_send())
        self.clock.advance(6.9)
        self.assertFalse(session.wire.aborted)
        self.clock.advance(0.2)
        self.assertTrue(session.wire.aborted)

    def test_history(self) -> None:
        """The robot is told so many turns, of so many bytes, that came before."""
        self.robot.echo = True
        for settings, told in (
            ({"history_turns": 2}, ["2", "2", "3"]),
            ({"history_bytes": 3}, ["2", "2", "3"]),
            ({}, ["1", "1", "2", "2", "3"]),
        ):
            self.factory = self.make_factory(**cast(Any, settings))
            session = Session(self.factory).open()
            for text in ("1", "2", "3"):
                session.say(text)
            self.assertEqual(self.robot.turns[-1], told)
            session.lose()

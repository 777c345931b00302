"""--authorized-keys-command: the program, and clients that wait for it."""

import os
import shlex
from base64 import b64encode
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat.errors import ConfigurationError
from securechat.server import keys_command
from securechat.server.keys_command import MAX_PROGRAMS, KeysCommand, check_program
from securechat.server.users import AuthorizedUsers, CommandUsers, UnlessRevoked
from securechat.ssh import keys
from securechat.ssh.authorized_keys import Entry
from securechat.ssh.certificates import Certificate
from securechat.ssh.key_options import parse_options
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.messages import Reason
from tests.harness.certificates import CA, certificate
from tests.harness.pair import USER_KEY, identity
from tests.server.test_protocol import ServerTestCase, Session

reactor: Any = installed

LINE = keys.public_line(USER_KEY.blob, "alice")
STRANGER = keys.SigningKey.generate()


def shell(script: str, *arguments: str) -> str:
    """A command that runs a script: the shell is one that nobody else can replace."""
    return shlex.join(("/bin/sh", "-c", script, "sh", *arguments))


class ProgramTests(TestCase):
    """A real program."""

    timeout = 60

    def setUp(self) -> None:
        self.lines: list[str] = []

        def observe(event: Any) -> None:
            if event.get("log_format", "").startswith("authorized-keys-command"):
                self.lines.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(cast(ILogObserver, observe))
        self.addCleanup(globalLogPublisher.removeObserver, cast(ILogObserver, observe))

    def tearDown(self) -> None:
        # From 3.12 on, Python warns of any fork beside other threads. Twisted calls only exec in the child.
        texts = [str(warning["message"]) for warning in self.flushWarnings()]
        self.assertEqual([text for text in texts if "multi-threaded, use of fork" not in text], [])

    async def look_up(self, command: str, key: keys.SigningKey = USER_KEY) -> Entry | None:
        return await KeysCommand(command, reactor).look_up(key.blob)

    async def test_found(self) -> None:
        """A key that the program prints is that of a user, with its options; one that it does not print is not."""
        command = shell(f"echo '# team'; echo '{keys.public_line(STRANGER.blob)}'; echo 'from=\"::1\" {LINE}'")
        found = await self.look_up(command)
        assert found is not None
        self.assertEqual(found.user, "alice")
        self.assertFalse(found.options.allow("192.0.2.1", 0))
        self.assertIsNone(await self.look_up(command, keys.SigningKey.generate()))
        self.assertEqual(self.lines, [])

    async def test_arguments(self) -> None:
        """The key is passed as sshd's tokens say, and no shell looks at it."""
        encoded = b64encode(USER_KEY.blob).decode()
        for arguments, expected in (
            (("%t", "%k", "bob"), f"ssh-ed25519 {encoded} bob"),
            (
                ("ssh-ed25519", "%k", "%f|%%k|%x|%|$(id)"),
                f"ssh-ed25519 {encoded} {keys.fingerprint(USER_KEY.blob)}|%k|%x|%|$(id)",
            ),
        ):
            found = await self.look_up(shell('echo "$1 $2 $3"', *arguments))
            self.assertEqual(found and found.user, expected.split(" ", 2)[2])
        found = await self.look_up("/bin/echo")
        self.assertEqual(found and found.user, keys.fingerprint(USER_KEY.blob))

    async def test_certificate(self) -> None:
        """A certificate is passed in place of its key, with the key's fingerprint, and authorities count."""
        shown = certificate(USER_KEY, b"chat")
        encoded = b64encode(shown.blob).decode()
        expected = f"ssh-ed25519-cert-v01@openssh.com {encoded} {keys.fingerprint(USER_KEY.blob)}"
        line = f'cert-authority,principals="chat" {keys.public_line(CA.blob)}'
        script = f"""test "$1 $2 $3" = '{expected}' && echo '{line}'"""
        found = await KeysCommand(shell(script, "%t", "%k", "%f"), reactor).look_up(USER_KEY.blob, shown)
        self.assertEqual(found, Entry("alice@laptop", parse_options('cert-authority,principals="chat"'), shown))
        self.assertEqual(self.lines, [])

    async def test_environment(self) -> None:
        """The program sees nothing of the daemon's environment, in which there may be keys."""
        self.patch(os, "environ", {**os.environ, "SECURECHAT_ROBOT_KEY": "hush"})
        found = await self.look_up(shell(f"echo '{LINE}' \"$PWD:$SECURECHAT_ROBOT_KEY:$LC_ALL\""))
        self.assertEqual(found and found.user, "alice /::C")

    async def test_failures(self) -> None:
        """A program that fails, prints too much or a wrong line, refuses the key, and the log says why."""
        self.patch(keys_command, "MAX_OUTPUT", 1000)
        for script, words in (
            (f"echo '{LINE}'; exit 3", "it exited with status 3"),
            (f"echo '{LINE}'; kill -9 $$", "a signal ended it"),
            (f"echo '{LINE}'; echo nonsense", "/bin/sh:2: not a valid ssh-ed25519 public key"),
            (f"echo '{LINE}'; while :; do echo '#'; done", "its output is larger than 1000 bytes"),
        ):
            self.assertIsNone(await self.look_up(shell(script)))
            self.assertIn(words, self.lines[-1])
            self.assertTrue(self.lines[-1].endswith("; refusing the key"))

    async def test_timeLimit(self) -> None:
        """A program that does not end in time refuses the key, and is killed."""
        self.patch(keys_command, "TIME_LIMIT", 0.2)
        self.assertIsNone(await self.look_up(shell(f"echo '{LINE}'; exec sleep 1000")))
        self.assertIn("it did not exit within 0.2 seconds", self.lines[-1])

    async def test_cancel(self) -> None:
        """A client that leaves ends its program."""
        path = Path(self.mktemp()).absolute()
        asked = KeysCommand(shell(f"echo $$ > '{path}'; exec sleep 1000"), reactor).look_up(USER_KEY.blob)
        while not path.exists() or not path.read_text():
            await keys_deferred()
        asked.cancel()
        await self.assertFailure(asked, CancelledError)
        number = int(path.read_text())
        while Path(f"/proc/{number}/cmdline").exists() and Path(f"/proc/{number}/cmdline").read_bytes():
            await keys_deferred()
        self.assertEqual(self.lines, [])


def keys_deferred() -> Deferred[None]:
    """Fires a few milliseconds later."""
    later: Deferred[None] = Deferred()
    reactor.callLater(0.005, later.callback, None)
    return later


class CheckTests(SynchronousTestCase):
    """Programs that are not run."""

    def test_unsafe(self) -> None:
        """A program that others can replace is refused, and so is what is not a program."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        program = directory / "keys"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        directory.chmod(0o777)
        self.assertIn(f"{directory}: only root and", str(self.assertRaises(ConfigurationError, check_program, program)))
        directory.chmod(0o755)
        program.chmod(0o775)
        self.assertIn(f"{program}: only root and", str(self.assertRaises(ConfigurationError, check_program, program)))
        program.chmod(0o644)
        for path, words in (
            (program, "not an executable file"),
            (directory, "not an executable file"),
            (directory / "none", "No such file or directory"),
            (Path("keys"), "expected an absolute path"),
        ):
            self.assertIn(words, str(self.assertRaises(ConfigurationError, check_program, path)))
        self.assertRaises(ConfigurationError, KeysCommand, "", cast(Any, None))
        self.assertRaises(ConfigurationError, KeysCommand, '/bin/sh "', cast(Any, None))
        check_program(Path("/bin/sh"))

    def test_places(self) -> None:
        """A few programs run at the same time; further clients wait for their turn."""
        started: list[object] = []

        class Reactor(Clock):
            def spawnProcess(self, *arguments: object) -> None:
                started.append(arguments)

        command = KeysCommand("/bin/sh", cast(Any, cast(IReactorProcess, Reactor())))
        for _ in range(MAX_PROGRAMS + 3):
            command.look_up(USER_KEY.blob)
        self.assertEqual(len(started), MAX_PROGRAMS)


class FakeCommand:
    """Answers when a test says so."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Entry | None]] = []
        self.cancelled = 0

    def look_up(self, blob: bytes, certificate: Certificate | None) -> Deferred[Entry | None]:
        self.asked.append(Deferred(lambda _asked: setattr(self, "cancelled", self.cancelled + 1)))
        return self.asked[-1]


class WaitingTests(ServerTestCase):
    """Clients whose key is looked up."""

    def setUp(self) -> None:
        super().setUp()
        self.command = FakeCommand()
        self.revoked = Path(self.mktemp())
        self.revoked.write_text("")
        self.revoked.chmod(0o600)
        self.use(None)

    def use(self, file: AuthorizedUsers | None) -> None:
        inner = CommandUsers(cast(KeysCommand, self.command), file, self.clock.seconds)
        self.users = UnlessRevoked(inner, self.revoked)
        self.factory = self.make_factory(client_auth=self.users.client_auth, users=self.users)
        self.factory.identity = identity(self.users.client_auth, self.users.is_authorized)

    def wait(self) -> Session:
        """A client that has proved its key."""
        session = Session(self.factory, user_key=USER_KEY)
        session.pump()
        self.assertFalse(session.wire.aborted)
        session.events.clear()
        self.assertEqual(session.wire.producerState, "paused")
        return session

    def test_found(self) -> None:
        """A client whose key is found is admitted by the name in its line, and its session goes on at a reload."""
        session = self.wait()
        self.command.asked[0].callback(Entry("alice", parse_options('expiry-time="20300101Z"')))
        session.pump()
        [event] = session.events
        assert isinstance(event, Admitted)
        self.assertEqual(event.user, "alice")
        self.assertEqual(session.wire.producerState, "producing")
        self.factory.drop_unauthorized()
        session.pump()
        self.assertEqual(session.events, [event])
        session.say("hi")
        self.assertEqual(self.robot.turns[-1], ["hi"])
        self.revoked.write_text(keys.fingerprint(USER_KEY.blob))
        self.users.reload()
        self.factory.drop_unauthorized()
        session.pump()
        self.assertEqual(session.events[-1], GoodbyeReceived(Reason.KEY_WITHDRAWN, 0))

    def test_notFound(self) -> None:
        """One whose key is not found, may not be used here or was revoked in the meantime is refused."""
        for found in (None, Entry("alice", parse_options('from="192.0.2.99"'))):
            session = self.wait()
            self.command.asked[-1].callback(found)
            self.assertTrue(session.wire.aborted)
            self.assertLogged(r"aborted \(user-key\)")
            session.lose()
        session = self.wait()
        self.revoked.write_text(LINE)
        self.users.reload()
        self.command.asked[-1].callback(Entry("alice", parse_options('from="*"')))
        self.assertTrue(session.wire.aborted)

    def test_revoked(self) -> None:
        """The command is not asked about a revoked key."""
        self.revoked.write_text(LINE)
        session = Session(self.factory, user_key=USER_KEY)
        session.pump()
        self.assertTrue(session.wire.aborted)
        self.assertEqual(self.command.asked, [])

    def test_listed(self) -> None:
        """Nor about a key that is in the file."""
        path = Path(self.mktemp())
        path.write_text(LINE)
        path.chmod(0o600)
        self.use(AuthorizedUsers(path))
        session = Session(self.factory, user_key=USER_KEY).open()
        self.assertEqual(self.command.asked, [])
        self.assertEqual(self.users.name_of(USER_KEY.blob), "alice")
        self.users.load()
        path.write_text("")
        self.users.reload()
        self.factory.drop_unauthorized()
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.KEY_WITHDRAWN, 0)])
        path.unlink()
        self.users.reload()
        self.assertIn("No such file", self.users.problem)

    def test_end(self) -> None:
        """A connection that ends, is evicted or takes too long ends the look-up, and nothing comes of it."""
        for end in (Session.lose, lambda session: session.server.evict(), lambda session: self.clock.advance(31)):
            session = self.wait()
            before = self.command.cancelled
            end(session)
            self.assertEqual(self.command.cancelled, before + 1)
            self.assertEqual(session.events, [])
            if not session.wire.aborted:
                continue
            session.lose()
        self.assertEqual(self.users.name_of(USER_KEY.blob), keys.fingerprint(USER_KEY.blob))
        self.assertEqual(self.users.problem, "")
        self.users.load()

"""A run of the client with a reactor in memory: options, host keys, exit codes, and what is left behind."""

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import DNSLookupError
from twisted.internet.error import TimeoutError as TimedOut
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.destination import Destination
from securechat.client.exit_codes import ExitCode
from securechat.client.run import run
from securechat.client.settings import ClientSettings
from securechat.robots.interface import IRobot
from securechat.server.protocol import ChatServerFactory
from securechat.server.settings import ServerSettings
from securechat.server.users import Anyone
from securechat.ssh import keys
from securechat.ssh.encoding import string
from securechat.wire.handshake import ServerIdentity
from securechat.wire.messages import ClientAuth
from securechat.wire.shaping import Shaping
from securechat.wire.suites import SUITES, RSA2048Fernet
from tests.harness.client_reactor import ClientReactor
from tests.harness.pair import HOST_KEY, USER_KEY
from tests.harness.robot import PuppetRobot
from tests.harness.ssh import make_key

DESTINATION = Destination("127.0.0.1", 8080)
NAME = DESTINATION.name
OTHER_KEY = keys.SigningKey.generate()
LINE = f"{NAME} {keys.public_line(HOST_KEY.blob)}\n"
ENVIRON = {"SSH_AUTH_SOCK": "/agent"}


class Keyboard(io.StringIO):
    """A terminal on which a user has typed something; `reading` is called before he does."""

    reading: Callable[[], object] = staticmethod(lambda: None)

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:
        self.reading()
        return super().readline(-1)


class RunTestCase(SynchronousTestCase):
    """Runs of the client, and servers to which a test connects it."""

    def setUp(self) -> None:
        self.reactor = ClientReactor()
        self.robot = PuppetRobot(echo=True)
        self.known_hosts = Path(self.mktemp())
        self.settings = ClientSettings(destination=DESTINATION, known_hosts=self.known_hosts, messages=("hi",))
        self.factories: list[ChatServerFactory] = []
        self.errors, self.output = io.StringIO(), io.StringIO()
        self.use_streams(io.StringIO(), self.output, self.errors)

    def tearDown(self) -> None:
        for factory in self.factories:
            for session in list(factory.sessions):
                session.connectionLost()

    def use_streams(self, stdin: object, stdout: object, stderr: object) -> None:
        for name, stream in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
            self.patch(sys, name, stream)

    def use_terminal(self, typed: str) -> Keyboard:
        """Standard input and standard error are a terminal on which the user types."""
        keyboard, self.errors = Keyboard(typed), Keyboard()
        self.use_streams(keyboard, self.output, self.errors)
        return keyboard

    def know_the_host(self) -> None:
        self.known_hosts.write_text(LINE)

    def start(self, **options: object) -> "Deferred[ExitCode]":
        """Start a run with these settings."""
        settings = replace(self.settings, **options)
        return Deferred.fromCoroutine(run(cast(Any, self.reactor), settings, ENVIRON))

    def accept(
        self, host_key: keys.SigningKey = HOST_KEY, client_auth: ClientAuth = ClientAuth.OPTIONAL, name: str = NAME
    ) -> IOPump:
        """Accept the last connection of the client, as a server with this key; nothing is carried yet."""
        factory = ChatServerFactory(
            ServerSettings(names=(name,), shaping=Shaping.OFF),
            ServerIdentity(host_key, SUITES, client_auth, lambda blob: True),
            Anyone(),
            cast(IRobot, self.robot),
            self.reactor,
            self.reactor.seconds,
        )
        self.factories.append(factory)
        server = factory.buildProtocol(FakeTransport(None, True).getPeer())
        assert server is not None
        client = self.reactor.tcpClients[-1][2].buildProtocol(None)
        self.client_end, self.server_end = FakeTransport(client, False), FakeTransport(server, True)
        return connect(server, self.server_end, client, self.client_end, greet=False)

    def assertExits(self, done: "Deferred[ExitCode]", code: int, output: str, *words: str) -> None:
        """The run has ended with this code, output and, on standard error, words; no timer of the client is left."""
        self.assertEqual((self.successResultOf(done), self.output.getvalue()), (code, output), self.errors.getvalue())
        for word in words:
            self.assertIn(word, self.errors.getvalue())
        for factory in self.factories:
            for session in list(factory.sessions):
                session.connectionLost()
        left = [call for call in self.reactor.getDelayedCalls() if "server" not in getattr(call.func, "__module__", "")]
        self.assertEqual([str(call) for call in left], [])

    def fail_connection(self, error: Exception) -> None:
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(error))
        self.reactor.advance(1)  # until then Twisted would try a further address


class SessionTests(RunTestCase):
    """Runs that reach the server."""

    def test_known(self) -> None:
        """The reply goes to standard output and nothing else does; the exit code is 0."""
        self.know_the_host()
        done = self.start()
        self.accept().flush()
        self.assertExits(done, 0, "hi\n", f"connecting to {NAME}", "puppet", keys.fingerprint(HOST_KEY.blob))
        self.assertEqual(self.known_hosts.read_text(), LINE)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_destination(self) -> None:
        """The client connects to the host and port that the user named, with a limit on the time this takes."""
        self.start(destination=Destination("chat.example.org", 99)).addErrback(lambda failure: None)
        host, port, _factory, timeout, _bind = self.reactor.tcpClients[-1]
        self.assertEqual((host, port, timeout), ("127.0.0.1", 99, 30))  # an address of this reactor's resolver
        self.assertIn("connecting to [chat.example.org]:99", self.errors.getvalue())

    def test_messages(self) -> None:
        """Every message of the command line is sent, in order."""
        self.know_the_host()
        done = self.start(messages=("one", "two", "three"))
        pump = self.accept()
        for _message in range(3):  # the server answers one after the other
            pump.flush()
            self.reactor.advance(0)
        pump.flush()
        self.assertExits(done, 0, "one\ntwo\nthree\n")

    def test_suite(self) -> None:
        """The suite that the user chose is offered."""
        self.know_the_host()
        done = self.start(suite=RSA2048Fernet.name)
        pump = self.accept()
        self.assertIn(RSA2048Fernet.name, b"".join(self.client_end.stream))
        pump.flush()
        self.assertExits(done, 0, "hi\n", RSA2048Fernet.name.decode())

    def test_refused(self) -> None:
        """A connection that cannot be established is reported with the server's name, and the exit code is 3."""
        for error, words in (
            (Refused(), "refused"),
            (TimedOut(), "timed out"),
            (DNSLookupError(), "resolve"),
            (OSError(24, "x"), os.strerror(24)),
        ):
            done = self.start()
            self.fail_connection(error)
            self.assertExits(done, 3, "", f"securechat: {NAME}: ", words)

    def test_invalidName(self) -> None:
        """A name that the resolver refuses is reported as any other that it cannot find."""
        done = self.start(destination=Destination("a_b.example.org", 8080))
        self.assertExits(done, 3, "", "securechat: [a_b.example.org]:8080: ", "resolve")

    def test_cut(self) -> None:
        """A connection that is cut during the handshake exits with 3, and one that is cut later with 5."""
        self.know_the_host()
        self.robot.echo = False
        for is_open, code in ((False, 3), (True, 5)):
            done = self.start()
            pump = self.accept()
            if is_open:
                pump.flush()
            self.server_end.abortConnection()
            pump.flush()
            self.assertExits(done, code, "", "closed")

    def test_cutAfterPart(self) -> None:
        """What arrived of a reply is printed, and the user is told that it is incomplete."""
        self.know_the_host()
        self.robot.echo = False
        done = self.start()
        pump = self.accept()
        pump.flush()
        self.robot.say("hal")
        pump.flush()
        self.server_end.abortConnection()
        pump.flush()
        self.assertExits(done, 5, "hal\n", "incomplete", "closed unexpectedly")

    def test_silentServer(self) -> None:
        """A server that falls silent in the handshake exits with 3 after 30 seconds."""
        done = self.start()
        pump = self.accept()
        self.server_end.stream.clear()
        self.client_end.stream.clear()
        self.reactor.advance(29)
        self.assertNoResult(done)
        self.reactor.advance(2)
        pump.flush()
        self.assertExits(done, 3, "", "timed out")

    def test_goodbye(self) -> None:
        """The reason of the server's GOODBYE is reported; a message without a reply exits with 5."""
        self.know_the_host()
        self.robot.echo = False
        done = self.start()
        pump = self.accept()
        pump.flush()
        self.factories[-1].stop()
        pump.flush()
        self.assertExits(done, 5, "", "securechat: ", "shutting down")

    def test_keyRequired(self) -> None:
        """A server that requires a key exits with 4."""
        self.know_the_host()
        done = self.start()
        self.accept(client_auth=ClientAuth.REQUIRED).flush()
        self.assertExits(done, 4, "", "requires public key")

    def test_notAdmitted(self) -> None:
        """A server that closes after the client's PROOF exits with 4."""
        self.know_the_host()
        done = self.start()
        self.accept(name="[chat.example.org]:8080").flush()
        self.assertExits(done, 4, "", "Permission denied")

    def test_closedStreams(self) -> None:
        """Without a standard output, or an input that is needed, nothing is connected, and the exit code is 2."""
        self.know_the_host()
        for stdin, stdout, messages in (
            (io.StringIO(), None, ("x",)),
            (None, io.StringIO(), ()),
            (None, None, ()),
        ):
            self.use_streams(stdin, stdout, self.errors)
            done = self.start(messages=messages)
            self.assertExits(done, 2, "")
        self.assertEqual(self.reactor.tcpClients, [])
        self.use_streams(None, self.output, self.errors)
        done = self.start()
        self.accept().flush()
        self.assertExits(done, 0, "hi\n")


class HostKeyTests(RunTestCase):
    """Host keys that are not known yet."""

    def run_once(self, shown: keys.SigningKey = HOST_KEY, **options: object) -> "Deferred[ExitCode]":
        """Connect to a server that has this key."""
        done = self.start(**options)
        self.accept(shown).flush()
        return done

    def test_nobodyToAsk(self) -> None:
        """Without a terminal an unknown key exits with 4, is not written, and nothing is said to the robot."""
        done = self.run_once()
        self.assertExits(done, 4, "", f"--host-key {keys.fingerprint(HOST_KEY.blob)}")
        self.assertFalse(self.known_hosts.exists())
        self.assertEqual((self.robot.asked, len(self.reactor.tcpClients)), ([], 1))

    def test_confirmed(self) -> None:
        """The user is asked after the connection was closed; the key that he confirms is written, and then used."""
        keyboard = self.use_terminal("yes\n")
        states: list[tuple[bool, bool, int]] = []
        keyboard.reading = lambda: states.append(
            (self.client_end.disconnecting, self.known_hosts.exists(), len(self.reactor.tcpClients))
        )
        done = self.run_once()
        self.assertEqual(states, [(True, False, 1)])
        self.assertEqual(self.known_hosts.read_text(), LINE)
        self.assertNoResult(done)
        self.assertEqual((self.robot.asked, len(self.reactor.tcpClients)), ([], 2))
        self.accept().flush()
        self.assertExits(done, 0, "hi\n", keys.fingerprint(HOST_KEY.blob))
        self.assertEqual(self.known_hosts.read_text(), LINE)

    def test_fingerprint(self) -> None:
        """The key's fingerprint confirms it, and another one does not."""
        self.use_terminal(f"{keys.fingerprint(OTHER_KEY.blob)}\n{keys.fingerprint(HOST_KEY.blob)}\n")
        done = self.run_once()
        self.accept().flush()
        self.assertExits(done, 0, "hi\n", "Please type")

    def test_refused(self) -> None:
        """"no", or the end of the input, exits with 4; nothing is written, and no second connection is made."""
        for typed in ("no\n", "", "maybe\n"):
            self.use_terminal(typed)
            done = self.run_once()
            self.assertExits(done, 4, "", "Host key verification failed.")
            self.assertFalse(self.known_hosts.exists())
        self.assertEqual((self.robot.asked, len(self.reactor.tcpClients)), ([], 3))

    def test_interrupted(self) -> None:
        """Ctrl-C at the question ends the run, and nothing is written."""
        self.addCleanup(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
        keyboard = self.use_terminal("yes\n")
        keyboard.reading = lambda: os.kill(os.getpid(), signal.SIGINT)
        self.failureResultOf(self.run_once(), KeyboardInterrupt)
        self.assertFalse(self.known_hosts.exists())
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_changesMeanwhile(self) -> None:
        """If the second connection reaches another key than the one confirmed, it is rejected; nothing is said."""
        self.use_terminal("yes\nyes\n")
        done = self.run_once()
        self.accept(OTHER_KEY).flush()
        self.assertExits(done, 4, "", "HAS CHANGED", keys.fingerprint(OTHER_KEY.blob))
        self.assertEqual(self.known_hosts.read_text(), LINE)
        self.assertEqual((self.robot.asked, len(self.reactor.tcpClients)), ([], 2))

    def test_goneMeanwhile(self) -> None:
        """If the server cannot be reached the second time, the exit code is 3."""
        self.use_terminal("yes\n")
        done = self.run_once()
        self.fail_connection(Refused())
        self.assertExits(done, 3, "", "refused")

    def test_acceptNew(self) -> None:
        """With --accept-new the key is written without a question, and the session goes on."""
        self.use_terminal("")
        done = self.run_once(accept_new=True)
        self.assertExits(done, 0, "hi\n", str(self.known_hosts))
        self.assertEqual(self.known_hosts.read_text(), LINE)
        self.assertNotIn("(yes/no/", self.errors.getvalue())

    def test_changed(self) -> None:
        """A changed key exits with 4, without a question."""
        self.know_the_host()
        for accept_new in (False, True):
            self.use_terminal("yes\n")
            done = self.run_once(OTHER_KEY, accept_new=accept_new)
            self.assertExits(done, 4, "", "HAS CHANGED")
            self.assertNotIn("(yes/no/", self.errors.getvalue())
        self.assertEqual((self.known_hosts.read_text(), self.robot.asked), (LINE, []))

    def test_pinned(self) -> None:
        """With --host-key, this key is accepted and not written, and any other one exits with 4."""
        for shown, code in ((HOST_KEY, 0), (OTHER_KEY, 4)):
            self.use_terminal("yes\n")
            done = self.run_once(shown, host_key=keys.fingerprint(HOST_KEY.blob))
            self.assertExits(done, code, "hi\n")
        self.assertFalse(self.known_hosts.exists())
        self.assertEqual(self.robot.asked, ["hi"])

    def test_unreadable(self) -> None:
        """An invalid known_hosts exits with 2, and nothing is connected."""
        self.known_hosts.write_text("nonsense\n")
        self.assertExits(self.start(), 2, "", f"{self.known_hosts}:1")
        self.assertEqual(self.reactor.tcpClients, [])

    def test_cannotBeWritten(self) -> None:
        """A key that cannot be written exits with 2 after the user has confirmed it, and nothing is said."""
        keyboard = self.use_terminal("yes\n")
        keyboard.reading = self.known_hosts.mkdir
        self.assertExits(self.run_once(), 2, "", str(self.known_hosts))
        self.assertEqual((self.robot.asked, len(self.reactor.tcpClients)), ([], 1))


class UserKeyTests(RunTestCase):
    """The user's key."""

    def assertUser(self, done: "Deferred[ExitCode]", blob: bytes | None) -> None:
        """A server that is connected now learns that the user has this key."""
        pump = self.accept()
        pump.flush()
        words = "proved possession" if blob else "anonymously"
        self.assertIn(words, self.errors.getvalue())
        self.assertExits(done, 0, "hi\n")

    def test_anonymous(self) -> None:
        """Without -i and --agent the client is anonymous, although there is an agent."""
        self.know_the_host()
        done = self.start()
        self.assertEqual(self.reactor.unixClients, [])
        self.assertUser(done, None)

    def test_file(self) -> None:
        """With -i the key in the file is used."""
        self.know_the_host()
        path = make_key(Path(self.mktemp()))
        done = self.start(identity=path)
        self.assertEqual(self.reactor.unixClients, [])
        self.assertUser(done, b"key")

    def test_wrongFile(self) -> None:
        """A file without a key exits with 2, and nothing is connected."""
        self.assertExits(self.start(identity=Path("/nonexistent")), 2, "", "/nonexistent: ")
        self.assertEqual(self.reactor.tcpClients, [])

    def agent(self, *replies: bytes) -> None:
        """Answer the last request to the agent."""
        protocol = self.reactor.unixClients[-1][1].buildProtocol(None)
        protocol.makeConnection(FakeTransport(protocol, False))
        for reply in replies:
            protocol.dataReceived(string(reply))

    def test_agent(self) -> None:
        """With --agent the agent is asked, before anything is connected, and again for the signature."""
        self.know_the_host()
        done = self.start(agent=True)
        self.assertEqual((len(self.reactor.unixClients), self.reactor.tcpClients), (1, []))
        self.agent(b"\x0c\0\0\0\x01" + string(USER_KEY.blob) + string(b""))
        pump = self.accept(client_auth=ClientAuth.REQUIRED)
        pump.flush()
        self.assertEqual(len(self.reactor.unixClients), 2)
        self.agent(b"\x05")
        pump.flush()
        self.assertExits(done, 4, "", "agent")

    def test_agentWithFile(self) -> None:
        """With --agent, -i is the public key to use, and the private key is not read."""
        path = Path(self.mktemp())
        path.write_text(keys.public_line(OTHER_KEY.blob))
        done = self.start(agent=True, identity=path)
        self.agent(b"\x0c\0\0\0\x01" + string(USER_KEY.blob) + string(b""))
        self.assertExits(done, 2, "", f"{path}: the agent does not have this identity")
        self.assertEqual(self.reactor.tcpClients, [])

    def test_noAgent(self) -> None:
        """Without an agent, --agent exits with 2."""
        settings = replace(self.settings, agent=True)
        done = Deferred.fromCoroutine(run(cast(Any, self.reactor), settings, {}))
        self.assertExits(done, 2, "", "SSH_AUTH_SOCK")


class InterruptedTests(RunTestCase):
    """Runs that a signal ends."""

    def test_connecting(self) -> None:
        """While connecting, the attempt is given up."""
        done = self.start()
        done.cancel()
        self.failureResultOf(done)
        self.assertTrue(self.reactor.connectors[-1].stoppedConnecting or self.reactor.connectors[-1]._disconnected)

    def test_handshake(self) -> None:
        """During the handshake, the connection is closed."""
        done = self.start()
        self.accept()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertTrue(self.client_end.disconnecting)
        self.assertEqual(self.errors.getvalue().count("securechat:"), 0)

    def test_session(self) -> None:
        """During a session, the server is told at once, and no error is reported."""
        self.know_the_host()
        self.robot.echo = False
        done = self.start()
        pump = self.accept()
        pump.flush()
        self.robot.say("hal")
        pump.flush()
        self.client_end.stream.clear()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertNotEqual(self.client_end.stream, [])
        self.assertEqual(self.errors.getvalue().count("securechat:"), 0)
        self.assertEqual(self.output.getvalue(), "hal")

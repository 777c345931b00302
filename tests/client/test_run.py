"""A run of the client with a reactor in memory: options, host keys, exit codes, and what is left behind."""

import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import platformdirs
from msgspec.structs import replace
from twisted.internet.base import DelayedCall
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as TimedOut
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase

from securechat.client import connecting
from securechat.client.background import Background
from securechat.client.destination import Destination
from securechat.client.exit_codes import ExitCode
from securechat.client.output import Output
from securechat.client.run import run
from securechat.client.settings import ClientSettings
from securechat.client.terminal import choose
from securechat.robots.interface import IRobot
from securechat.server.factory import ChatServerFactory
from securechat.server.settings import ServerSettings
from securechat.server.users import Anyone
from securechat.ssh import keys
from securechat.ssh.certificates import Certificate
from securechat.ssh.encoding import Reader, string
from securechat.wire.handshake import ServerIdentity
from securechat.wire.messages import ClientAuth, Reason
from securechat.wire.shaping import Shaping
from securechat.wire.suites import SUITES, RSA2048Fernet
from tests.client.test_terminal import Screen as ScreenInMemory
from tests.harness.client_reactor import ClientReactor
from tests.harness.pair import HOST_KEY, USER_KEY
from tests.harness.robot import PuppetRobot
from tests.harness.ssh import make_key

DESTINATION = Destination("127.0.0.1", 8080)
NAME = DESTINATION.name
OTHER_KEY = keys.SigningKey.generate()
LINE = f"{NAME} {keys.public_line(HOST_KEY.blob)}\n"
ENVIRON = {"SSH_AUTH_SOCK": "/agent"}


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


class SlowOutput(Output):
    """Standard output whose reader is slow if a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: Deferred[None] | None = None
        self.holds: list[Callable[[bool], object]] = []

    def drained(self) -> Deferred[None]:
        return self.waiting or succeed(None)

    def hold(self, hold: Callable[[bool], object]) -> None:
        self.holds.append(hold)


class RunTestCase(SynchronousTestCase):
    """Runs of the client, and servers to which a test connects it."""

    def setUp(self) -> None:
        self.reactor = ClientReactor()
        self.robot = PuppetRobot(echo=True)
        self.known_hosts = Path(self.mktemp())
        self.settings = ClientSettings(
            destination=DESTINATION, known_hosts=self.known_hosts, messages=("hi",), verbose=True
        )
        self.factories: list[ChatServerFactory] = []
        self.errors, self.output = io.StringIO(), io.StringIO()
        self.standard_output = SlowOutput()
        self.use_streams(io.StringIO(), self.output, self.errors)
        self.patch(connecting, "can_ask", lambda: False)

    def tearDown(self) -> None:
        for factory in self.factories:
            for session in list(factory.sessions):
                session.connectionLost()

    def use_streams(self, stdin: object, stdout: object, stderr: object) -> None:
        for name, stream in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
            self.patch(sys, name, stream)

    def use_terminal(self, answer: Callable[[], bool]) -> None:
        """There is a user who is asked about a host key."""

        def confirm(name: str, blob: bytes) -> bool:
            self.asked.append((name, blob))
            return answer()

        self.asked: list[tuple[str, bytes]] = []
        self.patch(connecting, "can_ask", lambda: True)
        self.patch(connecting, "confirm_host_key", confirm)

    def know_the_host(self) -> None:
        self.known_hosts.write_text(LINE)

    def start(self, **options: object) -> "Deferred[ExitCode]":
        """Start a run with these settings."""
        settings = replace(self.settings, **options)
        return Deferred.fromCoroutine(run(cast(Any, self.reactor), settings, ENVIRON, self.standard_output))

    def accept(
        self,
        host_key: keys.SigningKey = HOST_KEY,
        client_auth: ClientAuth = ClientAuth.OPTIONAL,
        name: str = NAME,
        authorized: Callable[[bytes, Certificate | None], bool] = lambda blob, certificate: True,
        shaping: Shaping = Shaping.OFF,
    ) -> IOPump:
        """Accept the last connection of the client, as a server with this key; nothing is carried yet."""
        factory = ChatServerFactory(
            ServerSettings(names=(name,), shaping=shaping),
            ServerIdentity(host_key, SUITES, client_auth, authorized),
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
        return cast(IOPump, connect(server, self.server_end, client, self.client_end, greet=False))

    def assertExits(self, done: "Deferred[ExitCode]", code: int, output: str, *words: str) -> None:
        """The run has ended with this code, output and, on standard error, words; no timer of the client is left."""
        self.assertEqual((self.successResultOf(done), self.output.getvalue()), (code, output), self.errors.getvalue())
        for word in words:
            self.assertIn(word, self.errors.getvalue())
        for factory in self.factories:
            for session in list(factory.sessions):
                session.connectionLost()
        left = [cast(DelayedCall, call) for call in self.reactor.getDelayedCalls()]
        self.assertEqual([str(call) for call in left if "server" not in getattr(call.func, "__module__", "")], [])

    @property
    def connections(self) -> int:
        return len(self.reactor.tcpClients)

    def fail_connection(self, error: Exception) -> None:
        self.reactor.tcpClients[-1][2].clientConnectionFailed(self.reactor.connectors[-1], Failure(error))
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
        self.assertEqual(self.connections, 1)

    def test_steps(self) -> None:
        """The steps are displayed with -v only, and with -q nothing but errors."""
        for options, words in (({}, "permanently added"), ({"quiet": True}, "")):
            self.known_hosts.unlink(missing_ok=True)
            self.errors.seek(0)
            self.errors.truncate()
            done = self.start(verbose=False, accept_new=True, **options)
            self.accept().flush()
            self.assertExits(done, 0, "hi\n")
            self.assertEqual(
                [line[: len(words)] for line in self.errors.getvalue().splitlines()], [words] if words else []
            )
            self.output.seek(0)
            self.output.truncate()

    def test_json(self) -> None:
        """With --json, a line of JSON is printed for each message."""
        self.know_the_host()
        done = self.start(json=True)
        self.accept().flush()
        found = json.loads(self.output.getvalue())
        self.assertEqual((found["id"], found["text"], found["robot"]), (1, "hi", "puppet"))
        self.assertExits(done, 0, self.output.getvalue())

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

    def test_cutWhileLeaving(self) -> None:
        """A connection that is cut after all replies, before the client could leave, exits with 5, too."""
        self.know_the_host()
        done = self.start()
        pump = self.accept(shaping=Shaping.REPLY)
        for _tick in range(5):
            pump.flush()
            self.reactor.advance(0.1)
        pump.flush()
        self.assertEqual(self.output.getvalue(), "hi\n")
        self.assertNoResult(done)
        self.server_end.abortConnection()
        pump.flush()
        self.assertExits(done, 5, "hi\n", "closed unexpectedly")

    def test_background(self) -> None:
        """After all replies and the output, the rest is left to the background, unless the user wants to wait."""
        self.know_the_host()
        for wait, entered in ((False, [0]), (True, [])):
            background = Background()
            self.addCleanup(background.loop.close)
            exit_codes: list[int] = []
            self.patch(background, "enter", exit_codes.append)
            settings = replace(self.settings, wait=wait)
            written: Deferred[None] = Deferred()
            self.standard_output.waiting = written
            done = Deferred.fromCoroutine(
                run(cast(Any, self.reactor), settings, ENVIRON, self.standard_output, background)
            )
            pump = self.accept(shaping=Shaping.REPLY)
            for _tick in range(5):
                pump.flush()
                self.reactor.advance(0.1)
            pump.flush()
            self.assertEqual(exit_codes, [])
            self.standard_output.waiting = None
            written.callback(None)
            self.assertEqual(exit_codes, entered)
            self.assertEqual("leaving with the server's last record" in self.errors.getvalue(), wait)
            done.addErrback(lambda failure: failure.trap(CancelledError))
            done.cancel()

    def test_zone(self) -> None:
        """The zone of an address is used here, in messages and for known_hosts, and not told to the server."""
        self.use_terminal(lambda: True)
        done = self.start(destination=Destination("fe80::1", 8080, "Eth0"))
        self.assertEqual(self.reactor.tcpClients[-1][0], "fe80::1%Eth0")
        self.accept(name="[fe80::1]:8080", client_auth=ClientAuth.REQUIRED).flush()
        self.assertEqual(self.asked, [("[fe80::1%eth0]:8080", HOST_KEY.blob)])
        self.assertTrue(self.known_hosts.read_text().startswith("[fe80::1%eth0]:8080 "))
        self.accept(name="[fe80::1]:8080").flush()
        self.assertExits(done, 0, "hi\n")

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
        [session] = self.factories[-1].sessions
        session.leave(Reason.STOPPING)
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
        """Without an input that is needed, nothing is connected, and the exit code is 2."""
        self.know_the_host()
        self.use_streams(None, self.output, self.errors)
        self.assertExits(self.start(messages=()), 2, "", "standard input is closed")
        self.assertEqual(self.reactor.tcpClients, [])
        self.use_streams(None, self.output, self.errors)
        done = self.start()
        self.accept().flush()
        self.assertExits(done, 0, "hi\n")


class OutputTests(RunTestCase):
    """Standard output with a slow reader, or without one."""

    def test_failsLate(self) -> None:
        """The run ends when all is written, and an error of this exits with 5."""
        self.know_the_host()
        done = self.start()
        self.standard_output.waiting = Deferred()
        self.accept().flush()
        self.assertNoResult(done)
        self.standard_output.failed(OSError(28, os.strerror(28)))
        self.standard_output.waiting.callback(None)
        self.assertExits(done, 5, "hi\n", f"standard output: {os.strerror(28)}")

    def test_question(self) -> None:
        """The user is asked after all that concerns the question has been written."""
        self.use_terminal(lambda: False)
        self.standard_output.waiting = Deferred()
        done = self.start()
        self.accept().flush()
        self.assertEqual(self.asked, [])
        self.standard_output.waiting.callback(None)
        self.assertEqual(len(self.asked), 1)
        self.assertExits(done, 4, "")

    def test_holds(self) -> None:
        """While the reader is slow, nothing is read from the server."""
        self.know_the_host()
        self.robot.echo = False
        self.start().addErrback(lambda _failure: None)
        self.accept().flush()
        states: list[str] = []
        self.patch(self.client_end, "pauseProducing", lambda: states.append("paused"))
        self.patch(self.client_end, "resumeProducing", lambda: states.append("resumed"))
        [hold] = self.standard_output.holds
        hold(True)
        hold(False)
        self.assertEqual(states, ["paused", "resumed"])


class FrontendTests(RunTestCase):
    """Which front end is used."""

    def test_terminal(self) -> None:
        """On a terminal, and without -m, there is a prompt, with a history unless the user wants none."""
        opened: list[object] = []

        def open_screen(
            reactor: object, output: object, environ: Mapping[str, str], *, keeps_history: bool
        ) -> "ScreenInMemory":
            opened.append((environ, keeps_history))
            return ScreenInMemory()

        self.patch(choose, "open_screen", open_screen)
        for options in ({}, {"no_history": True}, {"messages": ("x",)}):
            self.use_streams(Screen(), Screen(), self.errors)
            self.start(**{"messages": (), **options}).addErrback(lambda _failure: None)
        self.assertEqual(opened, [(ENVIRON, True), (ENVIRON, False)])

    def test_resumption(self) -> None:
        """--continue and --resume go on with a saved conversation; without it, or a terminal, the exit code is 2."""
        state = Path(self.mktemp())
        self.patch(platformdirs, "user_state_path", lambda _name: state)
        self.patch(choose, "open_screen", lambda *_arguments, **_options: ScreenInMemory())
        self.know_the_host()
        for options, words in (
            ({"continue_latest": True}, f"{state}/conversations: no saved conversation"),
            ({"resume": "work"}, "work.jsonl: No such file or directory"),
            ({"resume": "/x/y.jsonl"}, "/x/y.jsonl: No such file or directory"),
        ):
            self.use_streams(Screen(), Screen(), self.errors)
            self.assertExits(self.start(messages=(), **options), 2, "", words)
            self.use_streams(io.StringIO(), self.output, self.errors)
            self.assertExits(self.start(messages=(), **options), 2, "", "require a terminal")
        (state / "conversations").mkdir(parents=True)
        for options in ({"continue_latest": True}, {"resume": "work"}, {"resume": f"{state}/conversations/work.jsonl"}):
            path = state / "conversations" / "work.jsonl"
            path.write_text('{"user":"q","robot":"r"}\n')
            self.use_streams(Screen(), Screen(), self.errors)
            self.start(messages=(), **options).addErrback(lambda _failure: None)
        self.assertEqual(self.connections, 3)

    def test_noHome(self) -> None:
        """Without a home directory there is a prompt, but no saved conversation."""

        def find(_name: str) -> Path:
            raise RuntimeError

        self.patch(platformdirs, "user_state_path", find)
        self.patch(choose, "open_screen", lambda *_arguments, **_options: ScreenInMemory())
        self.use_streams(Screen(), Screen(), self.errors)
        self.assertExits(self.start(messages=(), resume="x"), 2, "", "cannot determine the home directory; set HOME")
        self.start(messages=()).addErrback(lambda _failure: None)
        self.assertEqual(self.connections, 1)

    def test_pipe(self) -> None:
        """Otherwise each line of the input is a message."""
        self.know_the_host()
        for output in Screen(), io.StringIO():
            reader, writer = os.pipe()
            os.close(writer)
            self.addCleanup(os.close, reader)
            self.output = output
            self.use_streams(self.enterContext(open(reader, closefd=False)), output, self.errors)
            done = self.start(messages=())
            pump = self.accept()
            for _wait in range(1000):
                pump.flush()
                if done.called:
                    break
                time.sleep(0.005)
            self.assertExits(done, 0, "")


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
        self.assertEqual((self.robot.asked, self.connections), ([], 1))

    def test_confirmed(self) -> None:
        """The user is asked after the connection was closed; the key that he confirms is written, and then used."""
        states: list[tuple[bool, bool, int]] = []

        def answer() -> bool:
            states.append((bool(self.client_end.disconnecting), self.known_hosts.exists(), self.connections))
            return True

        self.use_terminal(answer)
        done = self.run_once()
        self.assertEqual((states, self.asked), ([(True, False, 1)], [(NAME, HOST_KEY.blob)]))
        self.assertEqual(self.known_hosts.read_text(), LINE)
        self.assertNoResult(done)
        self.assertEqual((self.robot.asked, self.connections), ([], 2))
        self.accept().flush()
        self.assertExits(done, 0, "hi\n", keys.fingerprint(HOST_KEY.blob))
        self.assertEqual((self.known_hosts.read_text(), len(self.asked)), (LINE, 1))

    def test_refused(self) -> None:
        """A key that the user refuses exits with 4; nothing is written, and no second connection is made."""
        self.use_terminal(lambda: False)
        self.assertExits(self.run_once(), 4, "", "Host key verification failed.")
        self.assertFalse(self.known_hosts.exists())
        self.assertEqual((self.robot.asked, self.connections), ([], 1))

    def test_interrupted(self) -> None:
        """Ctrl-C at the question ends the run, and nothing is written."""

        def interrupt() -> bool:
            raise KeyboardInterrupt

        self.use_terminal(interrupt)
        self.failureResultOf(self.run_once(), KeyboardInterrupt)
        self.assertFalse(self.known_hosts.exists())
        self.assertEqual(self.connections, 1)

    def test_changesMeanwhile(self) -> None:
        """If the second connection reaches another key than the one confirmed, it is rejected; nothing is said."""
        self.use_terminal(lambda: True)
        done = self.run_once()
        self.accept(OTHER_KEY).flush()
        self.assertExits(done, 4, "", "HAS CHANGED", keys.fingerprint(OTHER_KEY.blob))
        self.assertEqual(self.known_hosts.read_text(), LINE)
        self.assertEqual((self.robot.asked, self.connections, len(self.asked)), ([], 2, 1))

    def block_known_hosts(self) -> bool:
        """Confirm the key, which cannot be written."""
        self.known_hosts.mkdir()
        return True

    def test_changesMeanwhileUnwritten(self) -> None:
        """The same holds if the key that the user confirmed could not be written."""
        self.use_terminal(self.block_known_hosts)
        done = self.run_once()
        self.accept(OTHER_KEY).flush()
        self.assertExits(done, 4, "", keys.fingerprint(OTHER_KEY.blob))
        self.assertEqual((self.robot.asked, self.connections), ([], 2))

    def test_unwritten(self) -> None:
        """If the key that the user confirmed cannot be written, he is told, and the session goes on with this key."""
        self.use_terminal(self.block_known_hosts)
        done = self.run_once()
        self.accept().flush()
        self.assertExits(done, 0, "hi\n", str(self.known_hosts))

    def test_goneMeanwhile(self) -> None:
        """If the server cannot be reached the second time, the exit code is 3."""
        self.use_terminal(lambda: True)
        done = self.run_once()
        self.fail_connection(Refused())
        self.assertExits(done, 3, "", "refused")

    def test_acceptNew(self) -> None:
        """With --accept-new the key is written without a question, and the session goes on."""
        self.use_terminal(lambda: True)
        done = self.run_once(accept_new=True)
        self.assertExits(done, 0, "hi\n", str(self.known_hosts))
        self.assertEqual(self.known_hosts.read_text(), LINE)
        self.assertEqual(self.asked, [])

    def test_changed(self) -> None:
        """A changed key exits with 4, without a question."""
        self.know_the_host()
        for accept_new in (False, True):
            self.use_terminal(lambda: True)
            done = self.run_once(OTHER_KEY, accept_new=accept_new)
            self.assertExits(done, 4, "", "HAS CHANGED")
            self.assertEqual(self.asked, [])
        self.assertEqual((self.known_hosts.read_text(), self.robot.asked), (LINE, []))

    def test_pinned(self) -> None:
        """With --host-key, this key is accepted and not written, and any other one exits with 4."""
        for shown, code in ((HOST_KEY, 0), (OTHER_KEY, 4)):
            self.use_terminal(lambda: True)
            done = self.run_once(shown, host_key=keys.fingerprint(HOST_KEY.blob))
            self.assertExits(done, code, "hi\n")
        self.assertFalse(self.known_hosts.exists())
        self.assertEqual(self.robot.asked, ["hi"])

    def test_unreadable(self) -> None:
        """An invalid known_hosts exits with 2, and nothing is connected."""
        self.known_hosts.write_text("nonsense\n")
        self.assertExits(self.start(), 2, "", f"{self.known_hosts}:1")
        self.assertEqual(self.reactor.tcpClients, [])


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

    def test_confirmed(self) -> None:
        """The key is used as well if the user had to confirm the host key first; its passphrase is asked for once."""
        self.use_terminal(lambda: True)
        done = self.start(identity=make_key(Path(self.mktemp())))
        self.accept(client_auth=ClientAuth.REQUIRED).flush()
        self.accept(client_auth=ClientAuth.REQUIRED).flush()
        self.assertExits(done, 0, "hi\n", "proved possession")

    def test_wrongFile(self) -> None:
        """A file without a key exits with 2, and nothing is connected."""
        self.assertExits(self.start(identity=Path("/nonexistent")), 2, "", "/nonexistent: ")
        self.assertEqual(self.reactor.tcpClients, [])

    def agent(self, reply: Callable[[bytes], bytes]) -> None:
        """Answer the last request to the agent."""
        path, factory, *_rest = self.reactor.unixClients[-1]
        self.assertEqual(path, ENVIRON["SSH_AUTH_SOCK"])
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(string(reply(Reader(transport.value()).string())))
        protocol.connectionLost(Failure(ConnectionDone()))

    def hold(self, *held: keys.SigningKey) -> None:
        """The agent holds these keys."""
        listed = b"".join(string(key.blob) + string(b"comment") for key in held)
        self.agent(lambda request: b"\x0c" + len(held).to_bytes(4, "big") + listed)

    def sign_with(self, key: keys.SigningKey) -> None:
        """The agent signs what it is asked to."""

        def sign(request: bytes) -> bytes:
            reader = Reader(request[1:])
            self.assertEqual((request[0], reader.string()), (13, key.blob))
            return b"\x0e" + string(string(b"ssh-ed25519") + string(key.sign(reader.string())))

        self.agent(sign)

    def test_severalKeys(self) -> None:
        """The agent's keys are offered in its order, each in a connection of its own, until one is accepted."""
        self.know_the_host()
        held = [OTHER_KEY, USER_KEY, keys.SigningKey.generate()]
        done = self.start(agent=True)
        self.hold(*held)
        for number, key in enumerate(held[:2], 1):
            pump = self.accept(
                authorized=lambda blob, certificate: blob == USER_KEY.blob, client_auth=ClientAuth.REQUIRED
            )
            pump.flush()
            self.sign_with(key)
            pump.flush()
            self.assertEqual(self.errors.getvalue().count("offering public key"), number)
            self.assertIn(f"offering public key ED25519 {keys.fingerprint(key.blob)}", self.errors.getvalue())
        self.assertExits(done, 0, "hi\n")
        self.assertEqual((self.robot.asked, self.connections), (["hi"], 2))

    def test_noneAccepted(self) -> None:
        """If no key is accepted, the error names all of them, and the exit code is 4."""
        self.know_the_host()
        held = [OTHER_KEY, USER_KEY]
        done = self.start(agent=True)
        self.hold(*held)
        for key in held:
            pump = self.accept(authorized=lambda blob, certificate: False)
            pump.flush()
            self.sign_with(key)
            pump.flush()
        self.assertExits(done, 4, "", f"{NAME}: Permission denied")
        last = self.errors.getvalue().splitlines()[-1]
        for key in held:
            self.assertIn(keys.fingerprint(key.blob), last)
        self.assertEqual(self.connections, 2)

    def test_refusesToSign(self) -> None:
        """An agent that does not sign ends the run with 4; no other key is offered."""
        self.know_the_host()
        done = self.start(agent=True)
        self.assertEqual((len(self.reactor.unixClients), self.connections), (1, 0))
        self.hold(USER_KEY, OTHER_KEY)
        pump = self.accept()
        pump.flush()
        self.agent(lambda request: b"\x05")
        pump.flush()
        self.assertExits(done, 4, "", "securechat: agent refused operation")
        self.assertEqual(self.connections, 1)

    def test_agentWithFile(self) -> None:
        """With --agent, -i is the public key to use, and the private key is not read."""
        path = Path(self.mktemp())
        path.write_text(keys.public_line(OTHER_KEY.blob))
        done = self.start(agent=True, identity=path)
        self.hold(USER_KEY)
        self.assertExits(done, 2, "", f"{path}: the agent does not have this identity")
        self.assertEqual(self.reactor.tcpClients, [])

    def test_noAgent(self) -> None:
        """Without an agent, --agent exits with 2."""
        settings = replace(self.settings, agent=True)
        done = Deferred.fromCoroutine(run(cast(Any, self.reactor), settings, {}, Output()))
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

"""``python -m securechat.client`` as a process, with real daemons, pipes and a pseudo-terminal."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from securechat.ssh import keys
from tests.harness.daemon import ENVIRON, MANY, Daemon, reactor
from tests.harness.openai_peer import OpenAIPeer
from tests.harness.pair import USER_KEY
from tests.harness.ssh import make_key
from tests.harness.terminal import READY, Terminal
from tests.harness.turing_peer import KEY, PATH, TuringPeer

TIMEOUT = 120  # seconds for a run of the client
BROKEN = "invalid response from the robot; try again, or contact the server's operator"
LATE = "the robot timed out; try again"
TOO_LONG = "the reply or the conversation is too long for the robot; shorten the message, or start a new conversation"
REFUSED = "the robot refused the message; rephrase it, or contact the server's operator if this persists"
BUSY = "the robot is overloaded, or its quota is exhausted; try again later"
CUT = "the reply is incomplete: "
FAULTS = (  # the request to tests.harness.openai_peer, the text shown of the reply, and the error
    ("cut", "Hello\n", CUT + BROKEN),
    ("abort", "Hel\n[The reply may be incomplete: the server did not say why it ended.]\n", ""),
    ("abort finish", "Hel\n", CUT + BROKEN),
    ("hello", "hello \n", ""),
    ("error object", "Hel\n", CUT + BROKEN),
    ("html 502", "", BROKEN),
    ("hello", "hello \n", ""),
    ("hang", "", LATE),
    ("hang between", "Hel\n", CUT + LATE),
    ("hello", "hello \n", ""),
    ("key", "", REFUSED),
    ("no model", "", REFUSED),
    ("filter", "Hel\n", CUT + REFUSED),
    ("too long", "", TOO_LONG),
    ("length only", "", TOO_LONG),
    ("length", "Hel\n[The reply has reached its maximum length. You can ask the robot to continue.]\n", ""),
    ("garbage in stream", "", BROKEN),
    ("line", "", BROKEN),
    ("hello", "hello \n", ""),
    ("redirect", "", BROKEN),
    ("reset at once", "", BROKEN),
    ("hello", "hello \n", ""),
    ("loading", "", BUSY),
)
CTRL_C = "\x03"
CTRL_D = "\x04"
Step = tuple[str, str | bytes | Callable[[], object]]  # words to wait for, then keys to type or a function to call


def talk(command: list[str], script: list[Step], environ: dict[str, str]) -> tuple[str, int]:
    """Run a command on a terminal, step by step; the screen and the exit code."""
    terminal = Terminal(command, environ, TIMEOUT)
    try:
        for words, act in script:
            terminal.wait_for(words)
            if isinstance(act, str | bytes):
                terminal.type(act)
            else:
                act()
    finally:
        status = terminal.close()
    return terminal.screen, status


class ProgramTestCase(TestCase):
    """A daemon with a robot, and runs of the client."""

    timeout = 240

    async def start(self, *options: str, **environ: str) -> Daemon:
        daemon = Daemon(self.mktemp(), *(options or ("--robot", "echo")), *MANY, **environ)
        self.addCleanup(daemon.stop)
        self.known_hosts = Path(self.mktemp()).absolute()
        return await daemon.started()

    async def run_client(self, *arguments: str | Path, stdin: bytes = b"", **environ: str) -> tuple[int, str, str]:
        """Run the client: exit code, standard output and standard error."""

        def run() -> "subprocess.CompletedProcess[bytes]":
            return subprocess.run(
                [sys.executable, "-m", "securechat.client", *map(str, arguments)],
                input=stdin,
                capture_output=True,
                cwd="/",
                env={**ENVIRON, **environ},
                timeout=TIMEOUT,
                start_new_session=True,  # without a terminal to ask
            )

        done = await deferToThread(run)
        self.assertNotIn(b"Traceback", done.stderr)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def to(self, daemon: "Daemon | IPv4Address") -> list[str]:
        return [f"127.0.0.1:{daemon.port}", "--known-hosts", str(self.known_hosts), "--accept-new"]

    async def assertEnds(self, code: int, words: str, *arguments: str | Path, stdin: bytes = b"") -> None:
        """The client exits with this code, writes no output, and its last error contains these words."""
        status, output, errors = await self.run_client(*arguments, stdin=stdin)
        self.assertEqual((status, output), (code, ""), errors)
        self.assertIn(words, errors.splitlines()[-1])


class BatchTests(ProgramTestCase):
    """The client without a terminal."""

    async def test_messages(self) -> None:
        """Each -m is answered in order; standard output has the replies only, standard error the steps."""
        daemon = await self.start()
        status, output, errors = await self.run_client(
            *self.to(daemon), "-m", "one", "-m", "two\nlines\n", "-m", "三", "-v"
        )
        self.assertEqual((status, output), (0, "one\ntwo\nlines\n三\n"))
        self.assertIn("sent the public key with its SHA-256", errors)
        self.assertIn(f"verified the server's host key {daemon.fingerprint}", errors)

    async def test_pipe(self) -> None:
        """With --lines, each line is a message; blank lines are skipped, and the last line needs no newline."""
        daemon = await self.start("--robot", "echo", "--shaping", "off")
        lines = b"".join(b"line %d\n" % number for number in range(100))
        status, output, _errors = await self.run_client(*self.to(daemon), "--lines", stdin=b"\n" + lines + b"  last")
        self.assertEqual((status, output), (0, lines.decode() + "  last\n"))

    async def test_standardInput(self) -> None:
        """Otherwise a pipe is one message, with its indentation, below the message of the command line."""
        daemon = await self.start("--robot", "echo", "--shaping", "off")
        text = "def f():\n\n    return 1"
        for arguments, reply in (((), text), (("-",), text), (("-m", "a", "-m", "b"), f"a\n\n{text}\nb")):
            status, output, _errors = await self.run_client(*self.to(daemon), *arguments, stdin=f"{text}\n\n".encode())
            self.assertEqual((status, output), (0, f"{reply}\n"))
        for arguments, reply in (((), ""), (("-",), ""), (("-m", "a", "-m", "b"), "a\nb\n")):
            self.assertEqual((await self.run_client(*self.to(daemon), *arguments))[:2], (0, reply))

    async def test_bothSuites(self) -> None:
        """Suite RSA works as well as suite PQ."""
        daemon = await self.start()
        status, output, errors = await self.run_client(*self.to(daemon), "--suite", "rsa2048-fernet", "-m", "hi", "-v")
        self.assertEqual((status, output), (0, "hi\n"))
        self.assertIn("generated a key pair (rsa2048-fernet)", errors)

    async def test_lines(self) -> None:
        """An invalid line is reported with its number, after the earlier lines were answered."""
        daemon = await self.start("--robot", "echo", "--max-message", "4096")
        for line, words in ((b"x" * 4097, "line 2: message exceeds 4096 bytes"), (b"\xff", "line 2: not valid UTF-8")):
            status, output, errors = await self.run_client(
                *self.to(daemon), "--lines", stdin=b"ok\n" + line + b"\nnever\n"
            )
            self.assertEqual((status, output), (2, "ok\n"))
            self.assertIn(words, errors)

    async def test_tooLong(self) -> None:
        """A message beyond the server's limit is not sent, and those before it are answered."""
        daemon = await self.start("--robot", "echo", "--max-message", "4096")
        status, output, errors = await self.run_client(*self.to(daemon), "-m", "ok", "-m", "长" * 1366)
        self.assertEqual((status, output), (2, "ok\n"))
        self.assertIn("message exceeds 4096 bytes", errors)

    async def test_controlCharacters(self) -> None:
        """Control characters in a reply are replaced."""
        daemon = await self.start()
        text = "\x1b[2J\u202eevil\x9b\x07\tfine"
        _status, output, _errors = await self.run_client(*self.to(daemon), "-m", text)
        self.assertEqual(output, "\ufffd[2J\ufffdevil\ufffd\ufffd\tfine\n")

    async def test_faults(self) -> None:
        """A fault is reported, the next message is answered, and the exit code is 5."""
        port = reactor.listenTCP(0, Site(TuringPeer(reactor)), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"url=http://127.0.0.1:{port.getHost().port}{PATH}"
        daemon = await self.start("--robot", "turing", "-R", url, SECURECHAT_ROBOT_KEY=KEY)
        status, output, errors = await self.run_client(*self.to(daemon), "-m", "4602", "-m", "hello")
        self.assertEqual((status, output), (5, "hello\n"))
        self.assertIn(TOO_LONG, errors)

    async def test_everyFaultOfARobot(self) -> None:
        """Every failure of a language model's server is reported with its own description."""
        peer = OpenAIPeer(reactor)
        port = reactor.listenTCP(0, peer, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        robot = ("--robot", "openai", "-R", f"url=http://127.0.0.1:{port.getHost().port}", "-R", "model=peer-model")
        daemon = await self.start(*robot, "-R", "first-timeout=3", "-R", "timeout=1")
        messages = [argument for text, _said, _sentence in FAULTS for argument in ("-m", text)]
        status, output, errors = await self.run_client(*self.to(daemon), *messages)
        self.assertEqual((status, output), (5, "".join(said for _text, said, _sentence in FAULTS)))
        complaints = [line.removeprefix("securechat: ") for line in errors.splitlines() if "securechat: " in line]
        self.assertEqual(complaints, [sentence for _text, _said, sentence in FAULTS if sentence])
        # On a connection that had been used before, "reset at once" looks stale, and the request is sent again.
        self.assertEqual(len(peer.asked), len(FAULTS) + 1)
        await port.stopListening()
        status, output, errors = await self.run_client(*self.to(await self.start(*robot)), "-m", "anything")
        self.assertEqual((status, output), (5, ""))
        self.assertIn("securechat: the robot is unreachable; try again later\n", errors)

    async def test_chinese(self) -> None:
        """In a Chinese locale, messages are in Chinese."""
        daemon = await self.start()
        _status, _output, errors = await self.run_client(
            *self.to(daemon), "-m", "hi", "-v", LANGUAGE="zh_CN", LC_ALL="C.UTF-8"
        )
        self.assertIn("已发送公钥及其 SHA-256", errors)

    async def test_outputErrors(self) -> None:
        """A full disk is reported, a closed pipe is not, and neither causes a traceback."""
        daemon = await self.start()
        command = [sys.executable, "-m", "securechat.client", *self.to(daemon), "-m", "hi"]

        def run(tail: str) -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                ["sh", "-c", f'"$@" {tail}', "sh", *command], capture_output=True, text=True, cwd="/", env=ENVIRON
            )

        full = await deferToThread(run, "> /dev/full")
        self.assertEqual(full.returncode, 5)
        self.assertIn("No space left on device", full.stderr)
        closed = await deferToThread(run, ">&-")
        self.assertEqual(closed.returncode, 2)
        gone = await deferToThread(run, "| true")
        for done in (full, closed, gone):
            self.assertNotIn("Traceback", done.stderr)
            self.assertNotIn("Exception", done.stderr)


class ConnectionTests(ProgramTestCase):
    """Servers that cannot be reached or speak another protocol."""

    async def test_unreachable(self) -> None:
        """Refused connections and unknown hosts are reported differently."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        await self.assertEnds(3, "connection refused", f"127.0.0.1:{port}", "-m", "x")
        await self.assertEnds(3, "could not resolve hostname", "name.invalid", "-m", "x")

    async def test_otherProtocols(self) -> None:
        """A server that speaks another protocol, or closes the connection, is reported."""
        for answer, words in (
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak securechat/1"),
            (b"", "during the handshake"),
        ):
            listener = socket.create_server(("127.0.0.1", 0))
            listener.settimeout(TIMEOUT)
            self.addCleanup(listener.close)

            def serve(answer: bytes = answer, listener: socket.socket = listener) -> None:
                peer, _address = listener.accept()
                with peer:
                    peer.recv(65536)
                    peer.sendall(answer)

            threading.Thread(target=serve, daemon=True).start()
            known_hosts = Path(self.mktemp()).absolute()
            port = listener.getsockname()[1]
            await self.assertEnds(3, words, f"127.0.0.1:{port}", "--known-hosts", known_hosts, "-m", "x")

    async def test_usage(self) -> None:
        """Invalid options, key files and known_hosts files are reported in one line."""
        bad = Path(self.mktemp()).absolute()
        bad.write_text("nonsense\n")
        bad.chmod(0o600)
        for words, *arguments in (
            ("see securechat --help", "--nonsense"),
            ("[ADDRESS]:PORT", "a:b:c"),
            ("[ADDRESS]:PORT", "host:0"),
            ("--suite rot13: expected ", "--suite", "rot13"),
            ("43 characters", "--host-key", "SHA256:x"),
            ("not an Ed25519 private key", "-i", str(bad), "-m", "x"),
            ("No such file", "-i", "/nonexistent", "-m", "x"),
            (f"{bad}:1:", "--known-hosts", str(bad), "-m", "x"),
            ("SSH_AUTH_SOCK", "--agent", "-m", "x"),
        ):
            status, output, errors = await self.run_client(*arguments, SSH_AUTH_SOCK="")
            self.assertEqual((status, output), (2, ""), errors)
            self.assertIn(words, errors)
            self.assertEqual(len(errors.splitlines()), 1, errors)

    async def test_version(self) -> None:
        """--version and --help write to standard output."""
        self.assertRegex((await self.run_client("--version"))[1], r"^securechat \d")
        self.assertIn("HOST[:PORT]", (await self.run_client("--help"))[1])


class TrustTests(ProgramTestCase):
    """Host keys and user keys."""

    async def test_unknownHost(self) -> None:
        """Without a terminal, an unknown host is rejected, and the error names the option that accepts it."""
        daemon = await self.start()
        there = (f"127.0.0.1:{daemon.port}", "--known-hosts", self.known_hosts, "-m", "hi")
        await self.assertEnds(4, f"--host-key {daemon.fingerprint}", *there)
        self.assertFalse(self.known_hosts.exists())
        status, output, _errors = await self.run_client(*there, "--host-key", daemon.fingerprint)
        self.assertEqual((status, output), (0, "hi\n"))
        await self.assertEnds(4, "does not match --host-key", *there, "--host-key", "SHA256:" + "A" * 43)
        self.assertEqual((await self.run_client(*there, "--accept-new"))[0], 0)
        self.assertEqual((await self.run_client(*there))[0], 0)

    async def test_changedAndRevoked(self) -> None:
        """A changed host key is rejected, also with --accept-new, and a revoked one also with --host-key."""
        daemon = await self.start()
        there = (f"127.0.0.1:{daemon.port}", "--known-hosts", self.known_hosts, "--accept-new", "-m", "hi")
        other = keys.public_line(USER_KEY.blob)
        self.known_hosts.write_text(f"# mine\n[127.0.0.1]:{daemon.port} {other}\n")
        before = self.known_hosts.read_text()
        await self.assertEnds(4, "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", *there)
        await self.assertEnds(4, f"remove the offending key in {self.known_hosts}:2", *there)
        self.assertEqual(self.known_hosts.read_text(), before)
        ours = (daemon.state / "ssh_host_ed25519_key.pub").read_text()
        self.known_hosts.write_text(f"@revoked * {ours}")
        await self.assertEnds(4, "revoked", *there, "--host-key", daemon.fingerprint)

    async def test_userKeys(self) -> None:
        """An authorized key is accepted; another key, no key and a key with a passphrase are reported."""
        path = make_key(Path(self.mktemp()).absolute(), comment="alice")
        team = Path(self.mktemp()).absolute()
        team.write_text(path.with_suffix(".pub").read_text())
        daemon = await self.start("--robot", "echo", "--authorized-keys", str(team))
        there = [*self.to(daemon), "-m", "hi"]
        status, output, errors = await self.run_client(*there, "-i", path, "-v")
        self.assertEqual((status, output), (0, "hi\n"))
        self.assertIn("proved possession of the user key", errors)
        stranger = make_key(Path(self.mktemp()).absolute())
        await self.assertEnds(4, "Permission denied", *there, "-i", stranger)
        await self.assertEnds(4, "use -i FILE or --agent", *there)
        locked = make_key(Path(self.mktemp()).absolute(), passphrase="secret")
        await self.assertEnds(2, "no terminal to ask", *there, "-i", locked)

    async def test_anotherName(self) -> None:
        """A server that is not configured for the name that was dialled refuses the client."""
        daemon = await self.start("--robot", "echo", "--name", "[chat.example.org]:8080")
        await self.assertEnds(4, "not configured for this name", *self.to(daemon), "-m", "x")


class TerminalTests(ProgramTestCase):
    """The client on a terminal."""

    def run_on_terminal(self, arguments: list[str], *script: Step, term: str = "xterm") -> Deferred[Any]:
        command = [sys.executable, "-m", "securechat.client", *arguments]
        return deferToThread(talk, command, list(script), {**ENVIRON, "TERM": term, "NO_COLOR": "1"})

    async def test_talks(self) -> None:
        """An unknown host is confirmed once and then known; the user chats at a prompt and leaves with Ctrl-D."""
        daemon = await self.start()
        there = [f"127.0.0.1:{daemon.port}", "--known-hosts", str(self.known_hosts)]
        asked: list[Step] = [("(yes/no/", "maybe\r"), ("Please type", "yes\r")]
        talking: list[Step] = [("/help for", "hello there\r"), ("hello there", "/new\r"), ("started", "")]
        for first in (asked, []):
            screen, status = await self.run_on_terminal(there, *first, *talking, (READY, CTRL_D))
            self.assertEqual(status, 0, screen)
            self.assertIn("-- started a new conversation", screen)
        self.assertEqual(len(self.known_hosts.read_text().splitlines()), 1)

    async def test_refuses(self) -> None:
        """The client does not connect if the user rejects the host key."""
        daemon = await self.start()
        there = [f"127.0.0.1:{daemon.port}", "--known-hosts", str(self.known_hosts)]
        screen, status = await self.run_on_terminal(there, ("(yes/no/", "no\r"))
        self.assertEqual(status, 4, screen)
        self.assertFalse(self.known_hosts.exists())

    async def test_dumbTerminal(self) -> None:
        """The client works on a dumb terminal."""
        daemon = await self.start()
        screen, status = await self.run_on_terminal(
            self.to(daemon), ("/help for", "hello\r"), ("hello", "/quit\r"), term="dumb"
        )
        self.assertEqual(status, 0, screen)

    async def test_leavesWithTheTrain(self) -> None:
        """After a reply, the session ends with the train, and the user is told so."""
        daemon = await self.start()
        screen, status = await self.run_on_terminal(
            self.to(daemon), ("/help for", "hello\r"), ("> hello", ""), ("hello", "/quit\r"), ("Ctrl-C leaves", "")
        )
        self.assertEqual(status, 0, screen)

    async def test_interruptsLeaving(self) -> None:
        """Ctrl-C ends the session although the train has not ended."""
        daemon = await self.start("--robot", "echo", "--tick", "0.25")
        screen, status = await self.run_on_terminal(
            *(self.to(daemon), ("/help for", "hello\r"), ("> hello", "")),
            *(("hello", ""), (READY, CTRL_D), ("Ctrl-C leaves", CTRL_C)),
        )
        self.assertEqual(status, 130, screen)

    async def test_interrupt(self) -> None:
        """Ctrl-C twice without a pending reply exits with 130."""
        daemon = await self.start()
        _screen, status = await self.run_on_terminal(
            self.to(daemon), ("/help for", "/new\r"), ("started", ""), (READY, CTRL_C), ("again", CTRL_C)
        )
        self.assertEqual(status, 130)

    async def test_serverStops(self) -> None:
        """The reason why the session ended is displayed; the user can leave while the client tries to reconnect."""
        daemon = await self.start()
        _screen, status = await self.run_on_terminal(
            self.to(daemon),
            ("/help for", "half a line"),
            ("half a line", daemon.process.terminate),
            ("the server is shutting down; reconnecting", CTRL_C),  # clears the line
            (READY, CTRL_D),
        )
        self.assertEqual(status, 0)

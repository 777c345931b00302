"""The standard streams, the terminal and the signals of the client, as shells and other programs leave them."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from securechat.ssh import keys
from securechat.ssh.private_keys import load_private_key
from tests.harness.agent import Agent
from tests.harness.daemon import ENVIRON, Daemon, reactor
from tests.harness.ssh import make_key
from tests.harness.terminal import READY
from tests.programs.test_client import CTRL_D, TIMEOUT, ProgramTestCase, Step, talk

CLIENT = [sys.executable, "-m", "securechat.client"]
PIPE_SIZE = 64 * 1024  # bytes, on Linux
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # a locale that has few characters

WITHOUT_PASSWD = """
import pwd, sys

def getpwuid(uid):
    raise KeyError(uid)

pwd.getpwuid = getpwuid
from securechat.client.__main__ import main
sys.exit(main())
"""  # as a user whom the system does not know


class StreamTestCase(ProgramTestCase):
    """Runs of the client that a test can watch."""

    def open_client(self, arguments: list[str], shell: str = 'exec "$@"', **streams: Any) -> "subprocess.Popen[bytes]":
        """Start the client by a command of the shell."""
        environ = {**ENVIRON, **streams.pop("environ", {})}
        command = ["sh", "-c", shell, "sh", *CLIENT, *arguments]
        process = subprocess.Popen(command, cwd="/", env=environ, start_new_session=True, **streams)
        self.addCleanup(process.wait, 10)
        self.addCleanup(process.kill)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                self.addCleanup(stream.close)
        return process

    async def ended(self, process: "subprocess.Popen[bytes]") -> int:
        """Wait until a client has ended; its exit code."""
        return await deferToThread(process.wait, TIMEOUT)

    async def said(self, path: Path, words: str) -> None:
        """Wait until these words are in a file."""
        end = time.monotonic() + TIMEOUT
        while words not in path.read_text():
            self.assertLess(time.monotonic(), end, path.read_text())
            await deferLater(reactor, 0.05)

    def silent_server(self) -> list[str]:
        """Arguments for a server that accepts a connection and says nothing."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        return [f"127.0.0.1:{listener.getsockname()[1]}", "--known-hosts", str(Path(self.mktemp()).absolute())]


class SlowReaderTests(StreamTestCase):
    """Standard output that is not read at once."""

    async def start_long(self) -> tuple[list[str], bytes]:
        """Arguments for a daemon, and a line whose echo is longer than a pipe takes."""
        daemon = await self.start("--robot", "echo", "--shaping", "off")
        return [*self.to(daemon), "--lines"], b"%d " * 60_000 % tuple(range(60_000))

    def pipe(self, *, blocking: bool) -> tuple[int, int]:
        """A pipe, of which the end that is written may be non-blocking."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        os.set_blocking(writer, blocking)
        return reader, writer

    async def test_nonBlocking(self) -> None:
        """All of a reply arrives at a slow reader, although the descriptor is non-blocking, and the exit code is 0."""
        there, line = await self.start_long()
        for blocking in (False, True):
            reader, writer = self.pipe(blocking=blocking)
            process = self.open_client(there, stdin=subprocess.PIPE, stdout=writer)
            os.close(writer)

            def read(reader: int = reader, process: Any = process) -> bytes:
                process.stdin.write(line)
                process.stdin.close()
                received = b""
                while data := os.read(reader, 8192):
                    received += data
                    time.sleep(0.03)
                return received

            self.assertEqual(await deferToThread(read), line + b"\n")
            self.assertEqual(await self.ended(process), 0)

    async def test_readerLeaves(self) -> None:
        """If the reader leaves in the middle, the exit code is 5, and nothing is said, as with other filters."""
        there, line = await self.start_long()
        for blocking in (False, True):
            reader, writer = self.pipe(blocking=blocking)
            own = os.dup(reader)
            errors = Path(self.mktemp())
            with errors.open("wb") as file:
                process = self.open_client(there, stdin=subprocess.PIPE, stdout=writer, stderr=file)
            os.close(writer)
            assert process.stdin is not None
            await deferToThread(process.stdin.write, line)
            process.stdin.close()
            await deferToThread(os.read, own, 100)
            os.close(own)
            os.dup2(os.open(os.devnull, os.O_RDONLY), reader)  # the cleanup closes it
            self.assertEqual(await self.ended(process), 5)
            self.assertNotIn("securechat:", errors.read_text())

    async def test_interrupted(self) -> None:
        """A client whose output is not read is not blocked: a signal ends it."""
        there, line = await self.start_long()
        for blocking in (False, True):
            reader, writer = self.pipe(blocking=blocking)
            process = self.open_client(there, stdin=subprocess.PIPE, stdout=writer)
            os.close(writer)
            assert process.stdin is not None
            await deferToThread(process.stdin.write, line)
            process.stdin.close()
            await deferToThread(os.read, reader, 100)
            await deferLater(reactor, 0.5)
            process.send_signal(signal.SIGTERM)
            self.assertEqual(await self.ended(process), 128 + signal.SIGTERM)

    async def test_standardError(self) -> None:
        """Messages wait for a reader, too, and none is lost."""
        daemon = await self.start()
        reader, writer = self.pipe(blocking=False)
        os.write(writer, bytes(PIPE_SIZE))  # it is full
        process = self.open_client(
            [*self.to(daemon), "-m", "hi", "-v"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=writer
        )
        os.close(writer)
        assert process.stdout is not None
        self.assertEqual(await deferToThread(self.read_all, reader, delay=1.0), await self.expected_errors(daemon))
        self.assertEqual(process.stdout.read(), b"hi\n")
        self.assertEqual(await self.ended(process), 0)

    def read_all(self, reader: int, *, delay: float) -> list[str]:
        """The lines from a pipe, after its first contents."""
        time.sleep(delay)
        data = b""
        while more := os.read(reader, PIPE_SIZE):
            data += more
        return self.without_key(data[PIPE_SIZE:].decode())

    async def expected_errors(self, daemon: Any) -> list[str]:
        return self.without_key((await self.run_client(*self.to(daemon), "-m", "hi", "-v"))[2])

    def without_key(self, errors: str) -> list[str]:
        """Lines without the one about known_hosts and those of the log, which differ."""
        return [line for line in errors.splitlines() if "known" not in line and not re.match(r"\d{4}-", line)]


class NonBlockingInputTests(StreamTestCase):
    """Standard input that is non-blocking."""

    async def test_waits(self) -> None:
        """A pause between two lines is not the end of input."""
        daemon = await self.start("--robot", "echo", "--shaping", "off")
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        process = self.open_client([*self.to(daemon), "--lines"], stdin=reader, stdout=subprocess.PIPE)
        os.close(reader)
        assert process.stdout is not None
        os.write(writer, b"one\ntw")
        self.assertEqual(await deferToThread(process.stdout.readline), b"one\n")
        await deferLater(reactor, 0.3)
        os.write(writer, b"o\n")
        os.close(writer)
        self.assertEqual(await deferToThread(process.stdout.read), b"two\n")
        self.assertEqual(await self.ended(process), 0)


class ClosedTests(StreamTestCase):
    """Standard descriptors that a shell has closed."""

    async def test_standardError(self) -> None:
        """Without standard error there are no messages; they are not among the replies."""
        daemon = await self.start()
        process = self.open_client([*self.to(daemon), "-m", "hi"], 'exec "$@" 2>&-', stdout=subprocess.PIPE)
        assert process.stdout is not None
        self.assertEqual(await deferToThread(process.stdout.read), b"hi\n")
        self.assertEqual(await self.ended(process), 0)

    async def test_noOtherFile(self) -> None:
        """No connection or file gets the number of a closed descriptor: /dev/null has it, as with ssh."""
        if not Path("/proc/self/fd").exists():
            raise SkipTest("no /proc")
        output = Path(self.mktemp())
        with output.open("wb") as file:
            process = self.open_client(
                [*self.silent_server(), "-m", "x", "-v"], 'exec "$@" <&- 2>&-', stdout=file, stderr=file
            )
        await self.until_connected(process)
        for descriptor in (0, 2):
            self.assertEqual(os.readlink(f"/proc/{process.pid}/fd/{descriptor}"), os.devnull)
        process.terminate()
        self.assertEqual(await self.ended(process), 128 + signal.SIGTERM)
        self.assertEqual(output.read_text(), "")

    async def until_connected(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait until the client has sockets: those of its event loop, and one to the server."""
        end = time.monotonic() + TIMEOUT
        while self.count_sockets(process.pid) < 3:
            self.assertLess(time.monotonic(), end)
            await deferLater(reactor, 0.05)

    def count_sockets(self, pid: int) -> int:
        count = 0
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                count += "socket" in os.readlink(path)
        return count

    async def test_needed(self) -> None:
        """Without standard output, or without input if it is needed, the client ends with one line and code 2."""
        for shell, arguments, words in (
            ('exec "$@" >&-', ["-m", "x"], "securechat: standard output is closed\n"),
            ('exec "$@" >&-', ["--help"], "securechat: standard output is closed\n"),
            ('exec "$@" <&-', [], "securechat: standard input is closed\n"),
            ('exec "$@" <&- >&- 2>&-', ["-m", "x"], ""),
        ):
            process = self.open_client(
                [*self.silent_server(), *arguments], shell, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            output, errors = await deferToThread(process.communicate, None, TIMEOUT)
            self.assertEqual((process.returncode, output, errors.decode()), (2, b"", words))


class LocaleTests(StreamTestCase):
    """Locales that lack characters."""

    async def test_batch(self) -> None:
        """A character that the locale lacks is replaced in replies and messages, and the session goes on."""
        daemon = await self.start()
        there = self.to(daemon)
        for environ, replies in (
            ({"PYTHONIOENCODING": "iso-8859-1"}, "it?s ?\ncafé\n".encode("iso-8859-1")),
            ({"PYTHONIOENCODING": "gbk"}, "it\N{RIGHT SINGLE QUOTATION MARK}s ?\ncafé\n".encode("gbk")),
            ({"PYTHONIOENCODING": "ascii:strict"}, b"it?s ?\ncaf?\n"),
            (ASCII, b"it?s ?\ncaf?\n"),
        ):
            process = self.open_client(
                [*there, "--lines", "-v"],
                environ={**environ, "LANGUAGE": "zh_CN"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            text = "it\N{RIGHT SINGLE QUOTATION MARK}s \N{GRINNING FACE}\ncafé\n"
            output, errors = await deferToThread(process.communicate, text.encode(), TIMEOUT)
            self.assertEqual((process.returncode, output), (0, replies), errors)
            self.assertNotIn(b"Traceback", errors)
            self.assertGreater(errors.count(b"\n"), 5)

    async def test_help(self) -> None:
        """The help can be read in every locale."""
        process = self.open_client(["--help"], environ=ASCII, stdout=subprocess.PIPE)
        output, _errors = await deferToThread(process.communicate, None, TIMEOUT)
        self.assertEqual(process.returncode, 0)
        self.assertIn(b"--host-key SHA256:?", output)

    async def test_helpToFullDisk(self) -> None:
        """A help text that cannot be written is an error, as a reply is."""
        for option in ("--help", "--version"):
            process = self.open_client([option], 'exec "$@" > /dev/full', stderr=subprocess.PIPE)
            _output, errors = await deferToThread(process.communicate, None, TIMEOUT)
            self.assertEqual(process.returncode, 5)
            self.assertEqual(errors, b"securechat: standard output: No space left on device\n")

    async def test_daemon(self) -> None:
        """So can the help of the daemon, and its errors."""
        command = [sys.executable, *Daemon.program, "securechat"]
        for arguments, words in (
            (["--help"], b"--state-dir="),
            (["--help-robots"], b"openai"),
            (["--tick", "9"], b"--tick 9"),
        ):

            def run(arguments: list[str] = arguments) -> "subprocess.CompletedProcess[bytes]":
                environ = {**ENVIRON, **ASCII, "LANGUAGE": "zh_CN"}
                return subprocess.run([*command, *arguments], env=environ, capture_output=True, timeout=TIMEOUT)

            done = await deferToThread(run)
            self.assertIn(words, done.stdout)
            self.assertEqual(done.stderr, b"")


class IgnoredSignalTests(StreamTestCase):
    """Signals that were ignored when a program started."""

    def handled(self, pid: int) -> set[int]:
        """The signals that a process handles."""
        try:
            [mask] = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
        except FileNotFoundError:
            raise SkipTest("no /proc") from None
        return {number for number in range(1, 65) if int(mask, 16) >> (number - 1) & 1}

    async def test_client(self) -> None:
        """With nohup, or in the background of a script, SIGHUP and SIGINT stay ignored; SIGTERM ends the client."""
        for trapped, handled in (("HUP INT", {signal.SIGTERM}), ("", {signal.SIGTERM, signal.SIGHUP, signal.SIGINT})):
            errors = Path(self.mktemp())
            with errors.open("wb") as file:
                process = self.open_client(
                    [*self.silent_server(), "-m", "x", "-v"],
                    f'test -z "{trapped}" || trap "" {trapped}; exec "$@"',
                    stdout=file,
                    stderr=file,
                )
            await self.said(errors, "sent the public key")
            self.assertEqual(
                self.handled(process.pid) & {signal.SIGTERM, signal.SIGHUP, signal.SIGINT}, handled, trapped
            )
            process.terminate()
            self.assertEqual(await self.ended(process), 128 + signal.SIGTERM)

    async def test_daemon(self) -> None:
        """The daemon leaves SIGHUP ignored with nohup, and handles it otherwise."""
        daemon = await self.start()
        self.assertIn(signal.SIGHUP, self.handled(daemon.process.pid))
        for number in (signal.SIGHUP, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.signal(number, signal.SIG_IGN))
        daemon = await self.start()
        self.assertEqual(self.handled(daemon.process.pid) & {signal.SIGHUP, signal.SIGINT}, set())
        daemon.hang_up()
        self.assertEqual((await self.run_client(*self.to(daemon), "-m", "hi"))[:2], (0, "hi\n"))


class PromptTests(StreamTestCase):
    """Questions on the terminal, while the standard streams are something else."""

    def ask(self, shell: str, arguments: list[str], *script: Step, **environ: str) -> "Deferred[Any]":
        """Run the client by a command of the shell, on a terminal; the screen and the exit code."""
        command = ["/bin/sh", "-c", shell, "sh", *CLIENT, *arguments]
        return deferToThread(talk, command, list(script), {**ENVIRON, "NO_COLOR": "1", "TERM": "xterm", **environ})

    async def start_locked(self, passphrase: str) -> tuple[Any, list[str]]:
        """A daemon that knows a key with a passphrase, and arguments to use it at an unknown host."""
        path = make_key(Path(self.mktemp()).absolute(), passphrase=passphrase, comment="alice")
        team = Path(self.mktemp()).absolute()
        team.write_text(path.with_suffix(".pub").read_text())
        daemon = await self.start("--robot", "echo", "--authorized-keys", str(team))
        return daemon, [f"127.0.0.1:{daemon.port}", "--known-hosts", str(self.known_hosts), "-i", str(path)]

    async def test_pipes(self) -> None:
        """The passphrase and the host key are asked about on the terminal; the passphrase is not shown."""
        _daemon, there = await self.start_locked("correct horse")
        output, errors = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        screen, status = await self.ask(
            f'printf "one\\ntwo\\n" | "$@" > {output} 2> {errors}',
            there,
            ("Enter passphrase for key", "correct horse\r"),
            ("can't be established", ""),
            ("(yes/no/[fingerprint])?", "yes\r"),
        )
        self.assertEqual(status, 0, errors.read_text() + screen)
        self.assertEqual(output.read_text(), "one\ntwo\n")
        self.assertNotIn("horse", screen + errors.read_text())
        self.assertIn("permanently added", errors.read_text())

    async def test_messages(self) -> None:
        """With -m as well, and without standard error."""
        _daemon, there = await self.start_locked("correct horse")
        output = Path(self.mktemp()).absolute()
        screen, status = await self.ask(
            f'"$@" -m hi < /dev/null > {output} 2>&-; exit $?',  # a terminal that nobody has open is gone
            there,
            ("Enter passphrase for key", "correct horse\r"),
            ("(yes/no/[fingerprint])?", "maybe\r"),
            ("Please type", "yes\r"),
        )
        self.assertEqual((status, output.read_text()), (0, "hi\n"), screen)

    async def test_notUtf8(self) -> None:
        """A passphrase is used as it was typed, and bytes that are no text are no answer about the host key."""
        for locale in ({}, ASCII):
            _daemon, there = await self.start_locked(os.fsdecode(b"p\xe4ss"))
            screen, status = await self.ask(
                'exec "$@" -m hi',
                there,
                ("Enter passphrase for key", b"p\xe4ss\r"),
                ("(yes/no/[fingerprint])?", b"\xff\xfe\r"),
                ("Please type", b"yes\r"),
                ("hi", ""),
                **locale,
            )
            self.assertEqual(status, 0, screen)

    async def test_typedInput(self) -> None:
        """The answer to a question is not taken for a message, although messages are typed on the same terminal."""
        daemon = await self.start("--robot", "echo", "--shaping", "off")
        output = Path(self.mktemp()).absolute()
        screen, status = await self.ask(
            f'exec "$@" > {output}',
            [f"127.0.0.1:{daemon.port}", "--known-hosts", str(self.known_hosts), "-v"],
            ("(yes/no/[fingerprint])?", "yes\r"),
            ("connected to echo", "one\r"),
            ("one", "two\r"),
            ("two", CTRL_D),
        )
        self.assertEqual((status, output.read_text()), (0, "one\ntwo\n"), screen)

    async def test_signals(self) -> None:
        """A signal ends the client at a question."""
        _daemon, there = await self.start_locked("correct horse")
        pid = Path(self.mktemp()).absolute()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):

            def kill(number: int = number) -> None:
                os.kill(int(pid.read_text()), number)

            screen, status = await self.ask(
                f'echo $$ > {pid}; exec "$@" -m hi', there, ("Enter passphrase for key", kill)
            )
            self.assertEqual(status, 128 + number, screen)

    async def test_stopped(self) -> None:
        """The passphrase is not shown after the client was stopped and continued, whatever the shell has set."""
        _daemon, there = await self.start_locked("correct horse")
        pid, tty = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()

        def stop_and_continue() -> None:
            os.kill(int(pid.read_text()), signal.SIGSTOP)
            descriptor = os.open(tty.read_text().strip(), os.O_RDWR | os.O_NOCTTY)
            attributes = termios.tcgetattr(descriptor)
            attributes[3] |= termios.ECHO
            termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
            os.close(descriptor)
            os.kill(int(pid.read_text()), signal.SIGCONT)

        screen, status = await self.ask(
            f'echo $$ > {pid}; tty > {tty}; exec "$@" --accept-new -m hi',
            there,
            ("Enter passphrase for key", stop_and_continue),
            ("Enter passphrase for key", "correct horse\r"),
        )
        self.assertEqual(status, 0, screen)
        self.assertNotIn("horse", screen)

    async def test_noTerminal(self) -> None:
        """Without a terminal, the client ends with one line that says what to do."""
        daemon, there = await self.start_locked("correct horse")
        await self.assertEnds(2, "no terminal to ask for the passphrase; use --agent", *there, "-m", "hi")
        await self.assertEnds(4, f"--host-key {daemon.fingerprint}", *there[:3], "-m", "hi", stdin=b"yes\n")

    async def test_locale(self) -> None:
        """In a locale that lacks characters, the prompt works; what it cannot decode is not sent."""
        daemon = await self.start()
        screen, status = await self.ask(
            'exec "$@"',
            self.to(daemon),
            ("/help for", "好\r"),
            ("not sent: the message is not valid text", "\x15hello\r"),
            ("hello", "/new\r"),
            ("started", ""),
            (READY, CTRL_D),
            **ASCII,
        )
        self.assertEqual(status, 0, screen)


class SeveralKeysTests(StreamTestCase):
    """An agent with several keys."""

    def start_agent(self, *paths: Path) -> str:
        """Run ssh-agent with these keys; its socket."""
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        agent = Agent(Path(directory.name) / "agent").start(*paths)
        self.addCleanup(agent.stop)
        return str(agent.path)

    async def test_tried(self) -> None:
        """The keys are offered one after the other, and each is named; with a public key, only that one is."""
        paths = [make_key(Path(self.mktemp()).absolute()) for _key in range(3)]
        fingerprints = [keys.fingerprint(load_private_key(path).blob) for path in paths]
        agent = self.start_agent(*paths)
        team = Path(self.mktemp()).absolute()
        team.write_text(paths[2].with_suffix(".pub").read_text())
        daemon = await self.start("--robot", "echo", "--authorized-keys", str(team))
        there = [*self.to(daemon), "-m", "hi", "-v"]
        status, output, errors = await self.run_client(*there, "--agent", SSH_AUTH_SOCK=agent)
        self.assertEqual((status, output), (0, "hi\n"), errors)
        self.assertEqual(re.findall("offering public key ED25519 (.*)", errors), fingerprints)
        public = paths[2].with_suffix(".pub")
        choices: list[list[str | Path]] = [["--agent", "-i", public], ["--agent", "-i", paths[2]], ["-i", public]]
        for options in choices:
            status, output, errors = await self.run_client(*there, *options, SSH_AUTH_SOCK=agent)
            self.assertEqual((status, output), (0, "hi\n"), errors)
            self.assertEqual(re.findall("offering public key ED25519 (.*)", errors), fingerprints[2:])

    async def test_refused(self) -> None:
        """If none is accepted, the error names all that were offered."""
        paths = [make_key(Path(self.mktemp()).absolute()) for _key in range(2)]
        fingerprints = [keys.fingerprint(load_private_key(path).blob) for path in paths]
        agent = self.start_agent(*paths)
        team = Path(self.mktemp()).absolute()
        team.write_text("")
        daemon = await self.start("--robot", "echo", "--authorized-keys", str(team))
        status, output, errors = await self.run_client(*self.to(daemon), "-m", "x", "--agent", SSH_AUTH_SOCK=agent)
        self.assertEqual((status, output), (4, ""))
        self.assertIn(f"none of your keys {', '.join(fingerprints)} is authorized", errors.splitlines()[-1])


class OddPlaceTests(StreamTestCase):
    """Files and addresses that are unusual."""

    async def test_readOnlyKnownHosts(self) -> None:
        """If known_hosts cannot be written, the user is told, and the session goes on."""
        daemon = await self.start()
        path = "/proc/known_hosts"  # not even root can create a file there
        there = [f"127.0.0.1:{daemon.port}", "--known-hosts", path, "--accept-new"]
        status, output, errors = await self.run_client(*there, "-m", "hi")
        self.assertEqual((status, output), (0, "hi\n"), errors)
        self.assertIn(f"failed to add the host to the list of known hosts: {path}: ", errors)

    async def test_zone(self) -> None:
        """A link-local address is reached with its zone, and known by it."""
        try:
            lines = Path("/proc/net/if_inet6").read_text().split("\n")
        except FileNotFoundError:
            raise SkipTest("no /proc") from None
        local = [line.split() for line in lines if line.startswith("fe80")]
        if not local:
            raise SkipTest("this machine has no link-local address")
        digits, *_numbers, interface = local[0]
        address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
        escaped = address.replace(":", r"\:")
        daemon = await self.start("--robot", "echo", "--listen", f"tcp6:0:interface={escaped}%{interface}", "--anyone")
        _host, *options = self.to(daemon)
        there = f"[{address}%{interface}]:{daemon.port}"
        for _run in range(2):
            status, output, errors = await self.run_client(there, *options, "-m", "hi")
            self.assertEqual((status, output), (0, "hi\n"), errors)
        [line] = self.known_hosts.read_text().splitlines()
        self.assertTrue(line.startswith(f"{there} ssh-ed25519 "), line)

    async def test_noHome(self) -> None:
        """A user without a home directory, as in a container, is told so, and needs --known-hosts only."""
        daemon = await self.start()
        environ = {name: value for name, value in ENVIRON.items() if not name.startswith(("HOME", "XDG_"))}

        def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
            command = [sys.executable, "-c", WITHOUT_PASSWD, *arguments]
            return subprocess.run(command, cwd="/", env=environ, capture_output=True, text=True, timeout=TIMEOUT)

        done = await deferToThread(run, f"127.0.0.1:{daemon.port}", "-m", "hi")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(
            done.stderr,
            "securechat: cannot determine the home directory; set HOME, or use --known-hosts; see securechat --help\n",
        )
        done = await deferToThread(run, *self.to(daemon), "-m", "hi")
        self.assertEqual((done.returncode, done.stdout), (0, "hi\n"), done.stderr)

"""The child process that keeps the connection until the train has ended, while the shell goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.harness.daemon import ENVIRON, Daemon
from tests.harness.terminal import Terminal
from tests.programs.test_client import TIMEOUT, ProgramTestCase

# The client with a FIFO that stays open until its last process has ended, and with a limit for the child
CLIENT = """
import os, sys
path, limit, *arguments = sys.argv[1:]
os.open(path, os.O_WRONLY)
from securechat.client import background
from securechat.client.__main__ import main
background.LONGEST_TRAIN = int(limit)
sys.exit(main(arguments))
"""
LONG = ("--robot", "echo", "--tick", "0.25")  # a train takes 12.5 seconds, longer than a client takes to start
SHORT = ("--robot", "echo", "--tick", "0.05")
LEFT = "ended (leaving)"


class BackgroundTestCase(ProgramTestCase):
    async def answered(self, daemon: Daemon, *arguments: str, limit: int = 100) -> int:
        """Run the client until it exits; a descriptor at whose end the child has ended as well."""
        fifo = Path(self.mktemp()).absolute()
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        os.set_blocking(reader, True)
        command = [sys.executable, "-c", CLIENT, str(fifo), str(limit), *self.to(daemon), "-m", "hi", *arguments]

        def run() -> "subprocess.CompletedProcess[bytes]":
            return subprocess.run(command, capture_output=True, cwd="/", env=ENVIRON, timeout=TIMEOUT)

        done = await deferToThread(run)
        self.assertEqual((done.returncode, done.stdout), (0, b"hi\n"), done.stderr)
        return reader

    async def assertChildEnds(self, reader: int) -> None:
        self.assertEqual(await deferToThread(os.read, reader, 1), b"")


class BackgroundTests(BackgroundTestCase):
    """A client that has exited after its reply."""

    async def test_exits(self) -> None:
        """The client exits and closes its output while the session is open; the session ends with GOODBYE."""
        daemon = await self.start(*LONG)
        reader = await self.answered(daemon)
        self.assertNotIn(LEFT, daemon.text())
        await self.assertChildEnds(reader)
        await daemon.logged(LEFT)

    async def test_wait(self) -> None:
        """With --wait, the client exits when the session has ended."""
        daemon = await self.start(*SHORT)
        await self.answered(daemon, "--wait")
        self.assertIn(LEFT, daemon.text())

    async def test_descriptors(self) -> None:
        """What the client has inherited, such as the lock of a script, is closed when it exits."""
        daemon = await self.start(*LONG)
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        command = [sys.executable, "-m", "securechat.client", *self.to(daemon), "-m", "hi"]

        def run() -> bytes:
            subprocess.run(command, capture_output=True, check=True, env=ENVIRON, timeout=TIMEOUT, pass_fds=[writer])
            os.close(writer)
            return os.read(reader, 1)

        self.assertEqual(await deferToThread(run), b"")
        self.assertNotIn(LEFT, daemon.text())

    async def test_terminalCloses(self) -> None:
        """The end of the terminal's session does not end the child."""
        daemon = await self.start(*SHORT)
        command = [sys.executable, "-m", "securechat.client", *self.to(daemon), "-m", "hi"]
        terminal = Terminal(command, ENVIRON, TIMEOUT)
        self.addCleanup(terminal.kill)
        self.assertEqual(await deferToThread(terminal.close), 0)
        self.assertIn("hi\r\n", terminal.screen)
        await daemon.logged(LEFT)

    async def test_fault(self) -> None:
        """The exit code is that of the replies."""
        daemon = await self.start(*LONG, "--max-message", "4096")
        status, output, errors = await self.run_client(*self.to(daemon), "-m", "ok", "-m", "x" * 4097)
        self.assertEqual((status, output), (2, "ok\n"), errors)
        self.assertNotIn(LEFT, daemon.text())

    async def test_reader(self) -> None:
        """If the reader of the output leaves, the client exits without a word, and the session ends with GOODBYE."""
        daemon = await self.start(*SHORT)
        command = [sys.executable, "-m", "securechat.client", *self.to(daemon), "-m", "1", "-m", "2\n" * 9000]

        def run() -> "subprocess.CompletedProcess[bytes]":
            script = '"$@" | head -n 1'
            return subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, env=ENVIRON, cwd="/")

        done = await deferToThread(run)
        self.assertEqual((done.returncode, done.stdout), (0, b"1\n"))
        self.assertNotIn(b"securechat:", done.stderr)
        await daemon.logged(LEFT)


class EndTests(BackgroundTestCase):
    """The child ends, whatever happens to the server."""

    async def test_stalledServer(self) -> None:
        """It ends if the server sends nothing any more."""
        daemon = await self.start(*LONG)
        reader = await self.answered(daemon)
        daemon.process.send_signal(signal.SIGSTOP)
        self.addCleanup(daemon.process.send_signal, signal.SIGCONT)
        await self.assertChildEnds(reader)

    async def test_killedServer(self) -> None:
        """It ends if the server is killed."""
        daemon = await self.start(*LONG)
        reader = await self.answered(daemon)
        daemon.process.kill()
        await self.assertChildEnds(reader)

    async def test_limit(self) -> None:
        """It ends after its own limit if the train does not."""
        daemon = await self.start(*LONG)
        reader = await self.answered(daemon, limit=1)
        await self.assertChildEnds(reader)
        await daemon.logged("client 1 from")
        self.assertNotIn(LEFT, daemon.text())

    async def test_killed(self) -> None:
        """It does not stop the daemon from stopping."""
        daemon = await self.start(*LONG)
        reader = await self.answered(daemon)
        await daemon.stop()
        await self.assertChildEnds(reader)

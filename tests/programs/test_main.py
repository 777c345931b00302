"""The client's program around a run: signals, failures, exit codes and the log."""

import signal
import subprocess
import sys
import time
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.harness.daemon import ENVIRON
from tests.harness.terminal import READY, Terminal
from tests.programs.test_client import TIMEOUT, ProgramTestCase

PROGRAM = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # one may be ignored in a shell's background
    signal.signal(number, signal.SIG_DFL)
import securechat.client.__main__ as program
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from securechat.client.exit_codes import ExitCode

async def run(reactor, options, environ, output, background):
    Logger().info("in the log")
{body}

program.run = run
sys.exit(program.main())
"""
CLEAN_UP = """
    os.kill(os.getpid(), signal.{name})
    try:
        await Deferred()
    finally:
        await deferLater(reactor, 0.1)
        os.write(1, b"cleaned up\\n")
"""


class MainTests(SynchronousTestCase):
    """The program with another run in it."""

    def run_program(self, body: str, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        indented = body if "\n" in body else f"    {body}"
        command = [sys.executable, "-c", PROGRAM.format(body=indented), *arguments]
        done = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, timeout=TIMEOUT)
        return done.returncode, done.stdout, done.stderr

    def test_exitCode(self) -> None:
        """The exit code is that of the run; without -v nothing is logged."""
        for code in (0, 3, 4, 5):
            self.assertEqual(self.run_program(f"return ExitCode({code})"), (code, "", ""))

    def test_verbose(self) -> None:
        """With -v the log is on standard error."""
        code, output, errors = self.run_program("return ExitCode.ANSWERED", "-v")
        self.assertEqual((code, output), (0, ""))
        self.assertIn("in the log", errors)

    def test_fault(self) -> None:
        """A bug is reported in one line that names it and no value; with -v there is a traceback."""
        code, output, errors = self.run_program("raise ValueError('private')")
        self.assertEqual((code, output, errors.count("\n")), (5, "", 1))
        self.assertTrue(errors.startswith("securechat: internal error: ValueError; "), errors)
        self.assertNotIn("private", errors)
        code, output, errors = self.run_program("raise ValueError('x')", "-v")
        self.assertEqual((code, output), (5, ""))
        self.assertIn("Traceback", errors)

    def test_signals(self) -> None:
        """A signal cancels the run, which may take some time to end, and adds its number to 128."""
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            code = 128 + getattr(signal, name)
            self.assertEqual(self.run_program(CLEAN_UP.format(name=name)), (code, "cleaned up\n", ""))

    def test_atAQuestion(self) -> None:
        """A signal that ends a question, which blocks the reactor, does the same."""
        for number, code in (("signal.SIGTERM", 143), ("signal.SIGHUP", 129), ("", 130)):
            self.assertEqual(self.run_program(f"raise KeyboardInterrupt({number})"), (code, "", ""))

    def test_slowReader(self) -> None:
        """All output arrives, however late it is read, if the program was not ended by a signal."""
        command = [sys.executable, "-c", PROGRAM.format(body="    print('x' * 500_000); return ExitCode.ANSWERED")]
        with subprocess.Popen(command, env=ENVIRON, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            start = process.stdout.read(1)
            time.sleep(1.5)  # longer than the program waits after a signal
            self.assertEqual(len(start + process.stdout.read()), 500_001)
        self.assertEqual(process.returncode, 0)

    def test_clock(self) -> None:
        """The timers of a run do not follow the wall clock, and it has the environment and the settings."""
        body = "print(type(reactor).__name__, environ is os.environ, options.messages); return ExitCode.ANSWERED"
        self.assertEqual(self.run_program(body, "-m", "x"), (0, "MonotonicReactor True ('x',)\n", ""))


class ModuleTests(ProgramTestCase):
    """The program as a module, and at a terminal."""

    async def test_exitCode(self) -> None:
        """The exit code is that of the process."""
        self.assertEqual((await self.run_client("--nonsense"))[0], 2)
        self.assertEqual((await self.run_client("-i", "/nonexistent"))[0], 2)

    async def test_terminal(self) -> None:
        """A signal at the prompt ends the program with the terminal as it was."""
        daemon = await self.start()
        command = [sys.executable, "-m", "securechat.client", *self.to(daemon)]

        def run() -> Any:
            terminal = Terminal(command, {**ENVIRON, "TERM": "xterm"}, TIMEOUT)
            self.addCleanup(terminal.kill)
            terminal.wait_for(READY)
            self.assertFalse(terminal.is_echoing)
            terminal.signal(signal.SIGTERM)
            status = terminal.close()
            return status, terminal.screen

        status, screen = await deferToThread(run)
        self.assertEqual(status, 128 + signal.SIGTERM, screen)
        self.assertIn("\x1b[?2004l", screen)  # bracketed paste off

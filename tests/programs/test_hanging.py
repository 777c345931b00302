"""Tests that hang end, so that a run of the tests does, and tests run with nohup as they do at a terminal."""

import os
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.harness.daemon import ENVIRON

# Tests that wait for ever, each in its way, and one that passes
HANGING = """
import os, subprocess, threading
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
import tests

class ReadTests(SynchronousTestCase):
    def test_hangs(self):
        os.mkfifo("fifo")
        open("fifo").read()

class ProgramTests(SynchronousTestCase):
    def test_hangs(self):
        subprocess.run(["sleep", "1000"])

class AwaitedThreadTests(TestCase):
    timeout = 0.1
    async def test_hangs(self):
        os.mkfifo("fifo")
        await deferToThread(open, "fifo")

class ThreadTests(SynchronousTestCase):
    def test_hangs(self):
        os.mkfifo("fifo")
        threading.Thread(target=open, args=("fifo",)).start()

class LockTests(SynchronousTestCase):
    def test_hangs(self):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
"""
LIMIT = 1.0  # seconds
PATIENCE = 60.0  # seconds, on a busy machine


class HangingTests(SynchronousTestCase):
    """A run of trial with a test that hangs."""

    def check(self, *options: str) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / "test_hanging.py").write_text(HANGING)
        path = os.pathsep.join((str(directory), ENVIRON["PYTHONPATH"]))
        for name in ("Read", "Program", "AwaitedThread", "Thread", "Lock"):
            started = time.monotonic()
            command = ("twisted.trial", *options, f"--temp-directory={name}", f"test_hanging.{name}Tests")
            done = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=directory,
                env={**ENVIRON, "PYTHONPATH": path, "TEST_LIMIT": str(LIMIT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
            )
            self.assertGreaterEqual(time.monotonic() - started, LIMIT)
            if name != "Thread" or not options:  # a worker's end after its last test is only printed
                self.assertNotEqual(done.returncode, 0, done.stdout)
            log = done.stdout + "".join(path.read_text() for path in (directory / name).glob("*/err.log"))
            self.assertIn("most recent call first", log, name)

    def test_alone(self) -> None:
        """In one process, a test that hangs ends with a traceback, whatever it waits for."""
        self.check()

    def test_worker(self) -> None:
        """So it does in a worker process."""
        self.check("--jobs=1")


class IgnoredSignalTests(SynchronousTestCase):
    """Tests that are run with nohup, or in the background of a script."""

    def test_programs(self) -> None:
        """A program that a test starts handles signals as at a terminal; the tests do not end with the terminal."""
        program = (
            "import signal; print([signal.getsignal(n) is signal.SIG_IGN for n in (signal.SIGHUP, signal.SIGINT)])"
        )
        tests = (
            "import tests, os, signal, subprocess, sys; "
            "os.kill(os.getpid(), signal.SIGHUP); "
            f"subprocess.run([sys.executable, '-c', {program!r}], check=True)"
        )
        done = subprocess.run(
            ["/bin/sh", "-c", 'trap "" HUP INT; exec "$@"', "sh", sys.executable, "-c", tests],
            env=ENVIRON,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual((done.returncode, done.stdout), (0, "[False, False]\n"), done.stderr)

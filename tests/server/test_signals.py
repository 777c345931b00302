"""Signals: the reactor makes the calls, and a handler waits for nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger, globalLogPublisher, textFileLogObserver
from twisted.python.logfile import LogFile
from twisted.trial.unittest import TestCase

from securechat.server.signals import call_on_signal
from tests.harness.daemon import ENVIRON

reactor: Any = installed

BUSY = """
import signal, sys
from twisted.internet import reactor
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver
from twisted.python.logfile import LogFile
from securechat.server.signals import call_on_signal

def work():
    for _ in range(50):
        log.info("working")
    reactor.callLater(0, work)

globalLogBeginner.beginLoggingTo([textFileLogObserver(LogFile.fromFullPath(sys.argv[1]))], redirectStandardIO=False)
log = Logger()
reactor.callWhenRunning(work)
reactor.callWhenRunning(call_on_signal, reactor, signal.SIGTERM, log.info, "received SIGTERM")
reactor.callWhenRunning(call_on_signal, reactor, signal.SIGINT, reactor.stop)
reactor.callWhenRunning(print, "ready", flush=True)
reactor.run()
"""


class SignalTests(TestCase):
    """Signals to a process with a reactor."""

    def receive(self, call: Any) -> None:
        """Have a call made on SIGUSR1, for this test."""
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        call_on_signal(reactor, signal.SIGUSR1, call, "argument")

    async def test_called(self) -> None:
        """The call is made by the reactor, after the signal's handler has returned, and once for each signal."""
        called: list[str] = []
        self.receive(called.append)
        for _ in range(2):
            signal.raise_signal(signal.SIGUSR1)
        self.assertEqual(called, [])
        await deferLater(reactor, 0)
        self.assertEqual(called, ["argument"] * 2)

    async def test_wakesTheReactor(self) -> None:
        """A reactor that has nothing to do makes the call at once."""
        called: Deferred[str] = Deferred()
        self.receive(called.callback)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        sent = time.monotonic()
        await called.addTimeout(10, reactor)
        self.assertLess(time.monotonic() - sent, 5)

    async def test_lockedLog(self) -> None:
        """The handler returns while another thread holds the lock of the log file; the call is made afterwards."""
        file: Any = LogFile.fromFullPath(str(Path(self.mktemp()).absolute()))
        observer = textFileLogObserver(file)
        self.addCleanup(file.close)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        Logger().info("this creates the lock")
        locked, returned = threading.Event(), threading.Event()
        in_time: list[bool] = []

        def hold() -> None:
            with file._threadable_lock:
                locked.set()
                in_time.append(returned.wait(5))

        thread = threading.Thread(target=hold)
        thread.start()
        locked.wait()
        self.receive(Logger().info)
        signal.raise_signal(signal.SIGUSR1)
        returned.set()
        thread.join()
        self.assertEqual(in_time, [True])
        await deferLater(reactor, 0)
        self.assertIn("argument", Path(file.path).read_text())

    def test_aThousandSignals(self) -> None:
        """A process that logs all the time receives a thousand signals, logs them, and goes on."""
        log = Path(self.mktemp()).absolute()
        with subprocess.Popen([sys.executable, "-c", BUSY, log], env=ENVIRON, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                self.assertEqual(process.stdout.readline(), b"ready\n")
                for _ in range(1000):
                    process.send_signal(signal.SIGTERM)
                    time.sleep(0.001)
                process.send_signal(signal.SIGINT)
                self.assertEqual(process.wait(10), 0)
            finally:
                process.kill()
        text = "".join(path.read_text() for path in log.parent.glob(f"{log.name}*"))
        self.assertGreater(text.count("received SIGTERM"), 10)  # the kernel merges signals that come together

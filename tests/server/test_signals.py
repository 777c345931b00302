"""Signals: the reactor makes the calls, and a handler waits for nothing."""

import os
import signal
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

reactor: Any = installed


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

    async def test_ignored(self) -> None:
        """A signal that was ignored when the program started, as SIGHUP with nohup, stays ignored."""
        before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        call_on_signal(reactor, signal.SIGUSR1, self.fail)
        self.assertIs(signal.getsignal(signal.SIGUSR1), signal.SIG_IGN)

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

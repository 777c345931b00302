"""Signals to a process that is busy."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.harness.daemon import ENVIRON

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


class SignalTests(SynchronousTestCase):
    """Signals to a process that is busy."""

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
                self.assertEqual(process.wait(60), 0)
            finally:
                process.kill()
        text = "".join(path.read_text() for path in log.parent.glob(f"{log.name}*"))
        self.assertGreater(text.count("received SIGTERM"), 10)  # the kernel merges signals that come together

"""The daemon's service, started and stopped in this process."""

import signal
from typing import Any, cast

from twisted.application.service import MultiService
from twisted.internet import reactor as installed
from twisted.logger import Logger, globalLogPublisher
from twisted.trial.unittest import TestCase

from securechat import timerfd
from securechat.clock import TimerfdAlarm
from securechat.tap import Options, makeService

reactor: Any = installed


def alarms() -> list[object]:
    """The timers that the reactor reads."""
    return [reader for reader in reactor.getReaders() if isinstance(reader, TimerfdAlarm)]


class ServiceTests(TestCase):
    """A service that runs and is stopped."""

    def setUp(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        options = Options()
        options.parseOptions(["--state-dir", self.mktemp(), "--listen", "tcp:0:interface=127.0.0.1"])
        self.service = cast(MultiService, makeService(options))

    async def test_stopped(self) -> None:
        """A service that has stopped has released its timer, and does not limit the log any more."""
        seen: list[object] = []
        observer: Any = seen.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.service.privilegedStartService()
        self.service.startService()
        cast(Any, self.service.services[0]).factory.clock.callLater(100, self.fail)
        self.assertEqual(len(alarms()), timerfd.is_available())
        for _ in range(1000):
            Logger().info("working")
        self.assertLess(len(seen), 300)
        await self.service.stopService()
        self.assertEqual(alarms(), [])
        seen.clear()
        for _ in range(1000):
            Logger().info("working")
        self.assertEqual(len(seen), 1000)

"""The daemon's service, started and stopped in this process."""

import signal
from pathlib import Path
from typing import Any, cast

from twisted.application.service import MultiService
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger, globalLogPublisher
from twisted.trial.unittest import TestCase

from securechat import timerfd
from securechat.client.protocol import Signer
from securechat.clock import TimerfdAlarm
from securechat.robots import registry
from securechat.server.protocol import ChatServerFactory
from securechat.settings import Settings
from securechat.ssh import keys
from securechat.tap import Options, makeService
from securechat.wire.events import GoodbyeReceived
from securechat.wire.messages import Reason
from tests.harness.daemon import Talk
from tests.harness.pair import USER_KEY
from tests.harness.robot import PuppetRobot
from tests.robots.test_fallback import PuppetMaker

reactor: Any = installed


def alarms() -> list[object]:
    """The timers that the reactor reads."""
    return [reader for reader in reactor.getReaders() if isinstance(reader, TimerfdAlarm)]


class ServiceTests(TestCase):
    """A service that runs and is stopped."""

    timeout = 60

    def setUp(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.closed_with: list[int] = []  # number of sessions when the robot was closed
        test = self

        class Puppet(PuppetRobot):
            def close(self) -> "Deferred[None]":
                test.closed_with.append(len(test.factory.sessions))
                return super().close()

        maker = PuppetMaker("puppet", Settings)
        maker.makeRobot = lambda reactor, settings, key: cast(Any, Puppet(echo=True))  # type: ignore[method-assign]
        self.patch(registry, "BUILT_IN", {"puppet": maker})
        self.make()

    def make(self, *arguments: str) -> None:
        """A daemon on two ports."""
        options = Options()
        listen = ("--listen", "tcp:0:interface=127.0.0.1")
        options.parseOptions(["--state-dir", self.mktemp(), *listen, *listen, "--robot", "puppet", *arguments])
        self.service = cast(MultiService, makeService(options))
        self.factory = cast(ChatServerFactory, cast(Any, self.service.services[0]).factory)

    async def start(self) -> list[int]:
        """Start the service; its ports."""
        self.service.privilegedStartService()
        self.service.startService()
        ports = [await cast(Any, service)._waitingForPort for service in self.service.services]
        return [port.getHost().port for port in ports]

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

    async def test_sessionsEnd(self) -> None:
        """Each session is told that the server stops; when all are gone the robot is closed, and the service done."""
        ports = await self.start()
        talks = [await Talk().start(port) for port in (*ports, *ports)]
        self.assertEqual(await talks[3].ask("hello"), "hello")
        stopping = self.service.stopService()
        self.assertNoResult(stopping)
        for talk in talks:
            end = await talk.end
            assert isinstance(end, GoodbyeReceived)
            self.assertIs(end.reason, Reason.STOPPING)
        await stopping
        self.assertEqual(self.closed_with, [0])

    async def test_reload(self) -> None:
        """SIGHUP ends the sessions of every key that was removed, also if a handshake has read the file before."""
        path = Path(self.mktemp())
        removed = [keys.SigningKey.generate() for _ in range(3)]
        lines = [keys.public_line(key.blob, f"user{number}") for number, key in enumerate((USER_KEY, *removed))]
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        self.make("--authorized-keys", str(path), "--shaping", "off")
        [port, _other] = await self.start()
        talks = [await Talk().start(port, signer=Signer(key.blob, key.sign)) for key in (*removed, USER_KEY)]
        path.write_text(lines[0] + "\n")
        await (await Talk().start(port, signer=Signer(USER_KEY.blob, USER_KEY.sign))).leave()
        signal.raise_signal(signal.SIGHUP)
        for talk in talks[:3]:
            self.assertEqual(await talk.end, GoodbyeReceived(Reason.KEY_WITHDRAWN, 0))
        self.assertEqual(await talks[3].ask("still here"), "still here")
        await talks[3].leave()
        while self.factory.sessions:
            await deferLater(reactor, 0.005)
        await self.service.stopService()

    async def test_handlers(self) -> None:
        """SIGINT is handled unless the shell said to ignore it, and SIGHUP always is."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        await self.start()
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
        self.assertTrue(callable(signal.getsignal(signal.SIGHUP)))
        await self.service.stopService()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.make()
        await self.start()
        self.assertIsNot(signal.getsignal(signal.SIGINT), signal.default_int_handler)
        await self.service.stopService()

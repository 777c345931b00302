"""The daemon's service, started and stopped in this process."""

import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import tempfile
from io import StringIO
from pathlib import Path
from shutil import rmtree
from typing import Any, cast

from twisted.application.service import MultiService
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, globalLogPublisher
from twisted.trial.unittest import TestCase

from securechat import timerfd
from securechat.client.signer import Signer
from securechat.clock import TimerfdAlarm
from securechat.errors import SecureChatError
from securechat.robots import registry
from securechat.robots.echo import ECHO
from securechat.server.factory import ChatServerFactory
from securechat.server.service import ChatService, StartError
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


async def exchange(path: Path, request: bytes) -> bytes:
    """The answer to a request on a UNIX socket, up to its end."""

    def ask() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(path))
            connection.sendall(request)
            with connection.makefile("rb") as answer:
                return answer.read()

    whole: bytes = await deferToThread(ask)
    return whole


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
        self.options = options = Options()
        listen = ("--listen", "tcp:0:interface=127.0.0.1")
        options.parseOptions(["--state-dir", self.mktemp(), *listen, *listen, "--robot", "puppet", *arguments])
        self.service = cast(ChatService, makeService(options))
        self.factory = cast(ChatServerFactory, cast(Any, self.service.services[0]).factory)

    async def start(self) -> list[int]:
        """Start the service; its ports."""
        self.service.privilegedStartService()
        self.service.startService()
        ports = [await cast(Any, service)._waitingForPort for service in self.service.services]
        return [port.getHost().port for port in ports]

    def log_lines(self) -> list[str]:
        """What is logged from now on."""
        lines: list[str] = []

        def observe(event: Any) -> None:
            if event.get("log_format"):
                lines.append(f"{event['log_level'].name} {event['log_format'].format(**event)}")

        observer: Any = observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return lines

    async def test_log(self) -> None:
        """A daemon says what is dubious about it, and then its host key and its robot."""
        self.patch(os, "geteuid", lambda: 0)
        self.patch(resource, "getrlimit", lambda kind: (10, 10))
        self.patch(resource, "setrlimit", lambda kind, limits: None)
        lines = self.log_lines()
        await self.start()
        fingerprint = keys.fingerprint(self.factory.identity.host_key.blob)
        ours = [line for line in lines if "starting on" not in line]
        self.assertEqual(len(ours), 3, ours)
        self.assertIn("warn running as root", ours[0])
        self.assertIn("warn at most 10 files can be open", ours[1])
        self.assertEqual(ours[2], f"info host key {fingerprint}, robot puppet")
        await self.service.stopService()

    def test_keysThatChanged(self) -> None:
        """Authorized keys that cannot be used any more when the daemon starts, as another user, stop it in one line."""
        path = Path(self.mktemp())
        path.write_text(keys.public_line(USER_KEY.blob, "alice") + "\n")
        path.chmod(0o600)
        self.make("--authorized-keys", str(path))
        path.write_text("nonsense\n")
        printed = StringIO()
        self.patch(sys, "__stderr__", printed)
        error = self.assertRaises(StartError, self.service.startService)
        self.assertEqual(printed.getvalue(), f"{error}\n")
        self.assertIn(f"securechat: {path.absolute()}:1: ", str(error))

    def test_portInUse(self) -> None:
        """So does a port that is taken."""
        taken = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        self.addCleanup(taken.stopListening)
        self.make("--listen", f"tcp:{taken.getHost().port}:interface=127.0.0.1")
        self.addCleanup(MultiService.stopService, self.service)  # the other ports; nothing else was started
        printed = StringIO()
        self.patch(sys, "__stderr__", printed)
        error = self.assertRaises(StartError, self.service.privilegedStartService)
        self.assertEqual(printed.getvalue(), f"{error}\n")
        self.assertIn("Address already in use", str(error))

    async def test_proxy(self) -> None:
        """Behind `haproxy:` a connection that is refused is closed, and nothing fails."""
        self.make("--listen", "haproxy:tcp:0:interface=127.0.0.1", "--anyone", "--max-handshakes-per-source", "1")
        port = (await self.start())[-1]
        header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4444 8080\r\n\0"
        with socket.create_connection(("127.0.0.1", port)) as first:
            first.sendall(header)
            while not self.factory.sessions:
                await deferLater(reactor, 0.005)
            with socket.create_connection(("127.0.0.1", port)) as second:
                second.settimeout(20)
                second.sendall(header)
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(await deferToThread(second.recv, 1), b"")
            self.assertEqual(len(self.factory.sessions), 1)
        await self.service.stopService()

    async def test_garbage(self) -> None:
        """While the service runs, Python collects no garbage of its own accord."""
        await self.start()
        self.assertFalse(gc.isenabled())
        await self.service.stopService()
        self.assertTrue(gc.isenabled())

    async def test_signals(self) -> None:
        """The first SIGINT stops the reactor, which stops the service; the second one does not wait for clients."""
        stops: list[str] = []

        def stop() -> None:
            if stops:
                raise ReactorNotRunning
            stops.append("stopped")

        signal.signal(signal.SIGINT, signal.default_int_handler)
        lines = self.log_lines()
        [port, _other] = await self.start()
        await deferLater(reactor, 0)  # by now trial has its own `stop`
        self.patch(reactor, "stop", stop)
        talks = [await Talk().start(port) for _ in range(3)]
        signal.raise_signal(signal.SIGINT)
        await deferLater(reactor, 0)
        self.assertEqual((stops, lines[-1]), (["stopped"], "info received SIGINT, shutting down"))
        self.assertEqual(len(self.factory.sessions), 3)
        signal.raise_signal(signal.SIGINT)
        for talk in talks:
            self.assertIsInstance(await talk.end, SecureChatError)
        self.assertIn("info received SIGINT again, closing all connections", lines)
        await self.service.stopService()

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

    async def test_operators(self) -> None:
        """While the daemon stops, its operator can see that it is not ready, and which sessions are left."""
        directory = Path(tempfile.mkdtemp())  # the paths of sockets have to be short
        self.addCleanup(rmtree, directory)
        metrics, control = directory / "metrics", directory / "control"
        self.make("--metrics", f"unix:{metrics}", "--control", str(control))
        [port, *_others] = await self.start()
        talk = await Talk().start(port)
        self.assertIn(b"200 OK", await exchange(metrics, b"GET /readyz HTTP/1.0\r\n\r\n"))
        talk.client.transport.pauseProducing()  # it does not see the server's GOODBYE
        stopping = self.service.stopService()
        self.assertIn(b"503 Service Unavailable", await exchange(metrics, b"GET /readyz HTTP/1.0\r\n\r\n"))
        self.assertIn(b'"session":1', await exchange(control, b'{"command":"sessions"}\n'))
        talk.client.transport.resumeProducing()
        await stopping
        await talk.end
        self.assertEqual(list(directory.glob("*")), [])

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
        """SIGHUP ends the sessions of every key that was removed."""
        await self.check_reload(read_before=False)

    async def test_reloadOfWhatWasRead(self) -> None:
        """So it does if a handshake has read the file before."""
        await self.check_reload(read_before=True)

    async def check_reload(self, *, read_before: bool) -> None:
        path = Path(self.mktemp())
        removed = [keys.SigningKey.generate() for _ in range(3)]
        lines = [keys.public_line(key.blob, f"user{number}") for number, key in enumerate((USER_KEY, *removed))]
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        self.make("--authorized-keys", str(path), "--shaping", "off")
        [port, _other] = await self.start()
        talks = [await Talk().start(port, signer=Signer(key.blob, key.sign)) for key in (*removed, USER_KEY)]
        path.write_text(lines[0] + "\n")
        if read_before:
            await (await Talk().start(port, signer=Signer(USER_KEY.blob, USER_KEY.sign))).leave()
        signal.raise_signal(signal.SIGHUP)
        for talk in talks[:3]:
            self.assertEqual(await talk.end, GoodbyeReceived(Reason.KEY_WITHDRAWN, 0))
        self.assertEqual(await talks[3].ask("still here"), "still here")
        await talks[3].leave()
        while self.factory.sessions:
            await deferLater(reactor, 0.005)
        await self.service.stopService()

    async def start_with(self, config: str) -> int:
        """Start a daemon with a configuration file; its port."""
        self.config = Path(self.mktemp()).absolute()
        self.config.write_text(config)
        self.make("--config", str(self.config), "--shaping", "off")
        return (await self.start())[0]

    async def stop(self) -> None:
        while self.factory.sessions:
            await deferLater(reactor, 0.005)
        await self.service.stopService()

    async def test_reloadConfig(self) -> None:
        """SIGHUP applies the file: to new sessions, and with its robots to those that are open."""
        self.patch(registry, "BUILT_IN", {**registry.BUILT_IN, "echo": ECHO})
        port = await self.start_with("max-sessions-per-source = 1\n")
        talk = await Talk().start(port)
        await self.assertFailure(Deferred.fromCoroutine(Talk().start(port)), SecureChatError)
        self.config.write_text("max-sessions-per-source = 2\nwidth = 3\n[robot.echo]\n")
        self.options._given_robots = []  # instead of the puppet
        lines = self.log_lines()
        signal.raise_signal(signal.SIGHUP)
        await deferLater(reactor, 0)
        self.assertEqual(lines[-1], "info reloaded the configuration")
        self.assertEqual(self.closed_with, [1])
        other = await Talk().start(port)
        assert talk.about is not None
        assert other.about is not None
        self.assertEqual((talk.about.robot, other.about.robot), ("puppet", "echo"))
        self.assertEqual((talk.about.width, other.about.width), (1, 3))
        for one in (talk, other):
            self.assertEqual(await one.ask("still here"), "still here")
            await one.leave()
        await self.stop()

    async def test_reloadUsers(self) -> None:
        """Once the file has authorized keys, sessions of others end; those of users go on if they are listed again."""
        port = await self.start_with("")
        talk = await Talk().start(port)
        path = Path(self.mktemp()).absolute()
        path.write_text(keys.public_line(USER_KEY.blob, "alice"))
        path.chmod(0o600)
        self.config.write_text(f'authorized-keys = "{path}"')
        self.assertIsNone(self.service.reload())
        self.assertEqual(await talk.end, GoodbyeReceived(Reason.KEY_WITHDRAWN, 0))
        user = await Talk().start(port, signer=Signer(USER_KEY.blob, USER_KEY.sign))
        self.assertIsNone(self.service.reload())
        self.assertEqual(await user.ask("still here"), "still here")
        await user.leave()
        await self.stop()

    async def test_reloadLimits(self) -> None:
        """Limits of a user apply to the next message, also of an open session; a misspelt name is logged."""
        path = Path(self.mktemp()).absolute()
        path.write_text(keys.public_line(USER_KEY.blob, "alice"))
        path.chmod(0o600)
        config = f'authorized-keys = "{path}"\nmessages-per-day = 1\n'
        lines = self.log_lines()
        port = await self.start_with(config + "[user.bob]\n[user.al]\n")
        self.assertEqual(lines[-1], "warn limits of users without an authorized key: al, bob")
        user = await Talk().start(port, signer=Signer(USER_KEY.blob, USER_KEY.sign))
        self.assertEqual(await user.ask("one"), "one")
        self.assertIn("limit of 1 message a day", await user.ask("two"))
        self.config.write_text(config + "[user.alice]\nmessages-per-day = 2\n")
        self.assertIsNone(self.service.reload())
        self.assertEqual(await user.ask("two"), "two")
        self.assertIn("limit of 2 messages a day", await user.ask("three"))
        self.config.write_text(config + "[user.alice]\nmessages-per-day = -2\n")
        problem = self.service.reload() or ""
        self.assertIn(f"{self.config}:4: user.alice.messages-per-day: expected a whole number from 0", problem)
        self.assertIn("limit of 2 messages a day", await user.ask("three"))
        await user.leave()
        await self.stop()

    async def test_badReload(self) -> None:
        """A file with a mistake changes nothing; the problem is logged, returned, and remembered until it is mended."""
        await self.start_with("max-sessions = 5\n")
        before = (self.factory.settings, self.factory.users, self.factory.robot, self.factory.identity)
        lines = self.log_lines()
        for text, words in (
            ("max-sessions = 6\ntick = 5", ":2: tick: expected a number from 0.01 to 0.25"),
            ("max-sessions = 6\nauthorized-keys = '/nonexistent'", "/nonexistent: No such file or directory"),
            ("max-sessions = 6\nmax-message = 40000000", ":2: max-message: expected at most an eighth of"),
        ):
            self.config.write_text(text)
            problem = self.service.reload()
            assert problem is not None
            self.assertIn(words, problem)
            self.assertEqual(self.service.problem, problem)
            self.assertEqual(lines[-1], f"error {problem}; keeping the previous configuration")
            after = (self.factory.settings, self.factory.users, self.factory.robot, self.factory.identity)
            self.assertEqual(after, before)
        self.assertEqual(self.closed_with, [])
        self.config.write_text("max-sessions = 6")
        self.assertIsNone(self.service.reload())
        self.assertEqual((self.service.problem, self.factory.settings.max_sessions), ("", 6))
        await self.stop()

    async def test_atStart(self) -> None:
        """What cannot be changed while the daemon runs is named, and the rest applies."""
        await self.start_with("tick = 0.1")
        self.config.write_text("tick = 0.2\nmax-sessions = 7")
        lines = self.log_lines()
        self.assertIsNone(self.service.reload())
        self.assertEqual((self.factory.settings.tick, self.factory.settings.max_sessions), (0.1, 7))
        self.assertEqual(lines[0], "warn tick takes effect when the daemon is started again")
        await self.stop()

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

"""Several daemons behind HAProxy, with the configuration in deploy/; `python -m benchmarks.balanced` does more."""

import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from securechat.errors import Category, RemoteProtocolError, SecureChatError
from securechat.wire.events import GoodbyeReceived
from securechat.wire.messages import Reason
from tests.harness import openai_peer
from tests.harness.daemon import MANY, STOP_TIMEOUT, Talk, reactor
from tests.harness.haproxy import CONFIGURATION, HAPROXY, BalancedDaemon, HAProxy, ReturningUser
from tests.harness.openai_peer import good, says, stream
from tests.harness.serving_client import ServingClient
from tests.harness.terminal import Terminal
from tests.programs.test_daemon import HEADER
from tests.programs.test_reconnecting import LOST
from tests.programs.test_terminal import CTRL_C, CTRL_D, TerminalTestCase

WORDS = [f"{number} " for number in range(60)]
SLOW = [step for word in WORDS for step in (*says(word), 0.05)]  # the events of a reply that takes three seconds
REPLY = "".join(WORDS) + "end"
RECONNECTED = 5.0  # seconds
USERS = 6


class BalancedTestCase(TerminalTestCase):
    """Daemons behind HAProxy that end with their test, and a language model for them."""

    def setUp(self) -> None:
        if HAPROXY is None:
            raise SkipTest("haproxy is not installed")
        self.daemons: list[BalancedDaemon] = []
        self.known_hosts = Path(self.mktemp()).absolute()
        scripts = patch.dict(openai_peer.SCRIPTS, {"slow": lambda: stream(*SLOW, *good("end"))})
        scripts.start()
        self.addCleanup(scripts.stop)

    async def balance(self, number: int, *options: str, send_proxy: str = "send-proxy-v2") -> HAProxy:
        """HAProxy in front of so many daemons, which share a host key."""
        key: tuple[str, ...] = ()
        started = []
        for _daemon in range(number):
            daemon = BalancedDaemon(self.mktemp(), *key, *options)
            self.addCleanup(daemon.stop)
            await daemon.started()
            key = key or ("--host-key", str((daemon.state / "ssh_host_ed25519_key").absolute()))
            started.append(daemon)
        self.daemons += started
        servers = [(daemon.port, daemon.metrics) for daemon in started]
        haproxy = HAProxy(Path(self.mktemp()).absolute(), servers, send_proxy)
        self.addCleanup(haproxy.stop)
        return await deferToThread(haproxy.wait)

    def admitted(self, daemon: BalancedDaemon) -> int:
        """How many clients were admitted so far."""
        return daemon.text().count(": admitted as ")

    def carrier(self) -> BalancedDaemon:
        """Wait until one daemon has the only session; that one. Call it in a thread."""
        end = time.monotonic() + RECONNECTED
        while True:
            found = [daemon for daemon in self.daemons if self.admitted(daemon) > daemon.text().count(": ended (")]
            if len(found) == 1:
                return found[0]
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def kill(self, daemon: BalancedDaemon) -> None:
        daemon.process.kill()
        daemon.process.wait()


class ConfigurationTests(BalancedTestCase):
    """The configuration in deploy/; tests.test_deploy has what can be told without HAProxy."""

    def test_valid(self) -> None:
        """HAProxy accepts it without a warning."""
        assert HAPROXY is not None
        checked = subprocess.run([HAPROXY, "-c", "-f", str(CONFIGURATION)], capture_output=True, text=True, check=False)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertNotRegex(checked.stdout + checked.stderr, "WARNING|ALERT")


class TerminalTests(BalancedTestCase):
    """A user at a terminal, whose daemon goes away."""

    def asked(self) -> list[str]:
        """The conversation in the last request to the model."""
        return [message["content"].strip() for message in self.peer.asked[-1]["messages"]]

    async def use_balanced(self, scenario: Callable[[Terminal], object]) -> None:
        self.listen_peer()
        haproxy = await self.balance(2, *self.options, *MANY)
        self.assertEqual(await self.use(haproxy, scenario), 0)

    async def test_drained(self) -> None:
        """The reply in progress comes whole, and the conversation goes on, on the other daemon."""

        def scenario(terminal: Terminal) -> None:
            terminal.type("one\r")
            terminal.wait_for("\r\none\r\n")
            first = self.carrier()
            terminal.type("slow\r")
            terminal.wait_for("5 ")
            first.process.terminate()
            terminal.wait_for("59 end")
            terminal.wait_for("the server is shutting down; reconnecting")
            terminal.wait_for("-- reconnected")
            self.assertIsNot(self.carrier(), first)
            self.assertEqual(first.process.wait(STOP_TIMEOUT), 0)
            terminal.type("two\r")
            terminal.wait_for("\r\ntwo\r\n")
            self.assertEqual(self.asked(), ["one", "one", "slow", REPLY, "two"])
            terminal.type(CTRL_D)

        await self.use_balanced(scenario)

    async def test_killed(self) -> None:
        """After kill -9, the client says that the reply is incomplete, and goes on within five seconds."""

        def scenario(terminal: Terminal) -> None:
            terminal.type("one\r")
            terminal.wait_for("\r\none\r\n")
            terminal.type("endless\r")
            terminal.wait_for("never ends\r\n")
            first = self.carrier()
            self.kill(first)
            self.daemons.remove(first)
            killed = time.monotonic()
            terminal.wait_for(f"the reply is incomplete: {LOST}")
            terminal.wait_for("-- reconnected")
            self.assertLess(time.monotonic() - killed, RECONNECTED)
            terminal.type("y")
            terminal.wait_for("never ends\r\n")
            self.assertEqual(self.asked(), ["one", "one", "endless"])
            terminal.type(CTRL_C)
            terminal.wait_for("the reply was cancelled")
            terminal.type(CTRL_D)

        await self.use_balanced(scenario)


class UsersTests(BalancedTestCase):
    """Several users at once, from addresses of their own."""

    async def start_users(self) -> list[ReturningUser]:
        self.listen_peer()
        haproxy = await self.balance(2, *self.options)
        users = [ReturningUser(haproxy.port, f"127.0.1.{number + 1}") for number in range(USERS)]
        for user in users:
            await user.arrive()
        for daemon in self.daemons:
            await daemon.logged(f"client {USERS // 2} from")
        self.assertEqual([self.admitted(daemon) for daemon in self.daemons], [USERS // 2] * 2)
        return users

    async def lost(self, users: list[ReturningUser]) -> list[ReturningUser]:
        """Wait until the users of one of the daemons have lost their session; those."""
        while sum(len(user.losses) for user in users) < USERS // 2:
            await deferLater(reactor, 0.01)
        return [user for user in users if user.losses]

    async def test_drained(self) -> None:
        """At SIGTERM no reply is lost, and users go on with their conversation on the other daemon."""
        users = await self.start_users()
        replies = gatherResults([Deferred.fromCoroutine(user.exchange("slow")) for user in users])
        staying = {user: Deferred.fromCoroutine(user.stay()) for user in users}
        while not all(user.texts for user in users):
            await deferLater(reactor, 0.05)
        self.daemons[0].process.terminate()
        self.assertEqual(await replies, [REPLY] * USERS)
        moved = await self.lost(users)
        await gatherResults([staying[user] for user in moved])
        self.assertEqual(await deferToThread(self.daemons[0].process.wait, STOP_TIMEOUT), 0)
        await self.daemons[1].logged(f"client {USERS} from")
        for user in users:
            self.assertEqual(user.losses, [GoodbyeReceived(Reason.STOPPING, 1)] if user in moved else [])
            self.assertEqual(await user.exchange("two"), "two ")
            self.assertEqual(len(self.peer.asked[-1]["messages"]), 3)
            await user.leave()

    async def test_killed(self) -> None:
        """After kill -9 only the replies of that daemon are cut, and its users are back within five seconds."""
        users = await self.start_users()
        replies = [Deferred.fromCoroutine(user.exchange("slow")) for user in users]
        staying = {user: Deferred.fromCoroutine(user.stay()) for user in users}
        while not all(user.texts for user in users):
            await deferLater(reactor, 0.05)
        self.kill(self.daemons[0])
        cut = await self.lost(users)
        await gatherResults([staying[user] for user in cut])
        whole = [reply for user, reply in zip(users, replies, strict=True) if user not in cut]
        self.assertEqual(await gatherResults(whole), [REPLY] * (USERS // 2))
        for user in cut:
            [loss] = user.losses
            assert isinstance(loss, RemoteProtocolError)
            self.assertIs(loss.category, Category.CUT)
            self.assertLess(user.away, RECONNECTED)
            self.assertEqual(await user.exchange("two"), "two ")
        for user in users:
            await user.leave()


class HealthTests(BalancedTestCase):
    """HAProxy's view of the daemons."""

    async def test_draining(self) -> None:
        """A daemon that drains counts as down, and its replies go on."""
        self.listen_peer()
        haproxy = await self.balance(2, *self.options)
        talk = await Talk().start_from("127.0.1.1", haproxy.port)
        talk.client.say("endless")
        while not talk.texts:
            await deferLater(reactor, 0.05)
        self.assertNotIn("DOWN", haproxy.log.read_text())
        first = await deferToThread(self.carrier)
        first.process.terminate()
        down = f"Server daemons/chat{first.port} is DOWN, reason: Layer7 wrong status, code: 503"
        end = time.monotonic() + RECONNECTED
        while down not in haproxy.log.read_text():
            self.assertLess(time.monotonic(), end, haproxy.log.read_text())
            await deferLater(reactor, 0.1)
        so_far = len(talk.texts[1])
        while len(talk.texts[1]) == so_far and not talk.end.called:
            await deferLater(reactor, 0.05)
        self.assertGreater(len(talk.texts[1]), so_far)
        other = await Talk().start_from("127.0.1.2", haproxy.port)
        self.assertEqual(await other.ask("hello"), "hello ")
        talk.client.cancel(1)
        self.assertEqual(await talk.end, GoodbyeReceived(Reason.STOPPING, 1))
        await other.leave()


class LocalApiTests(BalancedTestCase):
    """``securechat --serve`` through HAProxy."""

    async def test_reconnects(self) -> None:
        """Its sessions are opened on the other daemon when theirs has stopped or was killed, within five seconds."""
        haproxy = await self.balance(3, "--robot", "echo", "--api", "--shaping", "off")
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        client = ServingClient(directory, haproxy.port)
        self.addCleanup(deferToThread, client.stop)
        await deferToThread(client.wait_for, "serving the API of")
        for number in (signal.SIGTERM, signal.SIGKILL):
            first = await deferToThread(self.carrier)
            first.process.send_signal(number)
            self.daemons.remove(first)
            lost = time.monotonic()
            status = 503
            while status == 503 and time.monotonic() < lost + RECONNECTED:
                status, _body = await deferToThread(client.ask, "GET", "/v1/models")
            self.assertEqual(status, 200)


class AddressTests(BalancedTestCase):
    """The addresses of clients, as HAProxy passes them on."""

    async def test_limits(self) -> None:
        """40 clients from 40 addresses have limits of their own, with both versions of the PROXY protocol."""
        for version in ("send-proxy", "send-proxy-v2"):
            limits = ("--max-sessions-per-source", "1", "--handshake-burst", "2", "--handshake-rate", "0.01")
            haproxy = await self.balance(1, "--robot", "echo", *limits, send_proxy=version)
            addresses = [f"127.0.2.{number + 1}" for number in range(40)]
            talks = [await Talk().start_from(address, haproxy.port) for address in addresses]
            await self.daemons[-1].logged("client 40 from")
            log = self.daemons[-1].text()
            self.assertEqual(set(re.findall(r"from \[(\S+)\]:\d+: admitted", log)), set(addresses))
            with self.assertRaises(SecureChatError):
                await Talk().start_from(addresses[7], haproxy.port)
            await self.daemons[-1].logged(f"client 41 from [{addresses[7]}]")
            self.assertRegex(self.daemons[-1].text(), r"client 41 from \[127\.0\.2\.8\]:\d+: refused \(limit\)")
            for talk in talks:
                await talk.leave()

    async def test_forged(self) -> None:
        """A client cannot claim another address: neither at the daemon itself nor through HAProxy."""
        haproxy = await self.balance(1, "--robot", "echo")
        for number, (port, address, outcome) in enumerate(
            ((self.daemons[0].port, "127.0.0.9", "refused (order)"), (haproxy.port, "127.0.0.10", "aborted (framing)"))
        ):
            with socket.create_connection(("127.0.0.1", port), source_address=(address, 0)) as client:
                client.sendall(HEADER)
                await self.daemons[0].logged(outcome)
            line = rf"client {number + 1} from \[{re.escape(address)}\]:\d+: {re.escape(outcome)}"
            self.assertRegex(self.daemons[0].text(), line)
        self.assertNotIn("192.0.2.7", self.daemons[0].text())

"""A real HAProxy with the configuration in deploy/, daemons behind it, and users who come back."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.error import ConnectError
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from securechat.client.exit_codes import NotConnectedError
from securechat.client.protocol import ChatClient
from securechat.client.redial import Redial, is_passing
from securechat.conversation import Speaker, Turn
from securechat.errors import SecureChatError
from securechat.wire.events import GoodbyeReceived
from securechat.wire.handshake import ClientHandshake
from securechat.wire.suites import EphemeralKey
from tests.harness.daemon import Daemon, Talk, reactor
from tests.harness.serving_client import free_port

CONFIGURATION: Final = Path(__file__).parents[2] / "deploy/haproxy.cfg"
HAPROXY: Final = shutil.which("haproxy", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")
MAXCONN: Final = 8000  # sessions; each takes two descriptors
ALL: Final = DeferredSemaphore(10**6)
START_TIMEOUT: Final = 30.0  # seconds


class Replacements:
    """Lines of a configuration, by their beginnings, and what is put in their place."""

    def __init__(self, text: str) -> None:
        self.text = text

    def replace(self, beginning: str, *lines: str) -> None:
        """Put these lines in the place of those that begin so; there must be one."""
        pattern = re.compile(rf"(?:^ *{re.escape(beginning)}.*\n)+", re.MULTILINE)
        self.text, count = pattern.subn("".join(f"    {line}\n" for line in lines).replace("\\", r"\\"), self.text)
        assert count == 1, (beginning, count)


class BalancedDaemon(Daemon):
    """A daemon behind HAProxy. Its ports are known before it starts."""

    def __init__(self, directory: str, *options: str, port: int = 0, metrics: int = 0) -> None:
        self.metrics = metrics or free_port()
        self._port = port or free_port()
        super().__init__(
            directory,
            *("--listen", f"haproxy:tcp:{self._port}:interface=127.0.0.1", "--proxy-from", "127.0.0.1"),
            *("--metrics", f"tcp:{self.metrics}:interface=127.0.0.1", "--anyone"),
            *options,
        )

    @property
    def port(self) -> int:
        return self._port


class HAProxy:
    """HAProxy on 127.0.0.1 with `deploy/haproxy.cfg`, but for addresses. End it with `stop`."""

    def __init__(self, directory: Path, servers: Sequence[tuple[int, int]], send_proxy: str = "send-proxy-v2") -> None:
        """`servers` are the ports of daemons and of their metrics."""
        assert HAPROXY is not None
        self.port = free_port()
        lines = Replacements(CONFIGURATION.read_text())
        lines.replace("log /dev/log", "log stdout format raw local0 notice")
        lines.replace("user")
        lines.replace("group")
        lines.replace("maxconn", f"maxconn {MAXCONN}")
        lines.replace("bind", f"bind 127.0.0.1:{self.port}")
        lines.replace("default-server", f"default-server {send_proxy} check inter 1s fall 2 rise 1")
        lines.replace(
            "server chat",
            *(f"server chat{port} 127.0.0.1:{port} check port {metrics}" for port, metrics in servers),
        )
        directory.mkdir(parents=True, exist_ok=True)
        configuration = directory / "haproxy.cfg"
        configuration.write_text(lines.text)
        self.log = directory / "haproxy.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([HAPROXY, "-db", "-f", str(configuration)], stdout=log, stderr=log)

    def wait(self) -> "HAProxy":
        """Wait until it listens."""
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return self
        raise AssertionError(f"haproxy did not start: {self.log.read_text()}")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class _DistantClient(ChatClient):
    """A client to which everything takes some time."""

    distance = 0.0  # seconds

    def dataReceived(self, data: bytes) -> None:
        reactor.callLater(self.distance, super().dataReceived, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        reactor.callLater(self.distance, super().connectionLost, reason)


class ReturningUser(Talk):
    """A user whose client reconnects as the one at a terminal does, and gives the server the conversation back."""

    def __init__(self, port: int, address: str, *, distance: float = 0.0, at_once: DeferredSemaphore = ALL) -> None:
        """The port of the server, and an address of the loopback network to dial from.

        `distance` is that of the server, in seconds of a round trip. `at_once` bounds the number of users that
        reconnect at the same time, because otherwise many in one process would delay each other.
        """
        super().__init__()
        self._distance = distance
        self._dialling = at_once
        self._key: EphemeralKey | None = None
        self.turns: list[Turn] = []
        self.losses: list[SecureChatError | GoodbyeReceived | None] = []  # how sessions ended
        self.away = 0.0  # seconds without a session, the last time
        self.attempts = 0  # to connect
        self._port = port
        self._address = address
        self._redial = Redial(reactor)
        self._is_leaving = False

    def prepare(self) -> None:
        """Make the key pair for the next session, so that many users do not need the time of one core at once."""
        self._key = super().make_key()

    def make_key(self) -> EphemeralKey:
        key, self._key = self._key, None
        return key or super().make_key()

    def make_client(self, handshake: ClientHandshake) -> ChatClient:
        if not self._distance:
            return super().make_client(handshake)
        client = _DistantClient(handshake, None, self, reactor)
        client.distance = self._distance
        return client

    async def arrive(self) -> None:
        """Connect."""
        self.attempts += 1
        await self.start_from(self._address, self._port)
        self._redial.succeeded()

    async def stay(self) -> None:
        """Wait until the session is lost, and for another one; or until the user leaves."""
        loss = await self.end
        if self._is_leaving:
            return
        lost = time.monotonic()
        self.losses.append(loss)
        assert is_passing(loss), loss
        self._redial.lost(is_lazy=False, is_idle=not self._waiting)
        await self._redial.run(self._come_back)
        self.away = time.monotonic() - lost

    async def _come_back(self) -> None:
        Talk.__init__(self)
        try:
            await self._dialling.run(self.arrive)
        except ConnectError as error:
            raise NotConnectedError(str(error)) from None

    async def exchange(self, text: str) -> str:
        """Send a message with the conversation before it, and wait for the reply."""
        reply = await self.ask(text, self.turns or None)
        self.turns += [Turn(Speaker.USER, text), Turn(Speaker.ROBOT, reply)]
        return reply

    async def leave(self) -> None:
        self._is_leaving = True
        await super().leave()

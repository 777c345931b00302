"""A real ``twistd securechat`` in a process and a directory of its own, and real sessions with it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from securechat.client.connecting import connect
from securechat.client.destination import Destination
from securechat.client.protocol import ChatClient
from securechat.client.signer import Signer
from securechat.conversation import Turn
from securechat.errors import Fault, SecureChatError
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.handshake import ClientHandshake
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.suites import DEFAULT_SUITE, SUITES, EphemeralKey

reactor: Any = installed

MANY = (  # options for many clients that dial from one address and say much
    *("--handshake-burst", "1000", "--max-sessions-per-source", "1000"),
    *("--max-handshakes", "1000", "--max-handshakes-per-source", "1000", "--message-burst", "1000"),
)
START_TIMEOUT = 60.0  # seconds, on a busy machine
STOP_TIMEOUT = 60.0
ENVIRON = {
    **{name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
    "LC_ALL": "C.UTF-8",
    "PYTHONPATH": str(Path(__file__).parents[2]),
}


class Daemon:
    """``twistd -n securechat``; the log goes to a file. End it with `stop`."""

    program = ("-c", "from twisted.scripts.twistd import run; run()")  # what Python is to run
    descriptors: Sequence[int] = ()  # that it is to inherit

    def __init__(self, directory: str, *options: str, twistd: Sequence[str] = (), **environ: str) -> None:
        """`twistd` are options of its own, `environ` additional environment variables."""
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.state = self.directory / "state"
        self.log = self.directory / "log"
        self.output = self.directory / "output"
        tick = () if "--shaping" in options or "--tick" in options else ("--tick", "0.01")
        root = () if any("uid" in option for option in twistd) else ("--allow-root",)
        listen = () if "--listen" in options else ("--listen", "tcp:0:interface=127.0.0.1")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, *self.program),
                    *("-n", "--logfile", str(self.log.absolute()), "--pidfile=", *twistd, "securechat"),
                    *("--state-dir", str(self.state.absolute()), *listen, *tick, *root, *options),
                ],
                cwd="/",
                env={**ENVIRON, **environ},
                stdout=output,
                stderr=output,
                pass_fds=self.descriptors,
            )

    def text(self) -> str:
        """The log so far."""
        return self.log.read_text() if self.log.exists() else ""

    def log_size(self) -> int:
        """The size of the log in bytes. Twisted begins a new file when one has a megabyte."""
        return sum(path.stat().st_size for path in self.directory.glob("log*"))

    async def started(self) -> "Daemon":
        """Wait until it listens."""
        await self.logged("host key SHA256:")
        return self

    async def logged(self, words: str) -> None:
        """Wait until these words are in the log."""
        end = time.monotonic() + START_TIMEOUT
        while words not in self.text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no {words!r} in {self.text()} {self.output.read_text()}")
            await deferLater(reactor, 0.05)

    def failed(self) -> tuple[int, str]:
        """Wait until it has ended by itself; its exit status and what it printed."""
        status = self.process.wait(START_TIMEOUT)
        return status, self.output.read_text().strip()

    @property
    def port(self) -> int:
        found = re.search(r"starting on (\d+)", self.text())
        assert found is not None
        return int(found[1])

    @property
    def fingerprint(self) -> str:
        found = re.search(r"host key (SHA256:\S+),", self.text())
        assert found is not None
        return found[1]

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        """Stop the daemon if it runs, without blocking the clients in this process."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                await deferToThread(self.process.wait, STOP_TIMEOUT)
            finally:
                self.process.kill()


async def get_page(path: Path, page: str) -> str:
    """What a daemon answers to a request for a page on the UNIX socket of its metrics."""

    def ask() -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(START_TIMEOUT)
            connection.connect(str(path))
            connection.sendall(f"GET {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            with connection.makefile("r") as response:
                return response.read()

    answer: str = await deferToThread(ask)
    return answer


class Talk:
    """A ChatUser for tests: what came, and Deferreds to wait for it."""

    client: ChatClient  # from `start` on

    def __init__(self) -> None:
        self.about: Admitted | None = None
        self.texts: dict[int, str] = {}
        self.finished: dict[int, Fault | None] = {}
        self.steps: list[str] = []
        self.end: Deferred[SecureChatError | GoodbyeReceived | None] = Deferred()
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self._in: Deferred[None] = Deferred()

    async def start(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        suite: bytes = DEFAULT_SUITE,
        signer: Signer | None = None,
        wait: bool = True,
    ) -> "Talk":
        destination = Destination(host, port)
        self.client = await connect(
            reactor, destination, suite=suite, check_host_key=lambda blob: None, signer=signer, user=self
        )
        if wait:
            await self._in
        return self

    async def start_from(self, address: str, port: int) -> "Talk":
        """The same from an address of the loopback network."""
        name = Destination("127.0.0.1", port).name
        handshake = ClientHandshake(SUITES[DEFAULT_SUITE], self.make_key(), name, lambda blob: None, b"")
        self.client = self.make_client(handshake)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port, bindAddress=(address, 0)), self.client)
        await self._in
        return self

    def make_key(self) -> EphemeralKey:
        """The key pair for `start_from`."""
        return SUITES[DEFAULT_SUITE].generate_key()

    def make_client(self, handshake: ClientHandshake) -> ChatClient:
        """The client for `start_from`."""
        return ChatClient(handshake, None, self, reactor)

    async def ask(self, text: str, recall: Sequence[Turn] | None = None) -> str:
        """Say something and wait for the whole reply; a fault is its name in brackets."""
        message_id = self.client.say(text, recall)
        done: Deferred[None] = Deferred()
        self._waiting.append((message_id, done))
        self._check()
        await done
        fault = self.finished[message_id]
        return self.texts.get(message_id, "") + (f"[{fault.name}]" if fault else "")

    async def leave(self) -> None:
        self.client.leave()
        await self.end

    def _check(self) -> None:
        for message_id, done in list(self._waiting):
            if message_id in self.finished:
                self._waiting.remove((message_id, done))
                done.callback(None)

    def step(self, text: str) -> None:
        self.steps.append(text)

    def admitted(self, client: ChatClient, about: Admitted) -> None:
        self.about = about
        self._in.callback(None)

    def replyReceived(self, message_id: int, text: str, last: bool) -> None:
        self.texts[message_id] = self.texts.get(message_id, "") + text
        if last:
            self.finished[message_id] = None
            self._check()

    def resultReceived(self, message_id: int, items: list[Head | Piece | ServerEvent], last: bool) -> None:
        """Results are not kept: the tests with calls look at how they end."""

    def faultReceived(self, message_id: int, fault: Fault) -> None:
        self.finished[message_id] = fault
        self._check()

    def disconnected(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        if not self._in.called:
            self._in.errback(reason if isinstance(reason, Exception) else ConnectionError("closed"))
        self.end.callback(reason)

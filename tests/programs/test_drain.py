"""Stopping a daemon while it is in use, and replacing it by another one."""

import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from securechat.client.signer import Signer
from securechat.errors import SecureChatError
from securechat.server.leaving import STOPPING_TIMEOUT
from securechat.wire.events import GoodbyeReceived
from securechat.wire.messages import Reason
from tests.harness.daemon import MANY, STOP_TIMEOUT, Daemon, Talk, reactor
from tests.harness.pair import USER_KEY
from tests.programs.test_daemon import DaemonTestCase

LONG = "x" * 60_000  # whose echo takes three seconds
SHORT = "x" * 20_000  # less than a second
CLIENTS = 20
RESTARTS = 3
OPTIONS = ("--robot", "echo", "--tick", "0.02", *MANY)


class ActivatedDaemon(Daemon):
    """A daemon that gets a listening socket, of the number in LISTENING, as from systemd."""

    program = (
        "-c",
        """
import os
os.dup2(int(os.environ["LISTENING"]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="chat", LISTEN_PID=str(os.getpid()))
from twisted.scripts.twistd import run
run()
""",
    )


class DrainTests(DaemonTestCase):
    """SIGTERM to a daemon with clients."""

    async def busy(self, daemon: Daemon, number: int) -> "tuple[list[Talk], Deferred[list[str]]]":
        """So many clients, each with a reply in progress, and their replies."""
        talks = [await Talk().start(daemon.port) for _ in range(number)]
        replies = gatherResults([Deferred.fromCoroutine(talk.ask(LONG)) for talk in talks])
        while not all(talk.texts for talk in talks):
            await deferLater(reactor, 0.01)
        return talks, replies

    def activate(self, listening: socket.socket, *options: str) -> Daemon:
        """Start a daemon with a listening socket."""
        number = listening.fileno()
        self.patch(ActivatedDaemon, "descriptors", [number])
        endpoint = ("--listen", "systemd:domain=INET:index=0", "--anyone")
        daemon = ActivatedDaemon(self.mktemp(), *OPTIONS, *endpoint, *options, LISTENING=str(number))
        self.addCleanup(daemon.stop)
        return daemon

    async def test_repliesInProgress(self) -> None:
        """100 replies in progress are sent whole, while a successor on the same port already takes new clients."""
        daemon = await self.run_daemon(*OPTIONS).started()
        port = daemon.port
        talks, replies = await self.busy(daemon, 100)
        daemon.process.terminate()
        await daemon.logged("received SIGTERM, shutting down")
        key = str((daemon.state / "ssh_host_ed25519_key").absolute())
        endpoint = f"tcp:{port}:interface=127.0.0.1"
        successor = await self.run_daemon(*OPTIONS, "--host-key", key, "--listen", endpoint).started()
        talk = await Talk().start(port)
        self.assertEqual(await talk.ask("hello"), "hello")
        self.assertFalse(replies.called)
        await talk.leave()
        self.assertEqual(await replies, [LONG] * 100)
        for talk in talks:
            self.assertEqual(await talk.end, GoodbyeReceived(Reason.STOPPING, 1))
        self.assertEqual(daemon.process.wait(STOP_TIMEOUT), 0)
        self.assertEqual(successor.fingerprint, daemon.fingerprint)
        self.assertNotIn("Traceback", daemon.text())

    async def test_secondSignal(self) -> None:
        """A second SIGTERM, or a SIGINT, closes everything at once; the exit status is 0."""
        for second in (signal.SIGTERM, signal.SIGINT):
            daemon = await self.run_daemon(*OPTIONS, "--tick", "0.25").started()
            talks, replies = await self.busy(daemon, 5)
            daemon.process.terminate()
            await daemon.logged("received SIGTERM, shutting down")
            sent = time.monotonic()
            daemon.process.send_signal(second)
            self.assertEqual(daemon.process.wait(STOP_TIMEOUT), 0)
            self.assertLess(time.monotonic() - sent, 4)
            for talk in talks:
                self.assertIsInstance(await talk.end, SecureChatError)
            self.assertFalse(replies.called)

    async def test_silentClients(self) -> None:
        """Clients that do not answer, or are in the middle of the handshake, hold the daemon for a second only."""
        daemon = await self.run_daemon(*OPTIONS).started()
        talks = [await Talk().start(daemon.port) for _ in range(5)]
        for talk in talks:
            talk.client.transport.pauseProducing()
        with socket.create_connection(("127.0.0.1", daemon.port)):
            sent = time.monotonic()
            daemon.process.terminate()
            self.assertEqual(daemon.process.wait(STOP_TIMEOUT), 0)
            self.assertLess(time.monotonic() - sent, STOPPING_TIMEOUT + 3)
        for talk in talks:
            talk.client.transport.resumeProducing()
            await talk.end

    async def test_deadline(self) -> None:
        """With `--drain 0`, replies are cut off, but clients get GOODBYE."""
        daemon = await self.run_daemon(*OPTIONS, "--drain", "0").started()
        talks, replies = await self.busy(daemon, 3)
        daemon.process.terminate()
        for talk in talks:
            self.assertEqual(await talk.end, GoodbyeReceived(Reason.STOPPING, 0))
        self.assertFalse(replies.called)
        self.assertEqual(daemon.process.wait(STOP_TIMEOUT), 0)

    async def test_socketActivation(self) -> None:
        """With a socket of systemd's, no connection is refused while one daemon follows another."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            first = await self.activate(listening).started()
            talk = await Talk().start(port, signer=Signer(USER_KEY.blob, USER_KEY.sign))
            reply = Deferred.fromCoroutine(talk.ask(LONG))
            while not talk.texts:
                await deferLater(reactor, 0.01)
            first.process.terminate()
            await first.logged("received SIGTERM, shutting down")
            early = Deferred.fromCoroutine(Talk().start(port))  # it waits in the socket's backlog
            key = str((first.state / "ssh_host_ed25519_key").absolute())
            second = await self.activate(listening, "--host-key", key).started()
            self.assertEqual(await (await early).ask("hello"), "hello")
            self.assertEqual(await reply, LONG)
            self.assertEqual(await talk.end, GoodbyeReceived(Reason.STOPPING, 1))
            self.assertEqual(first.process.wait(STOP_TIMEOUT), 0)
            self.assertEqual(second.fingerprint, first.fingerprint)

    async def test_rollingRestarts(self) -> None:
        """Clients that reconnect get whole replies and lose no message, while systemd holds the port."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            await self.roll(listening.getsockname()[1], lambda *options: self.activate(listening, *options))

    async def test_alternation(self) -> None:
        """So do those of two daemons of which one takes the port while the other finishes."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        listen = ("--listen", f"tcp:{port}:interface=127.0.0.1")
        await self.roll(port, lambda *options: self.run_daemon(*OPTIONS, *listen, *options))

    async def roll(self, port: int, start: Callable[..., Daemon]) -> None:
        """Replace a daemon by the next one several times, while clients talk to it."""
        is_over = Deferred[None]()
        key = str(Path(self.mktemp()).absolute())
        daemon = await start("--host-key", key).started()
        clients = gatherResults([Deferred.fromCoroutine(self.converse(port, is_over)) for _client in range(CLIENTS)])
        for _restart in range(RESTARTS):
            await deferLater(reactor, 1.5)
            daemon.process.terminate()
            successor = await start("--host-key", key).started()
            self.assertEqual(await deferToThread(daemon.process.wait, STOP_TIMEOUT), 0)
            self.assertNotIn("Traceback", daemon.text())
            daemon = successor
        is_over.callback(None)
        self.assertEqual(await clients, [RESTARTS + 1] * CLIENTS)

    async def converse(self, port: int, is_over: "Deferred[None]") -> int:
        """Ask one question after another, in another session whenever the server stops; the number of sessions."""
        sessions = questions = 0
        while True:
            talk = await self.dial(port)
            sessions += 1
            while not talk.end.called:
                if is_over.called:
                    await talk.leave()
                    return sessions
                question = f"{questions} {SHORT}"
                answer = Deferred.fromCoroutine(talk.ask(question))
                either: list[Deferred[Any]] = [answer, talk.end]
                await DeferredList(either, fireOnOneCallback=True)
                if answer.called:
                    self.assertEqual(await answer, question)
                    questions += 1
            goodbye = await talk.end
            # What was begun is whole, and the client knows what was ignored, which it asks again.
            self.assertEqual(goodbye, GoodbyeReceived(Reason.STOPPING, len(talk.finished)))
            self.assertEqual(talk.texts.keys(), talk.finished.keys())

    async def dial(self, port: int) -> Talk:
        """A session as soon as there can be one."""
        while True:
            try:
                return await Talk().start(port)
            except (ConnectError, SecureChatError):
                await deferLater(reactor, 0.05)

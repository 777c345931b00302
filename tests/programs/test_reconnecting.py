"""The client on a pseudo-terminal when its daemon is killed, restarted, or replaced by another one."""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from tests.harness.agent import Agent
from tests.harness.daemon import MANY, Daemon, reactor
from tests.harness.ssh import make_key
from tests.harness.terminal import Terminal
from tests.programs.test_terminal import CTRL_C, CTRL_D, TIMEOUT, TerminalTestCase

LOST = "the connection was closed unexpectedly; reconnecting"
ASKS = "-- send it again? Enter or y: yes, n or Ctrl-C: no · "


class ReconnectingTests(TerminalTestCase):
    """A user whose daemon is killed."""

    def kill(self, daemon: Daemon) -> None:
        daemon.process.kill()
        daemon.process.wait()

    def restart(self, daemon: Daemon, *, forget: bool = False) -> None:
        """Start a daemon on the same port, from the thread of a scenario; with another host key if it is to forget."""
        port = daemon.port
        if forget:
            shutil.rmtree(daemon.state)
        daemon.log.unlink()
        listen = ("--listen", f"tcp:{port}:interface=127.0.0.1")
        again = Daemon(str(daemon.directory), *self.options, *MANY, *listen)
        self.addCleanup(again.stop)
        self.daemon = again
        blockingCallFromThread(reactor, self.wait_for, again)

    def wait_for(self, daemon: Daemon) -> "Deferred[Any]":
        return Deferred.fromCoroutine(daemon.started())

    def asked(self) -> list[str]:
        """The conversation in the last request to the model."""
        return [message["content"].strip() for message in self.peer.asked[-1]["messages"]]

    async def test_killed(self) -> None:
        """After kill -9 in mid-reply, the draft is there, and the conversation and the question go on after one key."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.type("one\r")
            terminal.wait_for("\r\none\r\n")
            terminal.type("endless\r")
            terminal.wait_for("never ends\r\n")
            terminal.type("draft")
            terminal.wait_until("> draft")
            self.kill(daemon)
            terminal.wait_for(f"the reply is incomplete: {LOST}")
            terminal.wait_for("connection refused")
            terminal.type(" more")
            terminal.wait_until("> draft more")
            self.restart(daemon)
            terminal.wait_for("-- reconnected")
            terminal.wait_for(ASKS)
            self.assertEqual(terminal.lines[-1], "> draft more")
            self.assertEqual(len(self.peer.asked), 2)
            terminal.type("\x15y")
            terminal.wait_for("never ends\r\n")
            self.assertEqual(self.asked(), ["one", "one", "endless"])
            terminal.type(CTRL_C)
            terminal.wait_for("the reply was cancelled")
            terminal.type("two\r")
            terminal.wait_for("\r\ntwo\r\n")
            self.assertEqual(self.asked(), ["one", "one", "two"])
            terminal.type("/retry\r")
            terminal.wait_for("\r\ntwo\r\n")
            self.assertEqual(self.asked(), ["one", "one", "two"])
            terminal.type(CTRL_D)

        self.assertEqual(await self.use(daemon, scenario), 0)

    async def test_stopped(self) -> None:
        """A server that is restarted while nothing is said takes two lines, and the next message goes on."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.type("one\r")
            terminal.wait_for("\r\none\r\n")
            daemon.process.terminate()
            terminal.wait_for("-- the server is shutting down; reconnecting")
            daemon.process.wait()
            terminal.type("two\r")
            terminal.wait_for("queued: two")
            self.restart(daemon)
            terminal.wait_for("-- reconnected")
            terminal.wait_for("\r\ntwo\r\n")
            self.assertEqual(self.asked(), ["one", "one", "two"])
            terminal.type(CTRL_D)

        self.assertEqual(await self.use(daemon, scenario), 0)

    async def test_agentHasGone(self) -> None:
        """Without its agent, the client says so and goes on when there is one again."""
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        key = make_key(Path(self.mktemp()).absolute())
        agent = Agent(Path(directory.name) / "agent").start(key)
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.type("one\r")
            terminal.wait_for("\r\none\r\n")
            terminal.type("draft")
            terminal.wait_until("> draft")
            agent.stop()
            self.kill(daemon)
            terminal.wait_for(LOST)
            self.restart(daemon)
            terminal.wait_for("cannot connect to ssh-agent")
            agent.start(key)
            terminal.wait_for("-- reconnected")
            agent.stop()
            terminal.type("\x15two\r")
            terminal.wait_for("\r\ntwo\r\n")
            self.assertEqual(self.asked(), ["one", "one", "two"])
            terminal.type(CTRL_D)

        used = self.use(daemon, scenario, options=("--agent",), SSH_AUTH_SOCK=str(agent.path))
        self.assertEqual(await used, 0)

    async def test_otherHostKey(self) -> None:
        """A server that comes back with another host key is refused, with OpenSSH's words, and gets nothing."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.type("one\r")
            terminal.wait_for("\r\none\r\n")
            self.kill(daemon)
            terminal.wait_for(LOST)
            terminal.type("draft")
            self.restart(daemon, forget=True)
            terminal.wait_for("> \x1b[0m\x1b[1mdraft")
            terminal.wait_for("WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!")

        self.assertEqual(await self.use(daemon, scenario), 4)
        self.assertEqual(len(self.peer.asked), 1)

    async def test_leaves(self) -> None:
        """The user can leave while there is no server, and the terminal is as it was."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            self.kill(daemon)
            terminal.wait_for(LOST)
            terminal.wait_for("Enter tries now")
            terminal.type(CTRL_D)
            terminal.read_for(0.5)
            self.assertTrue(terminal.is_echoing)

        self.assertEqual(await self.use(daemon, scenario), 0)

    async def test_ended(self) -> None:
        """A signal ends the client while there is no server, and the terminal is as it was."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            self.kill(daemon)
            terminal.wait_for("Enter tries now")
            terminal.signal(signal.SIGTERM)
            terminal.read_for(1)
            self.assertTrue(terminal.is_echoing)

        self.assertEqual(await self.use(daemon, scenario), 128 + signal.SIGTERM)

    async def test_dumb(self) -> None:
        """On a dumb terminal, the question is a line, and so is the answer."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.type("endless\r")
            terminal.wait_for("never ends\r\n")
            self.kill(daemon)
            terminal.wait_for(LOST)
            self.restart(daemon)
            terminal.wait_for(ASKS)
            terminal.type("n\r")
            terminal.type("two\r")
            terminal.wait_for("openai:\r\ntwo\r\n")
            terminal.type(CTRL_D)

        self.assertEqual(await self.use(daemon, scenario, TERM="dumb"), 0)

    async def test_resumes(self) -> None:
        """A saved conversation goes on in another run of the client, on another server."""
        first = await self.start_peer()
        second = await self.start(*self.options)
        state = Path(self.mktemp()).absolute()
        path = state / "securechat" / "conversations" / "work.jsonl"

        def leave(terminal: Terminal, saved: int) -> None:
            """Leave when the reply is complete: a part of it is displayed before, and is not saved."""
            for _wait in range(TIMEOUT * 10):
                if path.read_text().count("\n") == saved:
                    break
                terminal.read_for(0)
                time.sleep(0.1)
            terminal.type(CTRL_D)

        def save(terminal: Terminal) -> None:
            terminal.type("one\r")
            terminal.wait_for("\r\none\r\n")
            terminal.type("/save work\r")
            terminal.wait_for("later messages are added")
            terminal.type("two\r")
            leave(terminal, 2)

        def resume(text: str, saved: int) -> Callable[[Terminal], None]:
            def talk(terminal: Terminal) -> None:
                terminal.type(f"{text}\r")
                leave(terminal, saved)

            return talk

        where = str(state)
        self.assertEqual(await self.use(first, save, XDG_STATE_HOME=where), 0)
        self.assertEqual(
            await self.use(second, resume("three", 3), options=("--resume", "work"), XDG_STATE_HOME=where), 0
        )
        self.assertEqual(self.asked(), ["one", "one", "two", "two", "three"])
        self.assertEqual(await self.use(first, resume("four", 4), options=("--continue",), XDG_STATE_HOME=where), 0)
        self.assertEqual(len(self.asked()), 7)
        self.assertEqual((path.stat().st_mode & 0o777, [*path.parent.iterdir()]), (0o600, [path]))

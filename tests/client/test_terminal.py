"""The frontend on a terminal: a real prompt, with keys from a pipe and a screen in memory."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from contextlib import redirect_stdout
from typing import cast

from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.exit_codes import ExitCode
from securechat.client.frontends.terminal import Terminal
from securechat.client.protocol import ChatClient
from securechat.wire.events import Admitted
from securechat.wire.shaping import Shaping

ABOUT = Admitted("", "puppet", "test", 4096, False, Shaping.REPLY, 100, 1)
PATIENCE = 10.0  # seconds, on a busy machine
CTRL_C = "\x03"
CTRL_D = "\x04"


class Screen(DummyOutput):
    """A screen that keeps what is written, and counts how often it is asked for its size."""

    def __init__(self) -> None:
        self.text = ""
        self.asked = 0

    def write(self, data: str) -> None:
        self.text += data

    def get_size(self) -> Size:
        self.asked += 1
        return Size(rows=24, columns=80)


class Client:
    """A client whose line becomes quiet when a test says so."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.rooms: list[Deferred[int]] = []
        self.is_quiet = False
        self._messages = 0

    def say(self, text: str) -> int:
        self.log.append(text)
        self._messages += 1
        return self._messages

    def cancel(self, message_id: int) -> None:
        self.log.append(f"cancel {message_id}")

    def startAfresh(self) -> None:
        self.log.append("new")

    def room(self) -> Deferred[int]:
        self.rooms.append(Deferred())
        return self.rooms[-1]

    def leaveQuietly(self) -> Deferred[None]:
        self.log.append("leave")
        return succeed(None) if self.is_quiet else Deferred()


class TerminalTests(SynchronousTestCase):
    """A user at the prompt."""

    def use(self, scenario: Callable[[Terminal, PipeInput], Awaitable[None]]) -> None:
        """Run a scenario with a prompt."""
        self.client = Client()
        self.screen = Screen()

        async def run() -> None:
            with create_pipe_input() as keys, create_app_session(input=keys, output=self.screen):
                terminal = Terminal(PromptSession(erase_when_done=True))
                with redirect_stdout(io.StringIO()):
                    terminal.admitted(cast(ChatClient, self.client), ABOUT)
                await scenario(terminal, keys)
                terminal.disconnected(None)
                await self.until(lambda: terminal.ended.called)

        asyncio.run(asyncio.wait_for(run(), PATIENCE))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.005)

    async def shows(self, text: str) -> None:
        await self.until(lambda: text in self.screen.text)

    def test_atOnce(self) -> None:
        """Five messages are sent as they are typed, although replies are pending."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            keys.send_text("1\r2\r/new\r3\r4\r5\r")
            await self.until(lambda: len(self.client.log) == 6)

        self.use(scenario)
        self.assertEqual(self.client.log, ["1", "2", "new", "3", "4", "5"])
        self.assertEqual(self.client.rooms, [])

    def test_queue(self) -> None:
        """What is typed beyond five messages is sent in order when the line is quiet, as much as the server accepts."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            keys.send_text("1\r2\r3\r4\r5\r6\r/new\r7\r8\r")
            await self.until(lambda: self.screen.text.count("(queued;") == 4)
            self.assertEqual(self.client.log, ["1", "2", "3", "4", "5"])
            [room] = self.client.rooms
            for number in range(1, 6):
                terminal.replyReceived(number, "", True)
            self.client.log.clear()
            room.callback(3)
            self.assertEqual(self.client.log, ["6", "new", "7"])
            keys.send_text("9\r")
            await self.until(lambda: self.screen.text.count("(queued;") == 5)
            self.client.rooms[1].callback(4)
            self.assertEqual(self.client.log, ["6", "new", "7", "8", "9"])
            keys.send_text("10\r")
            await self.until(lambda: "10" in self.client.log)

        self.use(scenario)
        self.assertEqual(len(self.client.rooms), 2)

    def test_leaves(self) -> None:
        """The user is told that the session ends later, and how to end it now."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            keys.send_text("1\r" + CTRL_D)
            await self.shows("Ctrl-C leaves at once")
            self.assertEqual(terminal.exit, ExitCode.ANSWERED)

        self.use(scenario)
        self.assertEqual(self.client.log, ["1", "leave"])

    def test_leavesAtOnce(self) -> None:
        """Nothing is to be told if the session can end now."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            self.client.is_quiet = True
            keys.send_text(CTRL_C)
            await self.until(lambda: "leave" in self.client.log)
            self.assertEqual(terminal.exit, ExitCode.INTERRUPTED)

        self.use(scenario)
        self.assertNotIn("Ctrl-C leaves at once", self.screen.text)

    def test_dropsTheQueue(self) -> None:
        """Messages that were queued when the user leaves are not sent."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            keys.send_text("1\r2\r3\r4\r5\r6\r/quit\r")
            await self.until(lambda: "leave" in self.client.log)
            self.client.rooms[0].callback(5)

        self.use(scenario)
        self.assertEqual(self.client.log, ["1", "2", "3", "4", "5", "leave"])

    def test_pastedControls(self) -> None:
        """Control characters in a pasted message are sent, but not printed."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            keys.send_text("\x1b[200~c1 \x9b2J\x1b[201~\r")
            await self.shows("> c1 \ufffd2J")

        self.use(scenario)
        self.assertEqual(self.client.log, ["c1 \x9b2J"])
        self.assertNotIn("\x9b", self.screen.text)

    def test_zeroWidth(self) -> None:
        """A reply of combining marks is displayed in lines, and the size of the terminal is read once a record."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            keys.send_text("1\r")
            await self.until(lambda: "1" in self.client.log)
            before = self.screen.asked
            for _record in range(66):
                terminal.replyReceived(1, "\u0301" * 249, False)
            self.assertEqual(self.screen.asked - before, 66)
            terminal.replyReceived(1, "", True)
            await self.until(lambda: self.screen.text.count("\u0301") >= 66 * 249)

        self.use(scenario)
        self.assertLess(max(map(len, self.screen.text.split("\n"))), 1000)

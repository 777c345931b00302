"""The frontend on a terminal: a real prompt, with keys from a pipe and a screen in memory."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from contextlib import redirect_stderr, redirect_stdout
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
from securechat.errors import Category, Fault, RemoteProtocolError, SecureChatError
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.messages import Reason
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
        self.limit = 4096
        self._messages = 0

    def say(self, text: str) -> int:
        if len(text) > self.limit:
            raise ValueError
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


class TerminalTestCase(SynchronousTestCase):
    about = ABOUT
    reason: SecureChatError | GoodbyeReceived | None = None

    def use(self, scenario: Callable[[Terminal, PipeInput], Awaitable[None]]) -> None:
        """Run a scenario with a prompt."""
        self.client = Client()
        self.screen = Screen()

        async def run() -> None:
            with create_pipe_input() as keys, create_app_session(input=keys, output=self.screen):
                session = PromptSession[str](erase_when_done=True)
                terminal = Terminal(session)
                self.hello = io.StringIO()
                with redirect_stdout(self.hello):
                    terminal.admitted(cast(ChatClient, self.client), self.about)
                await scenario(terminal, keys)
                self.assertNoResult(terminal.ended)
                prompts: list[bool] = []

                def note_prompt(reason: SecureChatError | GoodbyeReceived | None) -> object:
                    prompts.append(session.app.is_running)
                    return reason

                terminal.ended.addCallback(note_prompt)
                self.end = io.StringIO()
                with redirect_stdout(self.end):
                    terminal.disconnected(self.reason)
                await self.until(lambda: terminal.ended.called)
                self.assertIs(self.successResultOf(terminal.ended), self.reason)
                self.assertEqual(prompts, [False])  # what is said about the end would be erased with it
                self.exit = terminal.exit

        asyncio.run(asyncio.wait_for(run(), PATIENCE))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.005)

    async def shows(self, text: str) -> None:
        await self.until(lambda: text in self.screen.text)


class TerminalTests(TerminalTestCase):
    """A user at the prompt."""

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


class ReplyTests(TerminalTestCase):
    """What is displayed of replies, and the exit code."""

    async def ask(self, keys: PipeInput, *messages: str) -> None:
        """Type messages, and wait until they are sent."""
        keys.send_text("".join(f"{message}\r" for message in messages))
        await self.until(lambda: self.client.log[-len(messages) :] == [*messages])

    def test_hello(self) -> None:
        """The user is greeted with his name, if he has one, and the robot's, without control characters."""
        for user in ("", "ann\x1b[2J\n"):
            self.about = Admitted(user, "robot\x9b\r\n", "test", 4096, False, Shaping.REPLY, 100, 1)

            async def scenario(terminal: Terminal, keys: PipeInput) -> None:
                pass

            self.use(scenario)
            hello = self.hello.getvalue()
            self.assertTrue(hello.endswith("\n") and hello[:-1].isprintable(), hello)
            self.assertIn("robot\ufffd", hello)
            self.assertEqual("ann\ufffd[2J\ufffd" in hello, user != "")
            self.assertIn("/help", hello)
            self.assertIs(self.exit, ExitCode.ANSWERED)

    def test_reply(self) -> None:
        """A reply is displayed line by line, its last line at the end, without control characters."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            await self.ask(keys, "1")
            terminal.replyReceived(1, "first \x1b[31m\r\nsec\u202e", False)
            await self.shows("first \ufffd[31m")
            await self.shows("sec\ufffd")  # with the prompt
            terminal.replyReceived(1, "ond\x9b\u202e", True)
            await self.shows("sec\ufffdond\ufffd\ufffd")

        self.use(scenario)
        self.assertNotIn("\x9b", self.screen.text)
        self.assertNotIn("\u202e", self.screen.text)
        self.assertNotIn("\x1b[31m", self.screen.text)
        self.assertIs(self.exit, ExitCode.ANSWERED)

    def test_waiting(self) -> None:
        """While nothing of a reply has arrived, the prompt says that it is pending."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            self.assertNotIn("waiting", self.screen.text)
            await self.ask(keys, "1")
            await self.shows("waiting for the reply")
            terminal.replyReceived(1, "x", False)
            await self.shows("x")
            self.screen.text = ""
            keys.send_text("draft")
            await self.shows("draft")
            self.assertNotIn("waiting", self.screen.text)

        self.use(scenario)

    def test_commands(self) -> None:
        """Commands and empty lines are not sent; what is sent has no space around it."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            keys.send_text("/help\r\r   \r/new\r  /help me \r")
            await self.until(lambda: len(self.client.log) == 2)
            await self.shows("/quit or Ctrl-D")
            await self.shows("Started a new conversation.")
            keys.send_text("/quit\r")
            await self.until(lambda: "leave" in self.client.log)

        self.use(scenario)
        self.assertEqual(self.client.log, ["new", "/help me", "leave"])
        self.assertIs(self.exit, ExitCode.ANSWERED)

    def test_tooLong(self) -> None:
        """A message beyond the server's limit is not sent, and the limit is displayed."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            self.client.limit = 3
            keys.send_text("long\r")
            await self.shows("4096 bytes")
            await self.ask(keys, "ok")

        self.use(scenario)
        self.assertEqual(self.client.log, ["ok"])

    def test_cancels(self) -> None:
        """Ctrl-C cancels the first pending reply; a second one leaves with the exit code of an interrupt."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            await self.ask(keys, "1", "2")
            keys.send_text(CTRL_C)
            await self.until(lambda: self.client.log[-1] == "cancel 1")
            terminal.faultReceived(1, Fault.CANCELLED)
            await self.shows("cancelled")
            keys.send_text(CTRL_C)
            await self.until(lambda: self.client.log[-1] == "cancel 2")
            keys.send_text(CTRL_C)
            await self.until(lambda: self.client.log[-1] == "leave")

        self.use(scenario)
        self.assertEqual(self.client.log, ["1", "2", "cancel 1", "cancel 2", "leave"])
        self.assertIs(self.exit, ExitCode.INTERRUPTED)

    def test_faults(self) -> None:
        """A fault is displayed, after what there is of the reply; the next message is answered."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            await self.ask(keys, "1", "2", "3")
            terminal.replyReceived(1, "", False)  # the first bytes of a character
            terminal.faultReceived(1, Fault.BUSY)
            await self.shows("overloaded")
            self.assertNotIn("incomplete", self.screen.text)
            terminal.replyReceived(2, "", False)
            terminal.replyReceived(2, "half", False)
            terminal.replyReceived(2, "", False)
            terminal.faultReceived(2, Fault.TIMED_OUT)
            await self.shows("incomplete: the robot timed out")
            self.assertIn("half", self.screen.text)
            terminal.replyReceived(3, "whole", True)
            await self.shows("whole")

        self.use(scenario)
        self.assertIs(self.exit, ExitCode.ANSWERED)

    def test_ends(self) -> None:
        """The exit code is 5 if the server ends the session with a reply outstanding, and 0 otherwise."""
        for reason in (None, RemoteProtocolError(Category.CUT), GoodbyeReceived(Reason.IDLE, 0)):
            for pieces in ((), ("half",), ("half", "end")):

                async def scenario(terminal: Terminal, keys: PipeInput, pieces: tuple[str, ...] = pieces) -> None:
                    await self.ask(keys, "1")
                    for piece in pieces:
                        terminal.replyReceived(1, piece, piece == "end")

                self.reason = reason
                self.use(scenario)
                failed = reason is not None and len(pieces) < 2
                self.assertIs(self.exit, ExitCode.FAULT if failed else ExitCode.ANSWERED)
                self.assertEqual("incomplete" in self.end.getvalue(), len(pieces) == 1)
                self.assertEqual("half\n" in self.end.getvalue(), len(pieces) == 1)

    def test_endsAfterALine(self) -> None:
        """There is no empty line after a reply that broke off at the end of one."""
        self.reason = RemoteProtocolError(Category.CUT)

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            await self.ask(keys, "1")
            terminal.replyReceived(1, "half\n", False)

        self.use(scenario)
        self.assertIn("incomplete", self.end.getvalue())
        self.assertEqual(self.end.getvalue().count("\n"), 1)

    def test_endsAfterInterrupt(self) -> None:
        """An interrupt's exit code stays, whatever ends the session."""
        self.reason = RemoteProtocolError(Category.CUT)

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            await self.ask(keys, "1")
            keys.send_text(CTRL_C)
            await self.until(lambda: self.client.log[-1] == "cancel 1")
            keys.send_text(CTRL_C)
            await self.until(lambda: self.client.log[-1] == "leave")

        self.use(scenario)
        self.assertIs(self.exit, ExitCode.INTERRUPTED)

    def test_steps(self) -> None:
        """The steps of the handshake go to standard error."""
        errors = io.StringIO()

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            with redirect_stderr(errors):
                terminal.step("a step\x1b")

        self.use(scenario)
        self.assertEqual(errors.getvalue(), "a step\ufffd\n")

    def test_neverAdmitted(self) -> None:
        """Before admission there is no prompt, and nothing to restore."""
        with create_pipe_input() as keys, create_app_session(input=keys, output=Screen()):
            terminal = Terminal(PromptSession(erase_when_done=True))
            self.successResultOf(terminal.restore_terminal())
            error = RemoteProtocolError(Category.CUT)
            terminal.disconnected(error)
            self.assertIs(self.successResultOf(terminal.ended), error)

    def test_restores(self) -> None:
        """The prompt has gone, and the keyboard is as it was, before the end is reported."""

        async def scenario(terminal: Terminal, keys: PipeInput) -> None:
            keys.send_text("draft")
            await self.shows("draft")
            gone = terminal.restore_terminal()
            self.assertNoResult(gone)
            await self.until(lambda: gone.called)
            self.screen.text = ""
            keys.send_text("late\r")
            await asyncio.sleep(0.02)
            self.assertEqual((self.screen.text, self.client.log), ("", []))

        self.use(scenario)

"""The frontend on a terminal, with a screen in memory."""

import asyncio
import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import cast

import pyte
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.exit_codes import ExitCode
from securechat.client.frontends.terminal import HINT, Terminal
from securechat.client.host_key_check import HostKeyCheck
from securechat.client.protocol import ChatClient
from securechat.client.reactor import IClientReactor
from securechat.client.terminal import export
from securechat.client.terminal.keeping import Keeper
from securechat.client.terminal.prose import indent_imitations
from securechat.client.terminal.screen import ScreenUser
from securechat.client.terminal.session import Server
from securechat.client.terminal.styles import Row, Style, plain, render
from securechat.conversation import Turn
from securechat.errors import (
    AuthenticationError,
    Category,
    Fault,
    LocalProtocolError,
    RemoteProtocolError,
    SecureChatError,
)
from securechat.ssh import keys
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.messages import Reason
from securechat.wire.shaping import Shaping
from tests.harness.client_reactor import ClientReactor
from tests.harness.pair import HOST_KEY

ABOUT = Admitted("ann", "puppet", "test", 4096, False, Shaping.REPLY, 100, 1)
NAME = "[127.0.0.1]:8080"
OWN = Style.USER | Style.ROBOT | Style.NOTICE | Style.ERROR
HOSTILE = (  # control sequences and invisible characters
    *("\x1b[2J", "\x1b[31m", "\x1b]8;;http://x\x1b\\", "\x1b]52;c;eA==\x07", "\x1bP$q\x1b\\", "\x9b2J", "\x9d0;x\x9c"),
    *(
        "\x1b",
        "\x07",
        "\x08",
        "\r",
        "\x7f",
        "\x0e",
        "\u202e",
        "\u2066",
        "\u200f",
        "\u061c",
        "\u200b",
        "\ufeff",
        "\u3164",
    ),
    *("\U000e0041", "e" + "\u0301" * 50),
)


class Screen:
    """A screen that keeps its rows."""

    columns = 79
    draft = ""
    echoes = False

    def __init__(self, *, is_styled: bool = True) -> None:
        self.is_styled = is_styled
        self.rows: list[Row] = []
        self.sequences: list[str] = []
        self.edited = 0
        self.refreshed = 0
        self.closed: asyncio.Future[None] | None = None
        self.is_closed = False

    @property
    def text(self) -> list[str]:
        return [plain(row) for row in self.rows]

    def show(self, rows: Sequence[Row]) -> None:
        self.rows += rows

    def write_sequence(self, sequence: str) -> None:
        self.sequences.append(sequence)

    def refresh(self) -> None:
        self.refreshed += 1

    def edit(self) -> None:
        self.edited += 1

    async def run(self, user: ScreenUser) -> None:
        self.closed = asyncio.get_running_loop().create_future()
        if not self.is_closed:
            await self.closed

    def close(self) -> None:
        self.is_closed = True
        if self.closed is not None and not self.closed.done():
            self.closed.set_result(None)


class Client:
    """A client whose line becomes quiet when a test says so."""

    host_key = HOST_KEY.blob
    silence = 0.0
    is_quiet = False
    is_open = True

    def __init__(self) -> None:
        self.log: list[str] = []
        self.rooms: list[Deferred[int]] = []
        self.recalled: list[list[str] | None] = []  # the texts of the turns before each message
        self.error: Exception | None = None  # of `say`
        self._messages = 0

    def say(self, text: str, recall: Sequence[Turn] | None = None) -> int:
        if self.error is not None:
            raise self.error
        self.recalled.append(None if recall is None else [turn.text for turn in recall])
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
    def setUp(self) -> None:
        # The prompt is a task of asyncio's, for which nothing else needs a loop here.
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)
        self.reactor = ClientReactor()
        self.client = Client()
        self.conversations = Path(self.mktemp()).absolute()

    def make(
        self, *, is_styled: bool = True, is_verbose: bool = False, keeps_all: bool = False, path: Path | None = None
    ) -> Terminal:
        """A terminal before its first session. Conversations are kept as the last two say."""
        check = HostKeyCheck(NAME, Path(self.mktemp()), pinned=None, accept_new=True, tell=lambda _text: None)
        check.check(HOST_KEY.blob)
        self.screen = Screen(is_styled=is_styled)
        reactor = cast(IClientReactor, self.reactor)
        self.keeper = Keeper(reactor, lambda: self.conversations, keeps_all=keeps_all, path=path)
        return Terminal(self.screen, reactor, Server(NAME, check), self.keeper, is_verbose=is_verbose)

    def start(self, about: Admitted = ABOUT, *, is_styled: bool = True, is_verbose: bool = False) -> None:
        self.terminal = self.make(is_styled=is_styled, is_verbose=is_verbose)
        self.in_loop(lambda: self.terminal.admitted(cast(ChatClient, self.client), about))
        self.hello = self.screen.text
        self.screen.rows.clear()
        self.addCleanup(self.in_loop, self.screen.close)

    def in_loop(self, call: "object") -> None:
        """Call a function while the loop runs, and let it do what is due."""

        async def run() -> None:
            assert callable(call)
            call()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        self.loop.run_until_complete(run())

    def enter(self, *texts: str) -> None:
        for text in texts:
            self.assertTrue(self.terminal.submitted(text), text)

    def reply(self, message_id: int, text: str) -> None:
        self.terminal.replyReceived(message_id, text, True)

    @property
    def live(self) -> str:
        return plain(self.terminal.live())


class MessageTests(TerminalTestCase):
    """Sending."""

    def test_atOnce(self) -> None:
        """Five messages are sent as they are typed, although replies are pending."""
        self.start()
        self.enter("1", "2", "/new", "3", "4", "5")
        self.assertEqual(self.client.log, ["1", "2", "new", "3", "4", "5"])
        self.assertEqual(self.client.rooms, [])

    def test_queue(self) -> None:
        """What is typed beyond five messages is sent in order when the line is quiet, as much as the server accepts."""
        self.start()
        self.enter("1", "2", "3", "4", "5", "6", "/new", "7", "8")
        self.assertEqual(self.client.log, ["1", "2", "3", "4", "5"])
        [room] = self.client.rooms
        for number in range(1, 6):
            self.reply(number, "x")
        self.client.log.clear()
        room.callback(3)
        self.assertEqual(self.client.log, ["6", "new", "7"])
        self.enter("9")
        self.client.rooms[1].callback(4)
        self.assertEqual(self.client.log, ["6", "new", "7", "8", "9"])
        self.enter("10")
        self.assertEqual(self.client.log[-1], "10")
        self.assertEqual(len(self.client.rooms), 2)

    def test_shownAsQueued(self) -> None:
        """A message that waits is shown as queued, and then above its own reply."""
        self.start()
        self.enter("first", "second\nline")
        self.reply(1, "one")
        self.reply(2, "two")
        self.assertEqual(
            self.screen.text,
            *[
                [
                    "> first",
                    "-- queued: second\ufffdline",
                    "puppet",
                    "one",
                    "",
                    "> second",
                    "  line",
                    "puppet",
                    "two",
                    "",
                ]
            ],
        )

    def test_space(self) -> None:
        """Space around a message is not sent, except for the indentation of several lines; blank lines are ignored."""
        self.start()
        self.enter(" one ", "", "  ", "  a\n    b\n")
        self.assertEqual(self.client.log, ["one", "  a\n    b"])

    def test_notSent(self) -> None:
        """A message that is too long, or no text, is explained and stays in the editor."""
        self.start()
        for text, words in (("x" * 4097, "4096 bytes"), ("中" * 1366, "4096 bytes"), ("\udcff", "not valid text")):
            self.assertFalse(self.terminal.submitted(text))
            self.assertIn(words, self.screen.text[-1])
        self.assertEqual(self.client.log, [])

    def test_pastedControls(self) -> None:
        """What is pasted is sent as it is, and displayed without control characters."""
        self.start()
        text = " ".join(("a", *HOSTILE, "b"))
        self.enter(text)
        self.assertEqual(self.client.log, [text])
        self.assertTrue("".join(self.screen.text).isprintable())


class ReplyTests(TerminalTestCase):
    """Receiving."""

    def test_hello(self) -> None:
        """One line says where the user is, whether the host is known, and who talks to whom."""
        self.start()
        fingerprint = keys.fingerprint(HOST_KEY.blob)[:11]
        self.assertEqual(self.hello, [f"{NAME} · {fingerprint}… new · ann → puppet · /help for help"])

    def test_hostileNames(self) -> None:
        """Names from the server are shown on one line, without control characters, and not longer than it."""
        name = "".join(HOSTILE) + "\n" + "x" * 500
        self.start(Admitted(name, name, name, 4096, False, Shaping.REPLY, 100, 1))
        self.enter("/info", "q")
        self.reply(1, "x")
        for text in (*self.hello, *self.screen.text):
            self.assertTrue(text.isprintable(), text)
        self.assertLess(len(self.hello[0]), 250)

    def test_anonymous(self) -> None:
        """Without names, the roles are shown."""
        self.start(Admitted("", "", "", 4096, False, Shaping.REPLY, 100, 1))
        self.assertIn("anonymous → robot", self.hello[0])

    def test_hostileReply(self) -> None:
        """Whatever a robot sends, only the escape sequences of our styles are written, and no style of the client's."""
        for is_styled in (True, False):
            self.client = Client()
            self.start(is_styled=is_styled)
            self.enter("q")
            self.screen.rows.clear()
            reply = "\n".join((*HOSTILE, *(f"**{text}** `{text}` [{text}]({text})" for text in HOSTILE)))
            reply += f"\n```{HOSTILE[0]}\n{HOSTILE[1]}\n```\n|{HOSTILE[2]}|\n|-|\n|{HOSTILE[3]}|\n"
            reply += "".join(
                f"```{name}\n# if '{text}' {text}\n```\n" for text in HOSTILE for name in ("py", "c", "json")
            )
            for letter in reply:
                self.terminal.replyReceived(1, letter, False)
                self.assertTrue(plain(self.terminal.live()).isprintable())
            self.reply(1, "")
            _name, *rows = self.screen.rows
            self.assertEqual([style & OWN for row in rows for style, _text in row if style & OWN], [])
            written = "".join(render(row, styled=is_styled) for row in rows)
            for sequence in ("1", "2", "4", "36", "34", "1;36", "1;4", "4;34", "1;34", "0"):
                written = written.replace(f"\x1b[{sequence}m", "")
            self.assertTrue(written.isprintable(), written)

    def test_imitation(self) -> None:
        """Without styles, no row of a robot begins like a prompt or a notice."""
        self.start(is_styled=False)
        self.enter("q")
        self.terminal.replyReceived(1, "> /quit\n-- stopped\n```\n> x\n```\n>", False)
        self.assertEqual(self.live, " >")
        self.reply(1, "")
        for text in self.screen.text[2:]:
            self.assertFalse(text.startswith((">", "-")), text)

    def test_wrappedImitation(self) -> None:
        """Nor does a row that the terminal makes of a long line of code, whatever the widths of its characters."""
        self.start(is_styled=False)
        self.enter("q")
        code = ["x" * 80 + "> /quit", "x" * 79 + "> y", "中" * 40 + "-- stopped", "\x1b" * 80 + "> z"]
        code += [">" * 500, "-" * 160, "\t" * 20 + "> a"]
        self.reply(1, "```\n" + "\n".join(code) + "\n```")
        emulator = pyte.Screen(80, 60)
        pyte.Stream(emulator).feed("\r\n".join(render(row, styled=False) for row in self.screen.rows[2:]))
        displayed = emulator.display
        self.assertIn(" > /quit", [line.rstrip() for line in displayed])
        self.assertEqual([line for line in displayed if line.startswith((">", "-"))], [])
        # A wide character does not fit into the last column.
        self.assertEqual(indent_imitations("x" * 79 + "中> y", "->", 80), "x" * 79 + "中> y")
        self.assertEqual(indent_imitations("x" * 79 + "中" + "y" * 78 + "> z", "->", 80)[-4:], " > z")

    def test_waiting(self) -> None:
        """While nothing of a reply has arrived, a row says what is waited for, and how long."""
        self.start()
        self.assertEqual(self.live, "")
        self.enter("q")
        self.assertEqual(self.live, "-- waiting for puppet, 0 s; Ctrl-C stops it")
        refreshed = self.screen.refreshed
        self.reactor.pump([1, 1])
        self.assertEqual(self.screen.refreshed - refreshed, 2)
        self.assertEqual(self.live, "-- waiting for puppet, 2 s; Ctrl-C stops it")
        self.terminal.replyReceived(1, "half", False)
        self.assertEqual(self.live, "half")
        self.reply(1, "")
        self.assertEqual(self.live, "")
        self.reactor.advance(1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stalls(self) -> None:
        """The user is told when the server sends nothing although it should at each tick."""
        for shaping, tick, silence, stalls in (
            (Shaping.REPLY, 100, 2.9, False),
            (Shaping.REPLY, 100, 3.0, True),
            (Shaping.REPLY, 1000, 9.0, False),
            (Shaping.REPLY, 1000, 10.0, True),
            (Shaping.OFF, 100, 60.0, False),
        ):
            self.client = Client()
            self.start(Admitted("ann", "puppet", "test", 4096, False, shaping, tick, 1))
            self.client.silence = 60.0
            self.enter("q")
            self.assertIn("waiting", self.live)  # the silence before the message does not count
            self.reactor.advance(silence + 0.01)
            self.client.silence = silence
            notice = f"-- nothing has come for {int(silence)} s"
            self.assertEqual(self.live == notice, stalls)
            self.terminal.replyReceived(1, "x" * 100, False)
            self.assertEqual(self.live.endswith(notice), stalls)
            self.assertEqual(len(self.live), self.screen.columns if stalls else 100)

    def test_faults(self) -> None:
        """A fault is displayed, after what there is of the reply; the next message is answered."""
        self.start()
        self.enter("1", "2", "3")
        self.terminal.replyReceived(1, "", False)  # the first bytes of a character
        self.terminal.faultReceived(1, Fault.BUSY)
        self.assertIn("-- the robot is overloaded", "".join(self.screen.text))
        self.assertNotIn("incomplete", "".join(self.screen.text))
        self.terminal.replyReceived(2, "half", False)
        self.terminal.faultReceived(2, Fault.TIMED_OUT)
        text = "\n".join(self.screen.text)
        self.assertIn("puppet\nhalf\n-- the reply is incomplete: the robot timed out", text)
        self.reply(3, "whole")
        self.assertEqual(self.screen.text[-2:], ["whole", ""])
        self.assertIs(self.terminal.exit, ExitCode.ANSWERED)

    def test_steps(self) -> None:
        """The steps of the handshake are displayed by /info, and at once with -v."""
        for is_verbose in (False, True):
            errors = io.StringIO()
            terminal = self.make(is_verbose=is_verbose)
            with redirect_stderr(errors):
                terminal.step("a step\x1b")
            self.assertEqual(errors.getvalue(), "a step\ufffd\n" if is_verbose else "")
            self.start()
            self.terminal.step("a step\x1b")
            self.enter("/info")
            self.assertIn("-- a step\ufffd", self.screen.text)


class InterruptTests(TerminalTestCase):
    """Ctrl-C."""

    def test_stopsTheReply(self) -> None:
        """Ctrl-C stops the reply and keeps the draft; then it clears the draft."""
        self.start()
        self.enter("1", "2")
        self.screen.draft = "half a line"
        self.terminal.interrupted()
        self.assertEqual(self.client.log[-1], "cancel 1")
        self.assertEqual(self.live, "-- stopping the reply")
        self.terminal.faultReceived(1, Fault.CANCELLED)
        self.terminal.interrupted()
        self.assertEqual(self.client.log[-1], "cancel 2")
        self.assertEqual(self.screen.draft, "half a line")
        self.terminal.interrupted()
        self.assertEqual(self.screen.draft, "")
        self.assertNotIn("leave", self.client.log)

    def test_leavesAtTheSecond(self) -> None:
        """At an empty prompt, Ctrl-C says how to leave, and leaves the second time."""
        self.start()
        self.terminal.interrupted()
        self.assertEqual(self.live, "-- press Ctrl-C again, or Ctrl-D, to leave")
        self.assertEqual(self.client.log, [])
        self.terminal.interrupted()
        self.assertEqual(self.client.log, ["leave"])
        self.assertIs(self.terminal.exit, ExitCode.INTERRUPTED)

    def test_forgets(self) -> None:
        """A first Ctrl-C is forgotten after some seconds, or when something is entered."""
        self.start()
        self.terminal.interrupted()
        self.reactor.advance(HINT)
        self.terminal.interrupted()
        self.enter("/info")
        self.terminal.interrupted()
        self.assertEqual(self.client.log, [])


class CommandTests(TerminalTestCase):
    """Commands."""

    def test_unknown(self) -> None:
        """An unknown command is explained and stays in the editor; two slashes send it."""
        self.start()
        self.assertFalse(self.terminal.submitted("/frobnicate"))
        self.assertIn("unknown command", self.screen.text[0])
        self.enter("//frobnicate", "/usr/bin/x: not found")
        self.assertEqual(self.client.log, ["/frobnicate", "/usr/bin/x: not found"])

    def test_help(self) -> None:
        """/help lists the commands and the keys."""
        self.start()
        self.enter("/help")
        self.assertIn("-- /retry           send the last message again", self.screen.text)
        self.assertIn("Ctrl-D leaves", "".join(self.screen.text))

    def test_retry(self) -> None:
        """/retry sends the last message again, if there is one."""
        self.start()
        self.enter("/retry")
        self.assertEqual(self.client.log, [])
        self.enter("q")
        self.reply(1, "x")
        self.enter("/retry")
        self.assertEqual(self.client.log, ["q", "q"])

    def test_retryTakesBack(self) -> None:
        """/retry takes the earlier reply out of the conversation, if the server remembers it."""
        self.start()
        self.enter("one", "two")
        self.reply(1, "1")
        self.reply(2, "2")
        self.enter("/retry")
        self.assertEqual(self.client.recalled, [None, None, ["one", "1"]])
        self.terminal.faultReceived(3, Fault.TIMED_OUT)
        self.enter("/retry")
        self.assertEqual(self.client.recalled[3:], [None])
        self.reply(4, "2b")
        self.enter("/retry")
        self.assertEqual(self.client.recalled[4:], [["one", "1"]])
        self.reply(5, "2c")
        self.enter("/new", "/retry")
        self.assertEqual(self.client.recalled[5:], [None])

    def test_retryInTurn(self) -> None:
        """/retry is explained while a reply is outstanding, and when conversations were recalled too often."""
        self.start()
        self.enter("q", "/retry")
        self.assertIn("wait for the replies", self.screen.text[-1])
        self.reply(1, "r")
        self.client.error = LocalProtocolError("turns are recalled too often")
        self.enter("/retry")
        self.assertIn("try again in a minute", self.screen.text[-1])
        self.client.error = None
        self.enter("/retry")
        self.assertEqual((self.client.log, self.client.recalled), (["q", "q"], [None, []]))

    def test_edit(self) -> None:
        """/edit opens the editor with the last message."""
        self.start()
        self.enter("q")
        self.assertFalse(self.terminal.submitted("/edit"))
        self.assertEqual((self.screen.draft, self.screen.edited), ("q", 1))

    def test_copy(self) -> None:
        """/copy copies the source of a reply, through the terminal if there is no program for it."""
        done = False
        copied: list[str] = []

        def copy(text: str, _environ: object) -> bool:
            copied.append(text)
            return done

        self.patch(export, "copy_with_program", copy)
        self.start()
        self.enter("/copy")
        self.assertIn("no such reply", self.screen.text[-1])
        self.enter("1", "2")
        self.reply(1, "**one**\u200b\x1b")
        self.reply(2, "x" * 100_000)
        self.enter("/copy 2")
        self.assertEqual(self.screen.sequences, ["\x1b]52;c;KipvbmUqKuKAi++/vQ==\x07"])
        self.assertEqual(self.screen.text[-2:], ["-- copied 9 characters", "-- 1 of them are invisible"])
        self.enter("/copy")
        self.assertIn("too long", self.screen.text[-1])
        done = True
        self.enter("/copy")
        self.assertEqual(self.screen.text[-1], "-- copied 100000 characters")
        self.assertEqual(copied[0], "**one**\u200b\ufffd")

    def test_save(self) -> None:
        """/save writes the conversation to a new file, and says why it cannot."""
        self.start()
        self.enter("q")
        self.reply(1, "**r**")
        path = Path(self.mktemp()).absolute()
        self.screen.columns = 10_000
        self.enter(f"/save {path}")
        self.assertEqual(path.read_text(), "## You\n\nq\n\n## puppet\n\n**r**\n")
        self.assertEqual(self.screen.text[-1], f"-- saved in {path}")
        for name, words in ((path, "file exists"), ("/nonexistent/x", "no such directory"), ("/proc/x", "/proc/x")):
            self.enter(f"/save {name}")
            self.assertIn(words, self.screen.text[-1])


class EndTests(TerminalTestCase):
    """The end of the session."""

    def end(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        ended = self.terminal.ended
        self.in_loop(lambda: self.terminal.disconnected(reason))
        self.assertIs(self.successResultOf(ended), reason)
        self.assertIsNone(self.terminal.redial)
        self.assertTrue(self.screen.is_closed)

    def test_leaves(self) -> None:
        """The user is told that the session ends later, and how to end it now; queued messages are not sent."""
        self.start()
        self.enter("1", "2", "3", "4", "5", "6")
        self.terminal.input_ended()
        self.assertIn("Ctrl-C leaves at once", "".join(self.screen.text))
        self.client.rooms[0].callback(5)
        self.assertEqual(self.client.log, ["1", "2", "3", "4", "5", "leave"])
        self.assertIs(self.terminal.exit, ExitCode.ANSWERED)
        self.end(None)

    def test_leavesAReply(self) -> None:
        """What has arrived of a reply is displayed when the user leaves, and nothing after that."""
        self.start()
        self.enter("1", "2")
        self.terminal.replyReceived(1, "half", False)
        self.terminal.input_ended()
        before = [*self.screen.text]
        self.assertEqual(before[3:-2], ["half"])
        self.terminal.replyReceived(1, " more\n", False)
        self.terminal.faultReceived(1, Fault.CANCELLED)
        self.reply(2, "x")
        self.end(None)
        self.assertEqual(self.screen.text, before)
        self.assertIs(self.terminal.exit, ExitCode.ANSWERED)

    def test_leavesAtOnce(self) -> None:
        """Nothing is to be told if the session can end now."""
        self.start()
        self.client.is_quiet = True
        self.enter("/quit")
        self.assertEqual(self.screen.text, ["> /quit"])
        self.assertEqual(self.client.log, ["leave"])

    def test_ends(self) -> None:
        """The exit code is 5 if the session ends for good with a reply outstanding, and 0 otherwise."""
        reasons: list[SecureChatError | GoodbyeReceived] = [
            RemoteProtocolError(Category.ORDER),
            AuthenticationError(Category.RECORD),
            GoodbyeReceived(Reason.REMOVED, 0),
            GoodbyeReceived(Reason.KEY_WITHDRAWN, 0),
        ]
        for reason in reasons:
            for pieces in ((), ("half",), ("half", "end")):
                self.client = Client()
                self.start()
                self.enter("q")
                for piece in pieces:
                    self.terminal.replyReceived(1, piece, piece == "end")
                self.end(reason)
                failed = len(pieces) < 2
                self.assertIs(self.terminal.exit, ExitCode.FAULT if failed else ExitCode.ANSWERED)
                self.assertEqual("-- the reply is incomplete" in self.screen.text, len(pieces) == 1)
                self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_draft(self) -> None:
        """If the session ends while the user types, the draft stays on the screen."""
        self.start()
        self.screen.draft = "half\na line"
        self.end(GoodbyeReceived(Reason.REMOVED, 0))
        self.assertEqual(self.screen.text, ["> half", "  a line"])

    def test_endsAfterInterrupt(self) -> None:
        """An interrupt's exit code stays, whatever ends the session."""
        self.start()
        self.terminal.interrupted()
        self.terminal.interrupted()
        self.end(RemoteProtocolError(Category.CUT))
        self.assertIs(self.terminal.exit, ExitCode.INTERRUPTED)

    def test_connecting(self) -> None:
        """When connecting takes long, the user is told once what is waited for."""
        terminal = self.make()
        screen = self.screen
        terminal.step("connecting to it")
        self.reactor.advance(2.9)
        terminal.step("sent the key")
        self.assertEqual(screen.text, [])
        self.reactor.pump([0.2, 10])
        self.assertEqual(
            screen.text,
            [f"-- still waiting for {NAME}; the last step was: sent the key. Ctrl-C", "   stops"],
        )
        terminal.disconnected(None)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_neverAdmitted(self) -> None:
        """Before admission there is no prompt, and nothing to restore."""
        terminal = self.make()
        self.successResultOf(terminal.restore_terminal())
        error = RemoteProtocolError(Category.CUT)
        ended = terminal.ended
        terminal.disconnected(error)
        self.assertIs(self.successResultOf(ended), error)

"""Conversations of a terminal that are kept, with a screen in memory."""

import stat
from pathlib import Path
from typing import cast

from securechat.client.frontends import terminal as module
from securechat.client.protocol import ChatClient
from securechat.client.terminal.conversations import Saved, path_of, read
from securechat.client.terminal.styles import Style
from securechat.errors import Fault
from tests.client.test_terminal import ABOUT, TerminalTestCase


class KeepingTestCase(TerminalTestCase):
    @property
    def files(self) -> list[Path]:
        return sorted(self.conversations.iterdir()) if self.conversations.exists() else []

    def kept(self, path: Path) -> list[tuple[str, str]]:
        return [(exchange.user, exchange.robot) for exchange in read(path)]

    def start_with(self, *exchanges: Saved, keeps_all: bool = False, path: Path | None = None) -> None:
        """A session that goes on with these exchanges."""
        self.terminal = self.make(keeps_all=keeps_all, path=path)
        self.terminal.restore_conversation(exchanges)
        self.in_loop(lambda: self.terminal.admitted(cast(ChatClient, self.client), ABOUT))
        self.addCleanup(self.in_loop, self.screen.close)
        self.screen.columns = 1000


class SavingTests(KeepingTestCase):
    """/save and --save-conversations."""

    def test_notKept(self) -> None:
        """Without the user's wish, nothing is written."""
        self.start()
        self.enter("q")
        self.reply(1, "r")
        self.enter("/new")
        self.in_loop(self.screen.close)
        self.assertEqual(self.files, [])

    def test_save(self) -> None:
        """/save with a name writes the conversation, and what follows, to a file that only the user can read."""
        self.start_with()
        self.enter("/new", "q")
        self.reply(1, "r")
        self.enter("half")
        self.terminal.faultReceived(2, Fault.BUSY)
        self.enter("/save work")
        path = path_of("work", self.conversations)
        self.assertEqual(self.screen.text[-1], f"-- saved in {path}; later messages are added")
        self.enter("s")
        self.reply(3, "t")
        self.assertEqual(self.kept(path), [("q", "r"), ("s", "t")])
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.conversations.stat().st_mode), 0o700)
        self.enter("/new", "u")
        self.reply(4, "v")
        self.assertEqual(len(self.kept(path)), 2)

    def test_repeated(self) -> None:
        """A message that gets the same reply again is kept each time."""
        self.start_with()
        self.enter("/save work")
        for number in (1, 2, 3):
            self.enter("go on")
            self.reply(number, "done")
        self.assertEqual(self.kept(path_of("work", self.conversations)), [("go on", "done")] * 3)

    def test_exists(self) -> None:
        """A conversation is not overwritten."""
        self.start_with()
        self.enter("/save work", "/save work")
        self.assertEqual(self.screen.text[-1], "-- work: a conversation of this name exists")
        self.assertIs(self.screen.rows[-1][-1][0], Style.ERROR)

    def test_all(self) -> None:
        """If the user wants all conversations, each is in a file of its own."""
        self.start_with(keeps_all=True)
        self.enter("q")
        self.reply(1, "r")
        self.enter("/new", "s")
        self.reply(2, "t")
        self.enter("u")
        self.reply(3, "v")
        self.assertCountEqual([self.kept(path) for path in self.files], [[("q", "r")], [("s", "t"), ("u", "v")]])

    def test_retry(self) -> None:
        """The reply to /retry replaces the one before it."""
        self.start_with(keeps_all=True)
        for number, reply in enumerate(("1", "2"), 1):
            self.enter(f"q{number}")
            self.reply(number, reply)
        self.enter("/retry")
        self.terminal.faultReceived(3, Fault.BUSY)
        self.enter("/retry")
        self.reply(4, "3")
        self.enter("q3")
        self.reply(5, "4")
        self.assertEqual(self.kept(self.files[0]), [("q1", "1"), ("q2", "3"), ("q3", "4")])

    def test_fails(self) -> None:
        """A conversation that cannot be written is kept no longer, and the user is told once."""
        self.conversations = Path("/proc/x")
        self.start_with(keeps_all=True)
        self.enter("/save work")
        self.assertIn("/proc/x: ", self.screen.text[-1])
        for number in (1, 2):
            self.enter("q")
            self.reply(number, "r")
        notices = [text for text in self.screen.text if "no longer saving the conversation: /proc/x: " in text]
        self.assertEqual(len(notices), 1)


class ResumptionTests(KeepingTestCase):
    """--continue and --resume."""

    def test_recalls(self) -> None:
        """The first message takes the saved conversation along; what follows is added to the file."""
        self.conversations.mkdir()
        path = path_of("work", self.conversations)
        path.write_text('{"user":"q","robot":"r"}\n')
        self.start_with(Saved("q", "r"), path=path)
        self.assertEqual(self.screen.text[1:], ["-- continuing work; messages so far: 1; the last one: q"])
        self.enter("s")
        self.reply(1, "t")
        self.assertEqual(self.client.recalled, [["q", "r"]])
        self.assertEqual(self.kept(path), [("q", "r"), ("s", "t")])
        self.enter("/copy 2")

    def test_retry(self) -> None:
        """/retry works for the last message of a saved conversation."""
        self.conversations.mkdir()
        path = path_of("work", self.conversations)
        path.write_text('{"user":"q","robot":"r"}\n')
        self.start_with(Saved("q", "r"), path=path)
        self.enter("/retry")
        self.reply(1, "t")
        self.assertEqual(self.client.log, ["q"])
        self.assertEqual(self.kept(path), [("q", "t")])

    def test_hostile(self) -> None:
        """What is displayed of the file is on one line, without control characters, and not too long."""
        self.start_with(Saved("\x1b[2J\n" + "x" * 1000, "r"), path=Path("/x/work.jsonl"))
        self.assertTrue(self.screen.text[1].isprintable())
        self.assertLess(len(self.screen.text[1]), module.MAX_RESTORED + 10)

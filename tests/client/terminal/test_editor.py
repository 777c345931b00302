"""The prompt: keys from a pipe, and a screen in memory that pyte emulates."""

import asyncio
import io
import os
import re
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pyte
from prompt_toolkit.data_structures import Size
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import create_pipe_input
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.output import Output
from securechat.client.terminal import editor as module
from securechat.client.terminal import renderer
from securechat.client.terminal.editor import Editor
from securechat.client.terminal.renderer import TerminalOutput
from securechat.client.terminal.styles import Row, Style

PATIENCE = 20.0  # seconds, on a busy machine
CTRL_C, CTRL_D, CTRL_J, CTRL_R, TAB = "\x03", "\x04", "\n", "\x12", "\t"
ALT_ENTER = "\x1b\r"


class Keyboard:
    """A user of the editor."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.row: Row = []
        self.is_kept = False
        self.asks = False

    def submitted(self, text: str) -> bool:
        self.log.append(text)
        return not self.is_kept

    def interrupted(self) -> None:
        self.log.append("interrupted")

    def input_ended(self) -> None:
        self.log.append("ended")

    def live(self) -> Row:
        return self.row


class EditorTestCase(SynchronousTestCase):
    """An editor, and what is on the screen."""

    def use(
        self, scenario: Callable[[], Awaitable[None]], *, columns: int = 40, rows: int = 10, **environ: str
    ) -> None:
        """Run a scenario with a prompt."""
        self.written = io.StringIO()
        self.size = Size(rows=rows, columns=columns)
        self.user = Keyboard()

        async def run() -> None:
            with create_pipe_input() as keys:
                self.keys = keys
                terminal = TerminalOutput(self.written, lambda: self.size, term="xterm", enable_cpr=False)
                history = InMemoryHistory(["earlier one", "earlier two"])
                self.editor = Editor(Output(), history, environ, keys=keys, terminal=terminal)
                running = asyncio.ensure_future(self.editor.run(self.user))
                await self.until(lambda: ">" in self.shown())
                await asyncio.sleep(0.11)  # in which a newline is Enter
                await scenario()
                self.editor.close()
                await running

        asyncio.run(asyncio.wait_for(run(), PATIENCE))

    def shown(self) -> list[str]:
        """What is on the screen, without blank lines."""
        screen = pyte.Screen(200, 300)
        pyte.Stream(screen).feed(self.written.getvalue().replace("\n", "\r\n"))
        return [line.rstrip() for line in screen.display if line.strip()]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.005)

    async def type(self, keys: str, *log: str) -> None:
        """Type keys, and wait for the calls that follow."""
        self.user.log.clear()
        self.keys.send_text(keys)
        await self.until(lambda: len(self.user.log) >= len(log))
        self.assertEqual(self.user.log, [*log])


class EditorTests(EditorTestCase):
    """The editor."""

    def test_lines(self) -> None:
        """Enter sends; Alt-Enter and Ctrl-J begin a new line, and so does a newline in what is pasted."""

        async def scenario() -> None:
            await self.type("one\r", "one")
            await self.type(f"two{ALT_ENTER}x{CTRL_J}y\r", "two\nx\ny")
            await self.type("\x1b[200~a\r\n  b\nc\x1b[201~", *[])
            await self.until(lambda: self.editor.draft == "a\n  b\nc")
            await self.type("\r", "a\n  b\nc")

        self.use(scenario)

    def test_asks(self) -> None:
        """While there is a question, y and n answer it alone, but not within a draft."""

        async def scenario() -> None:
            await self.type("y\r", "y")
            self.user.asks = True
            await self.type("y", "y")
            await self.type("n", "n")
            await self.type("an\x7fy")
            await self.until(lambda: self.editor.draft == "ay")

        self.use(scenario)

    def test_callbacks(self) -> None:
        """Ctrl-C and Ctrl-D at an empty prompt are reported; what is not accepted stays."""

        async def scenario() -> None:
            await self.type(CTRL_C, "interrupted")
            await self.type(CTRL_D, "ended")
            self.user.is_kept = True
            await self.type("/x\r", "/x")
            self.assertEqual(self.editor.draft, "/x")
            self.user.is_kept = False
            await self.type("\x01" + CTRL_D + "y\r", "yx")

        self.use(scenario)

    def test_typedAhead(self) -> None:
        """What was typed before the prompt is there is sent, although the terminal has translated Enter."""
        self.patch(module, "TYPED_AHEAD", 2 * PATIENCE)  # for a slow machine

        async def run() -> None:
            with create_pipe_input() as keys:
                keys.send_text("early\n")
                terminal = TerminalOutput(io.StringIO(), lambda: Size(10, 40), term="xterm", enable_cpr=False)
                editor = Editor(Output(), InMemoryHistory(), {}, keys=keys, terminal=terminal)
                user = Keyboard()
                running = asyncio.ensure_future(editor.run(user))
                await self.until(lambda: user.log == ["early"])
                editor.close()
                await running

        asyncio.run(asyncio.wait_for(run(), PATIENCE))

    def test_history(self) -> None:
        """The arrow and Ctrl-R bring back what was entered before."""

        async def scenario() -> None:
            while self.editor.draft != "earlier one":  # the oldest; the history is loaded by a task of its own
                self.keys.send_text("\x1b[A")
                await asyncio.sleep(0.01)
            await self.type("\r", "earlier one")
            await self.type(f"{CTRL_R}two\r", *[])
            await self.until(lambda: self.editor.draft == "earlier two")
            await self.type("\r", "earlier two")

        self.use(scenario)

    def test_completes(self) -> None:
        """Tab completes a command, lists several, and does nothing else."""

        async def scenario() -> None:
            await self.type(f"/he{TAB}\r", "/help ")
            await self.type(f"/{TAB}{TAB}", *[])
            await self.until(lambda: any("/new  /retry" in line for line in self.shown()))
            await self.type(f"\x15a{TAB}b\r", "ab")

        self.use(scenario, columns=120)

    def test_prints(self) -> None:
        """Rows are printed above the prompt, once, and the draft stays; one row above the prompt is live."""

        async def scenario() -> None:
            self.keys.send_text("draft 中文")
            await self.until(lambda: "> draft 中文" in self.shown())
            for number in range(50):
                self.user.row = [(Style.PLAIN, f"live {number}")]
                self.editor.show([[(Style.BOLD, f"row {number}.")], []])
                if number % 7 == 0:
                    await asyncio.sleep(0.05)
            self.user.row = [(Style.PLAIN, "x" * 100)]
            self.editor.refresh()
            rows = [f"row {number}." for number in range(50)]
            await self.until(lambda: self.shown() == [*rows, "x" * 39, "> draft 中文"])

        self.use(scenario)
        for number in range(50):
            self.assertEqual(self.written.getvalue().count(f"row {number}."), 1)
        self.assertEqual(self.shown(), [f"row {number}." for number in range(50)])  # the prompt has gone

    def test_sequences(self) -> None:
        """Flags, whose width is not that of their characters, leave no residue in the live row."""

        async def scenario() -> None:
            for text in ("🇩🇪🇫🇷 abc", "🇩🇪🇫🇷🇮🇹 abcd", "x"):
                self.written.truncate(0)
                self.written.seek(0)
                self.user.row = [(Style.PLAIN, text)]
                self.editor.refresh()
                await self.until(lambda text=text: text in self.written.getvalue())  # type: ignore[misc]

        self.use(scenario)

    def test_sequencesInTheDraft(self) -> None:
        """A draft with such characters is drawn from scratch with each key, and the cursor is where it belongs."""

        async def scenario() -> None:
            for keys, text, columns in (
                ("a🇩🇪b", "> a🇩🇪b", 6),
                ("\x7f", "> a🇩🇪", 5),
                ("c\x1b[D", "> a🇩🇪c", 5),
                ("\x1b[D\x1b[D\x1b[D", "> a🇩🇪c", 2),
            ):
                self.written.truncate(0)
                self.written.seek(0)
                self.keys.send_text(keys)
                end = f"\r\x1b[{columns}C"
                await self.until(lambda end=end: self.written.getvalue().endswith(end))  # type: ignore[misc]
                *_before, drawn = self.written.getvalue().split("\x1b[J")
                self.assertIn(text, re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", drawn))

        self.use(scenario)

    def test_hostile(self) -> None:
        """Control and invisible characters are displayed as such while they are edited, and kept in the text."""
        text = "a\x9b2J\u202e\u200b\U000e0041\x7f" + "e" + "\u0301" * 20 + "z"

        async def scenario() -> None:
            await self.type(f"\x1b[200~{text}\x1b[201~", *[])
            await self.until(lambda: self.editor.draft == text)
            await self.until(lambda: any(line.endswith("z") for line in self.shown()))
            await self.type("\r", text)

        self.use(scenario)
        for letter in text[1:-1].replace("2J", "").replace("e", ""):
            if letter != "\u0301":
                self.assertNotIn(letter, self.written.getvalue())
        self.assertNotIn("\u0301" * 7, self.written.getvalue())

    def test_colours(self) -> None:
        """Sixteen colours are used, and none with NO_COLOR."""

        async def scenario() -> None:
            self.user.row = [(Style.NOTICE, "live")]
            self.editor.show([[(Style.ROBOT, "name")]])
            await self.until(lambda: "live" in self.shown())

        self.use(scenario)
        self.assertIn("\x1b[1;35mname", self.written.getvalue())
        self.assertIn("33mlive", self.written.getvalue())
        self.use(scenario, NO_COLOR="1")
        self.assertEqual(set(re.findall(r"\x1b\[([\d;]*)m", self.written.getvalue())) - {"0"}, set())

    def test_editor(self) -> None:
        """Ctrl-X Ctrl-E edits the draft with the user's editor, in a file that only the user can read."""
        seen = Path(self.mktemp()).absolute()
        program = Path(self.mktemp()).absolute()
        program.write_text(f'#!/bin/sh\n/bin/cp -p "$2" {seen}\nprintf "edited $1\\n\\n" > "$2"\n')
        program.chmod(0o700)

        async def scenario() -> None:
            self.keys.send_text("draft\x18\x05")
            await self.until(lambda: self.editor.draft == "edited arg")
            await self.type("!\r", "edited arg!")

        self.use(scenario, EDITOR=f"{program} arg")
        self.assertEqual(seen.read_text(), "draft\n")
        self.assertEqual(stat.S_IMODE(os.stat(seen).st_mode), 0o600)

    def test_editorFails(self) -> None:
        """If the editor fails, the draft stays, and the user is told why."""
        for editor, words in (("false", "exit status 1"), ("/nonexistent/vi", "No such file"), ("'", "quotation")):

            async def scenario(words: str = words) -> None:
                self.keys.send_text("draft\x18\x05")
                await self.until(lambda: any(words in line for line in self.shown()))
                await self.type("\r", "draft")

            self.use(scenario, columns=120, VISUAL=editor)

    def test_noJobControl(self) -> None:
        """Ctrl-Z without a shell that can continue the client has no effect."""
        self.patch(os, "kill", lambda *arguments: self.user.log.append(f"kill {arguments}"))

        async def scenario() -> None:
            self.keys.send_text("draft\x1a")
            await self.until(lambda: self.user.log != [])
            self.user.log.clear()
            await self.until(lambda: "> draft" in self.shown())
            self.keys.send_text("\r")
            await self.until(lambda: self.user.log == ["draft"])

        self.use(scenario)


class ReflowTests(EditorTestCase):
    """Terminals whose width changes."""

    def test_narrower(self) -> None:
        """A terminal that breaks long rows anew when it becomes narrower has no residue of the live row."""

        for text, rows in (("x" * 100, 4), ("中" * 100, 5), ("x", 1)):

            async def scenario(text: str = text) -> None:
                self.user.row = [(Style.PLAIN, text)]
                self.keys.send_text("draft")
                self.editor.refresh()
                await self.until(lambda: "> draft" in self.shown() and text[0] in self.shown()[-2])
                self.written.truncate(0)
                self.written.seek(0)
                self.size = Size(rows=10, columns=9 if text[0] == "中" else 10)  # the live row takes more rows now
                self.editor.show([[(Style.PLAIN, "row")]])
                await self.until(lambda: "row" in self.written.getvalue())

            self.use(scenario, TERM="tmux-256color")
            up = "\r\x1b[7D" if rows == 1 else f"\r\x1b[{rows - 1}A"
            self.assertTrue(self.written.getvalue().startswith(up), self.written.getvalue()[:50])
            self.use(scenario, TERM="xterm", XTERM_VERSION="XTerm(390)")
            self.assertFalse(self.written.getvalue().startswith("\r\x1b[3A"), self.written.getvalue()[:50])


class WaitingTests(SynchronousTestCase):
    """Rows that cannot be printed, because another program has the terminal."""

    def test_limit(self) -> None:
        """The oldest rows are dropped when too many wait."""
        self.patch(renderer, "MAX_WAITING", 10)
        written = io.StringIO()
        output = TerminalOutput(written, lambda: Size(10, 40), term="xterm", enable_cpr=False)
        appending = renderer.AppendingRenderer(output, reflows=True)
        for number in range(6):
            appending.add(f"row{number}\n")
        appending.print_waiting()
        self.assertTrue(written.getvalue().endswith("row4\nrow5\n"))
        self.assertNotIn("row3", written.getvalue())

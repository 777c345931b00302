"""The prompt on a terminal that can move its cursor, with prompt_toolkit."""

import asyncio
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, cast

from prompt_toolkit.application import Application, in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition, has_focus, is_searching
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import BufferControl, ConditionalContainer, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.widgets import SearchToolbar

from securechat.client.output import Output
from securechat.client.sanitize import sanitize
from securechat.client.terminal.commands import completions
from securechat.client.terminal.renderer import AppendingRenderer, TerminalOutput, reflows
from securechat.client.terminal.screen import PROMPT, ScreenUser
from securechat.client.terminal.styles import Row, Style, cut, render, toolkit_style
from securechat.i18n import _

MIN_INTERVAL: Final = 0.03  # seconds between two drawings for text that arrives; a key is displayed at once
SUSPEND_TIME: Final = 0.5  # seconds to wait for SIGCONT after SIGTSTP; without job control, neither takes effect
TYPED_AHEAD: Final = 0.1  # seconds after the start in which a newline is Enter: the terminal was not in raw mode yet


class _Visible(Processor):
    """Displays control characters and invisible ones in the input as U+FFFD."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        text = "".join(fragment[1] for fragment in transformation_input.fragments)
        shown = sanitize(text.replace("\r", " "))
        if shown == text:
            return Transformation(transformation_input.fragments)
        at = 0
        fragments: StyleAndTextTuples = []
        for style, part, *_mouse in transformation_input.fragments:
            fragments.append((style, shown[at : at + len(part)]))
            at += len(part)
        return Transformation(fragments)


class Editor:
    """A `Screen` with an editor of several lines, and one live row above it."""

    def __init__(
        self,
        output: Output,
        history: History,
        environ: Mapping[str, str] = os.environ,
        *,
        keys: Input | None = None,
        terminal: TerminalOutput | None = None,
    ) -> None:
        self.is_styled = not environ.get("NO_COLOR")
        self.echoes = False
        self._output = output
        self._environ = environ
        self._terminal = terminal or TerminalOutput.open(sys.stdout, environ)
        self._buffer = Buffer(multiline=True, history=history)
        self._renderer = AppendingRenderer(self._terminal, reflows=reflows(environ))
        self._user: ScreenUser | None = None
        self._drawn = 0.0  # when text that arrived was drawn last
        self._drawing: asyncio.TimerHandle | None = None
        self._away: asyncio.Task[None] | None = None  # while another program has the terminal
        self._started = 0.0
        self._app: Application[None] = self._make_application(keys)
        self._app.renderer = self._renderer

    def _make_application(self, keys: Input | None) -> "Application[None]":
        search = SearchToolbar(forward_search_prompt=_("search forward: "), backward_search_prompt=_("search: "))
        live = Window(FormattedTextControl(self._live), height=1, dont_extend_height=True)
        control = BufferControl(
            self._buffer,
            input_processors=[_Visible()],
            search_buffer_control=search.control,
            preview_search=True,
        )
        edit = Window(control, wrap_lines=True, dont_extend_height=True, get_line_prefix=self._prefix)
        return Application(
            Layout(HSplit([ConditionalContainer(live, Condition(lambda: bool(self._live()))), edit, search]), edit),
            key_bindings=self._keys(),
            color_depth=ColorDepth.DEPTH_4_BIT if self.is_styled else ColorDepth.DEPTH_1_BIT,
            include_default_pygments_style=False,
            erase_when_done=True,
            input=keys,
            output=self._terminal,
        )

    # Screen

    @property
    def draft(self) -> str:
        return self._buffer.text

    @draft.setter
    def draft(self, text: str) -> None:
        self._buffer.text = text
        self._buffer.cursor_position = len(text)

    @property
    def columns(self) -> int:
        return self._terminal.get_size().columns - 1  # a full row would wrap on some terminals

    def show(self, rows: Sequence[Row]) -> None:
        if rows:
            self._print("".join(f"{render(row, styled=self.is_styled)}\n" for row in rows))

    def write_sequence(self, sequence: str) -> None:
        self._print(sequence)

    def _print(self, text: str) -> None:
        self._renderer.add(text)
        if self._app.is_running:
            self.refresh()
        else:
            self._renderer.print_waiting()

    def refresh(self) -> None:
        if self._drawing is None and self._app.is_running:
            loop = asyncio.get_running_loop()
            self._drawing = loop.call_at(max(loop.time(), self._drawn + MIN_INTERVAL), self._draw)

    def _draw(self) -> None:
        self._drawing = None
        self._drawn = asyncio.get_running_loop().time()
        self._app.invalidate()

    def edit(self) -> None:
        self._leave_for(self._edit())

    async def run(self, user: ScreenUser) -> None:
        self._user = user
        self._started = asyncio.get_running_loop().time()
        try:
            await self._app.run_async(handle_sigint=False, set_exception_handler=False)
        except EOFError:  # the terminal has gone
            user.input_ended()
        finally:
            if self._drawing is not None:
                self._drawing.cancel()
            self._renderer.print_waiting()

    def close(self) -> None:
        if self._away is not None and not self._away.done():
            self._away.add_done_callback(lambda _task: self.close())
        elif self._app.is_running and not self._app.is_done:
            self._app.exit()

    # What is displayed

    def _live(self) -> StyleAndTextTuples:
        row = self._user.live() if self._user is not None and self._renderer.is_settled else []
        return [(toolkit_style(style) if self.is_styled else "", text) for style, text in cut(row, self.columns)]

    def _prefix(self, line: int, wraps: int) -> StyleAndTextTuples:
        prefix = PROMPT if line == wraps == 0 else " " * len(PROMPT)
        return [(toolkit_style(Style.USER) if self.is_styled else "", prefix)]

    # Keys

    def _keys(self) -> KeyBindings:
        bindings = KeyBindings()
        at_prompt = has_focus(self._buffer) & ~is_searching
        is_empty = Condition(lambda: not self._buffer.text)

        def bind(*keys: str, do: Callable[[], object], when: Condition | None = None) -> None:
            bindings.add(*keys, filter=at_prompt & when if when is not None else at_prompt, eager=len(keys) == 1)(
                lambda _event: cast(None, do())
            )

        bind("enter", do=self._submit)
        asks = Condition(lambda: not self._buffer.text and self._user is not None and self._user.asks)
        for letter in "yn":
            bind(letter, do=partial(self._answer, letter), when=asks)
        bind("escape", "enter", do=lambda: self._buffer.insert_text("\n"))
        bind("c-j", do=self._newline)
        bind("c-c", do=self._interrupt)
        bind("c-d", do=self._end, when=is_empty)
        bind("c-z", do=lambda: self._leave_for(self._suspend()))
        bind("c-x", "c-e", do=self.edit)
        bind("tab", do=self._complete)

        @bindings.add("s-tab")
        def ignore(event: KeyPressEvent) -> None:
            """There is nothing to select."""

        return bindings

    def _newline(self) -> None:
        if asyncio.get_running_loop().time() < self._started + TYPED_AHEAD:
            self._submit()
        else:
            self._buffer.insert_text("\n")

    def _submit(self) -> None:
        if self._user is not None and self._user.submitted(self._buffer.text):
            self._buffer.append_to_history()
            self._buffer.reset()

    def _answer(self, letter: str) -> None:
        if self._user is not None:
            self._user.submitted(letter)

    def _interrupt(self) -> None:
        if self._user is not None:
            self._user.interrupted()

    def _end(self) -> None:
        if self._user is not None:
            self._user.input_ended()

    def _complete(self) -> None:
        text = self._buffer.document.text_before_cursor
        found = completions(text)
        if found and not self._buffer.document.text_after_cursor:
            common = os.path.commonprefix(found)  # noqa: RUF071 - these are no paths
            self._buffer.insert_text(common[len(text) :] + (" " if len(found) == 1 else ""))
            if common == text and len(found) > 1:
                self.show([[(Style.NOTICE, "  ".join(found))]])

    # Other programs on the terminal

    def _leave_for(self, program: "asyncio.Future[None] | object") -> None:
        if self._away is None or self._away.done():
            self._away = self._app.create_background_task(program)  # type: ignore[arg-type]

    async def _suspend(self) -> None:
        """Stop, as at Ctrl-Z, with the terminal as it was. Without job control nothing happens."""
        loop = asyncio.get_running_loop()
        continued = asyncio.Event()
        async with in_terminal():
            await self._output.drained().asFuture(loop)
            loop.add_signal_handler(signal.SIGCONT, continued.set)
            os.kill(0, signal.SIGTSTP)  # another thread may stop first, so that this one goes on for a moment
            with suppress(TimeoutError):
                await asyncio.wait_for(continued.wait(), SUSPEND_TIME)
            loop.remove_signal_handler(signal.SIGCONT)

    async def _edit(self) -> None:
        editor = self._environ.get("VISUAL") or self._environ.get("EDITOR") or "vi"
        draft = self.draft
        async with in_terminal():
            loop = asyncio.get_running_loop()
            await self._output.drained().asFuture(loop)
            self._output.is_lent = True
            try:
                self.draft = await loop.run_in_executor(None, _edit_in_file, editor, draft)
            except (OSError, ValueError) as error:
                problem = _("{editor}: {problem}").format(editor=editor, problem=error)
                self.show([[(Style.ERROR, problem)]])
            finally:
                self._output.is_lent = False


def _edit_in_file(editor: str, text: str) -> str:
    """The text after the user has edited it; OSError or ValueError if that failed."""
    descriptor, name = tempfile.mkstemp(suffix=".md", prefix="securechat-")
    path = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(f"{text}\n")
        status = subprocess.call([*shlex.split(editor), name])  # noqa: S603 - the user's own editor
        if status:
            raise ValueError(_("exit status {status}; the text is unchanged").format(status=status))
        return path.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
    finally:
        path.unlink(missing_ok=True)

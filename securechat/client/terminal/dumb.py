"""The prompt on a terminal that cannot move its cursor: lines in, lines out."""

import asyncio
import shutil
from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred

from securechat.client.frontends.stdin import StdinLines
from securechat.client.terminal.screen import PROMPT, ScreenUser
from securechat.client.terminal.styles import Row, Style, render
from securechat.errors import ConfigurationError
from securechat.wire.messages import MAX_MESSAGE

_DEFAULT_COLUMNS: Final = 80


class DumbScreen:
    """A `Screen` without a live row and an editor. The terminal itself displays what is typed."""

    is_styled = False
    echoes = True
    draft = ""

    def __init__(self, lines: StdinLines) -> None:
        self._lines = lines
        self._user: ScreenUser | None = None
        self._next: Deferred[str | None] | None = None
        self._is_closed = False
        self._is_at_prompt = False

    @property
    def columns(self) -> int:
        return shutil.get_terminal_size((_DEFAULT_COLUMNS, 0)).columns - 1

    def show(self, rows: Sequence[Row]) -> None:
        if self._is_at_prompt:
            self._is_at_prompt = False
            print()
        for row in rows:
            print(render(row, styled=False))

    def write_sequence(self, sequence: str) -> None:
        """The terminal does not know any."""

    def refresh(self) -> None:
        if not self._is_at_prompt and not self._is_closed and self._user is not None and not self._user.live():
            self._is_at_prompt = True
            print(PROMPT, end="", flush=True)

    def edit(self) -> None:
        """There is no editor."""

    async def run(self, user: ScreenUser) -> None:
        self._user = user
        while not self._is_closed:
            self.refresh()
            self._next = self._lines.next(MAX_MESSAGE)
            try:
                line = await self._next.asFuture(asyncio.get_running_loop())
            except ConfigurationError as error:
                self.show([[(Style.ERROR, str(error))]])
                line = None
            self._is_at_prompt = False
            if self._is_closed:
                return
            if line is None:
                user.input_ended()
                return
            user.submitted(line)

    def close(self) -> None:
        self._is_closed = True
        if self._next is not None and not self._next.called:
            self._next.callback(None)

"""The screen for the terminal that the client runs in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import platformdirs

from securechat.client.frontends.stdin import StdinLines
from securechat.client.output import STANDARD_INPUT, Output
from securechat.client.reactor import IClientReactor
from securechat.client.terminal.dumb import DumbScreen
from securechat.client.terminal.editor import Editor
from securechat.client.terminal.history import InputHistory
from securechat.client.terminal.screen import Screen
from securechat.errors import ConfigurationError
from securechat.settings import default_path

_DUMB: Final = ("", "dumb", "unknown")  # values of TERM


def open_screen(reactor: IClientReactor, output: Output, environ: Mapping[str, str], *, keeps_history: bool) -> Screen:
    """The screen for this terminal."""
    if environ.get("TERM", "") in _DUMB:
        return DumbScreen(StdinLines(STANDARD_INPUT, reactor))
    return Editor(output, InputHistory(_history_path() if keeps_history else None), environ)


def _history_path() -> Path | None:
    """None if the user has no home directory."""
    try:
        return default_path(platformdirs.user_state_path, "no-history") / "history"
    except ConfigurationError:
        return None

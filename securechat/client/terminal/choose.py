"""The screen for the terminal that the client runs in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import platformdirs

from securechat.client.frontends.stdin import StdinLines
from securechat.client.output import STANDARD_INPUT, Output
from securechat.client.reactor import IClientReactor
from securechat.client.settings import ClientSettings
from securechat.client.terminal.conversations import Saved, is_name, latest, path_of, read
from securechat.client.terminal.dumb import DumbScreen
from securechat.client.terminal.editor import Editor
from securechat.client.terminal.history import InputHistory
from securechat.client.terminal.keeping import Keeper
from securechat.client.terminal.screen import Screen
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.settings import default_path

_DUMB: Final = ("", "dumb", "unknown")  # values of TERM


def open_screen(reactor: IClientReactor, output: Output, environ: Mapping[str, str], *, keeps_history: bool) -> Screen:
    """The screen for this terminal."""
    if environ.get("TERM", "") in _DUMB:
        return DumbScreen(StdinLines(STANDARD_INPUT, reactor))
    return Editor(output, InputHistory(_history_path() if keeps_history else None), environ)


def open_keeper(reactor: IClientReactor, options: ClientSettings) -> tuple[Keeper, list[Saved]]:
    """What keeps the conversation, and the exchanges with which it goes on; ConfigurationError if there are none."""
    path = None
    if options.continue_latest:
        path = latest(_conversations())
    elif options.resume is not None:
        is_kept = is_name(options.resume)
        path = path_of(options.resume, _conversations()) if is_kept else Path(options.resume).expanduser().absolute()
    keeper = Keeper(reactor, _conversations, keeps_all=options.save_conversations, path=path)
    return keeper, read(path) if path is not None else []


def _conversations() -> Path:
    """The directory of the conversations that are kept; ConfigurationError if the user has no home directory."""
    path = _history_path()
    if path is None:
        raise ConfigurationError(_("cannot determine the home directory; set HOME"))
    return path.with_name("conversations")


def _history_path() -> Path | None:
    """None if the user has no home directory."""
    try:
        return default_path(platformdirs.user_state_path, "no-history") / "history"
    except ConfigurationError:
        return None

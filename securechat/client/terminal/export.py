"""What /copy and /save do: a reply to the clipboard, the conversation to a file. Each ends with a notice."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from securechat.client.reactor import IClientReactor
from securechat.client.sanitize import REPLACEMENT, sanitize, without_controls
from securechat.client.terminal.clipboard import copy_with_program, terminal_sequence
from securechat.client.terminal.conversations import Saved, is_name
from securechat.client.terminal.keeping import Keeper
from securechat.client.terminal.lines import show_error, show_notice
from securechat.client.terminal.screen import Screen
from securechat.client.terminal.transcript import Transcript
from securechat.errors import ConfigurationError
from securechat.files import write_new
from securechat.i18n import _

T = TypeVar("T")


class Exporter:
    """Copies and saves what is in the transcript, without blocking the reactor."""

    def __init__(self, reactor: IClientReactor, screen: Screen, transcript: Transcript, keeper: Keeper) -> None:
        self._reactor = reactor
        self._screen = screen
        self._transcript = transcript
        self._keeper = keeper

    def copy(self, number: int) -> None:
        """Copy the latest reply, the one before it for 2, and so on."""
        reply = self._transcript.reply(number)
        if reply is None:
            show_error(self._screen, _("there is no such reply"))
            return
        text = without_controls(reply)
        self._in_thread(copy_with_program, text, os.environ).addCallback(self._copied, text)

    def _copied(self, is_done: bool, text: str) -> None:
        sequence = None if is_done else terminal_sequence(text)
        if not is_done and sequence is None:
            show_error(self._screen, _("the reply is too long for the terminal's clipboard; use /save"))
            return
        if sequence is not None:
            self._screen.write_sequence(sequence)
        show_notice(self._screen, _("copied {count} characters").format(count=len(text)))
        hidden = sanitize(text).count(REPLACEMENT) - text.count(REPLACEMENT)
        if hidden:
            show_error(self._screen, _("{count} of them are invisible").format(count=hidden))

    def save(self, name: str, robot: str) -> None:
        """Keep the conversation under a name from now on, or write it to a new file as a document.

        `robot` is the robot's name in the document.
        """
        if is_name(name):
            self._keep(name)
        else:
            self._write(Path(name).expanduser().absolute(), robot)

    def _keep(self, name: str) -> None:
        exchanges = [Saved(exchange.question, exchange.reply) for exchange in self._transcript.answered()]
        saving = self._keeper.save_as(name, exchanges)
        saved = _("saved in {path}; later messages are added")
        saving.addCallback(lambda path: show_notice(self._screen, saved.format(path=path)))
        saving.addErrback(self._not_saved, _("{name}: a conversation of this name exists").format(name=name))

    def _write(self, path: Path, robot: str) -> None:
        if not path.parent.is_dir():
            show_error(self._screen, _("{path}: no such directory").format(path=path.parent))
            return
        data = self._transcript.as_markdown(robot).encode(errors="replace")
        saving = self._in_thread(write_new, path, data, 0o600)
        saving.addCallback(lambda _nothing: show_notice(self._screen, _("saved in {path}").format(path=path)))
        saving.addErrback(self._not_saved, _("{path}: file exists").format(path=path))

    def _not_saved(self, failure: Failure, exists: str) -> None:
        """Say why; `exists` if there is such a file already."""
        failure.trap(ConfigurationError, FileExistsError)
        show_error(self._screen, exists if isinstance(failure.value, FileExistsError) else str(failure.value))

    def _in_thread(self, call: Callable[..., T], *args: object) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), call, *args)

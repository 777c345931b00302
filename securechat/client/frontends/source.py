"""The messages of a batch: from the command line, from standard input, or from both."""

import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall

from securechat.client.frontends.stdin import READ_SIZE, StdinLines, read_some
from securechat.client.reactor import IClientReactor
from securechat.client.settings import ClientSettings
from securechat.client.stderr import note
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.wire.messages import MAX_MESSAGE

LONG_WAIT: Final = 3.0  # seconds; a pipe that brings nothing in this time was probably not meant for us
_BOM: Final = "\ufeff"  # a byte order mark, with which some editors begin a file


class Source(Protocol):
    """A source of messages."""

    def next(self, limit: int) -> "Deferred[str | None]":
        """The next message; None at the end. ConfigurationError if it has more than `limit` bytes of UTF-8."""


class FixedMessages:
    """The messages on the command line."""

    def __init__(self, messages: tuple[str, ...]) -> None:
        self._messages = iter(messages)

    def next(self, limit: int) -> "Deferred[str | None]":
        return _checked(next(self._messages, None), limit)


class InputMessage:
    """All of standard input as one message, below the first message of the command line; the others follow."""

    def __init__(self, messages: tuple[str, ...], descriptor: int, reactor: IClientReactor, *, optional: bool) -> None:
        """`optional`: without input for a while, the messages of the command line are sent alone."""
        self._messages: Iterator[str] = iter(messages)
        self._descriptor = descriptor
        self._reactor = reactor
        self._text: Deferred[str | ConfigurationError] | None = Deferred()
        self._giving_up: IDelayedCall | None = None
        if optional:
            self._giving_up = reactor.callLater(LONG_WAIT, self._give_up, self._text)
        # A daemon thread does not prevent the program from exiting.
        self._thread = threading.Thread(target=self._read, args=(self._text,), daemon=True)
        if not os.isatty(descriptor):  # it would take the answers to our questions
            self._thread.start()

    def next(self, limit: int) -> "Deferred[str | None]":
        if self._text is None:
            return _checked(next(self._messages, None), limit)
        text, self._text = self._text, None
        if self._thread.ident is None:
            self._thread.start()
        first = next(self._messages, None)
        return text.addCallback(lambda below: _checked(_joined(first, below), limit))

    def _read(self, text: "Deferred[str | ConfigurationError]") -> None:
        result: str | ConfigurationError
        data = b""
        try:
            while len(data) <= MAX_MESSAGE and (more := read_some(self._descriptor, READ_SIZE)):
                data += more
                self._reactor.callFromThread(self._some_came)
            result = data.decode().removeprefix(_BOM).rstrip() if len(data) <= MAX_MESSAGE else _too_long(MAX_MESSAGE)
        except ConfigurationError as error:
            result = error
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            result = ConfigurationError(_("line {line}: not valid UTF-8").format(line=line))
        self._reactor.callFromThread(self._read_all, text, result)

    def _read_all(self, text: "Deferred[str | ConfigurationError]", result: str | ConfigurationError) -> None:
        self._some_came()
        if not text.called:
            text.callback(result)

    def _some_came(self) -> None:
        if self._giving_up is not None and self._giving_up.active():
            self._giving_up.cancel()

    def _give_up(self, text: "Deferred[str | ConfigurationError]") -> None:
        note(_("nothing has come on standard input; sending the message without it (use - to wait for it)"))
        text.callback("")


def _joined(first: str | None, below: str | ConfigurationError) -> str | None:
    """The message that is sent; None if there is none."""
    if isinstance(below, ConfigurationError):
        raise below
    return "\n\n".join(text for text in (first, below) if text) or None


def _checked(text: str | None, limit: int) -> "Deferred[str | None]":
    return succeed(text) if text is None or len(text.encode()) <= limit else fail(_too_long(limit))


def _too_long(limit: int) -> ConfigurationError:
    return ConfigurationError(_("message exceeds {size} bytes").format(size=limit))


def is_interactive(options: ClientSettings) -> bool:
    """Whether the user talks at a prompt."""
    return (
        not (options.messages or options.stdin or options.lines or options.json)
        and _is_terminal()
        and sys.stdout.isatty()
    )


def open_source(options: ClientSettings, reactor: IClientReactor) -> Source:
    """The messages of a batch. ConfigurationError if standard input is closed, and needed.

    Without an option that says otherwise, standard input is one message, or lines if it is a terminal. With messages on
    the command line it is read only if it is a file or a pipe, and a pipe only if something comes: servers, editors and
    other programs often start a program with one that they never write to or close.
    """
    if options.messages and not options.stdin and not _is_file_or_pipe():
        return FixedMessages(options.messages)
    if sys.stdin is None:
        raise ConfigurationError(_("standard input is closed"))
    descriptor = sys.stdin.fileno()
    if options.lines or not (options.messages or options.stdin or not _is_terminal()):
        return StdinLines(descriptor, reactor)
    optional = bool(options.messages) and not options.stdin
    return InputMessage(options.messages, descriptor, reactor, optional=optional)


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _is_file_or_pipe() -> bool:
    with suppress(OSError, AttributeError):  # closed, or not a file of the system
        mode = os.fstat(sys.stdin.fileno()).st_mode
        return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)
    return False

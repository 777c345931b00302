"""Questions to the user on the terminal, as ssh asks them: on /dev/tty, whatever standard input and output are.

They block the reactor, so they are asked while no connection is open. Answers are bytes, as they were typed.
"""

import os
import select
import signal
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from securechat.client.output import write_all
from securechat.client.sanitize import sanitize_line
from securechat.client.signals import ENDING_SIGNALS, is_ignored
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.ssh import keys

_TTY: Final = "/dev/tty"
_READ_SIZE: Final = 4096  # bytes, the longest line that a terminal passes on
_LFLAG: Final = 3  # index in the attributes of a terminal


class _Tty:
    """The controlling terminal. `wakeup` is a descriptor that can be read when a signal has been received."""

    def __init__(self, descriptor: int, wakeup: int) -> None:
        self._descriptor = descriptor
        self._wakeup = wakeup
        self._encoding = os.device_encoding(descriptor) or "utf-8"

    def write(self, text: str) -> None:
        write_all(self._descriptor, text.encode(self._encoding, "replace"))

    def write_line(self, text: str) -> None:
        self.write(sanitize_line(text) + "\n")

    def ask(self, question: str) -> bytes:
        """The next line that is typed, with its newline; without one at the end of input."""
        self.write(sanitize_line(question))
        line = b""
        while not line.endswith((b"\n", b"\r")):
            # A signal that comes just before a read would not be handled before the read returns.
            ready, _writable, _errors = select.select([self._descriptor, self._wakeup], [], [])
            if self._wakeup in ready:
                os.read(self._wakeup, _READ_SIZE)
                continue
            data = os.read(self._descriptor, _READ_SIZE)
            if not data:
                break
            line += data
        return line

    def ask_silently(self, question: str) -> bytes:
        """As `ask`, but what is typed is not displayed, and what was typed before is dropped."""
        before = termios.tcgetattr(self._descriptor)
        silent = [*before]
        silent[_LFLAG] &= ~termios.ECHO

        def stop(number: int, _frame: FrameType | None) -> None:
            """Stop, as at Ctrl-Z, with the terminal as it was."""
            termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, before)
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            signal.signal(number, stop)

        def resume(_number: int, _frame: FrameType | None) -> None:
            """The shell has set the terminal in the meantime."""
            termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, silent)
            self.write(sanitize_line(question))

        with _handled({signal.SIGTSTP: stop, signal.SIGCONT: resume}):
            termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, silent)
            try:
                return self.ask(question)
            finally:
                termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, before)
                self.write("\n")  # the one that was not displayed


@contextmanager
def _open_tty() -> Iterator[_Tty]:
    """The controlling terminal; OSError if there is none. The reactor does not receive signals meanwhile."""
    with (
        open(_TTY, "r+b", buffering=0) as tty,
        _signals_readable() as wakeup,
        _handled(dict.fromkeys(ENDING_SIGNALS, _interrupt)),
    ):
        yield _Tty(tty.fileno(), wakeup)


@contextmanager
def _signals_readable() -> Iterator[int]:
    """A descriptor that can be read when a signal has been received."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


@contextmanager
def _handled(handlers: Mapping[int, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    """Handle these signals, except for those that are ignored."""
    previous = {
        number: signal.signal(number, handler) for number, handler in handlers.items() if not is_ignored(number)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def can_ask() -> bool:
    """Whether there is a controlling terminal."""
    try:
        with _open_tty():
            return True
    except OSError:
        return False


def ask_passphrase(path: Path) -> bytes:
    """The passphrase of a key file; ConfigurationError if there is no terminal."""
    try:
        with _open_tty() as tty:
            line = tty.ask_silently(_("Enter passphrase for key '{path}': ").format(path=path))
    except (OSError, termios.error):
        text = _("{path}: no terminal to ask for the passphrase; use --agent")
        raise ConfigurationError(text.format(path=path)) from None
    if not line:
        raise ConfigurationError(_("{path}: no passphrase entered").format(path=path))
    return line.removesuffix(b"\n").removesuffix(b"\r")


def confirm_host_key(name: str, blob: bytes) -> bool:
    """Whether the user accepts this host key, with the same questions as ssh; False if the terminal is gone."""
    fingerprint = keys.fingerprint(blob)
    question = _("Are you sure you want to continue connecting (yes/no/[fingerprint])? ")
    try:
        with _open_tty() as tty:
            tty.write_line(_("The authenticity of host '{name}' can't be established.").format(name=name))
            tty.write_line(_("ED25519 key fingerprint is {fingerprint}.").format(fingerprint=fingerprint))
            while True:
                line = tty.ask(question)
                answer = line.decode(errors="replace").strip()
                if answer.lower() == "yes" or answer.rstrip("=") == fingerprint:
                    return True
                if answer.lower() == "no" or not line:
                    return False
                question = _("Please type 'yes', 'no' or the fingerprint: ")
    except OSError:
        return False

"""Questions to the user on the terminal. They block the reactor, so they are asked while no connection is open."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getpass
from pathlib import Path

from securechat.client.sanitize import sanitize_line
from securechat.client.stderr import note
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.ssh import keys


def can_ask() -> bool:
    """Whether standard input and standard error are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn Ctrl-C into KeyboardInterrupt, because the reactor's signal handler does not run meanwhile."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def ask_passphrase(path: Path) -> bytes:
    """The passphrase of a key file; ConfigurationError if there is no terminal."""
    if not can_ask():
        raise ConfigurationError(_("{path}: no terminal to ask for the passphrase; use --agent").format(path=path))
    try:
        with _interruptible():
            question = _("Enter passphrase for key '{path}': ").format(path=path)
            return getpass(sanitize_line(question), sys.stderr).encode()
    except EOFError:
        raise ConfigurationError(_("{path}: no passphrase entered").format(path=path)) from None


def confirm_host_key(name: str, blob: bytes) -> bool:
    """Whether the user accepts this host key, with the same questions as ssh."""
    fingerprint = keys.fingerprint(blob)
    note(_("The authenticity of host '{name}' can't be established.").format(name=name))
    note(_("ED25519 key fingerprint is {fingerprint}.").format(fingerprint=fingerprint))
    question = _("Are you sure you want to continue connecting (yes/no/[fingerprint])? ")
    with _interruptible():
        while True:
            print(question, end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            answer = line.strip()
            if answer.lower() == "yes" or answer.rstrip("=") == fingerprint:
                return True
            if answer.lower() == "no" or not line:
                return False
            question = _("Please type 'yes', 'no' or the fingerprint: ")

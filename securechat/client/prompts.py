"""What only the user can say, asked on the terminal while no connection is open: nothing waits for the answer."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getpass
from pathlib import Path

from securechat.client.stderr import note
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.ssh import keys


def can_ask() -> bool:
    """Whether somebody sits there to read a question and to answer it."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C be a KeyboardInterrupt: the reactor, which otherwise hears of it, does not run meanwhile."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def ask_passphrase(path: Path) -> bytes:
    """The passphrase of a key file; ConfigurationError if nobody can be asked."""
    if not can_ask():
        raise ConfigurationError(
            _("{path}: the key has a passphrase, and there is no terminal to ask for it; use --agent").format(path=path)
        )
    try:
        with _interruptible():
            return getpass(_("Passphrase of {path}: ").format(path=path), sys.stderr).encode()
    except EOFError:
        raise ConfigurationError(_("{path}: no passphrase was given").format(path=path)) from None


def ask_whether_right(name: str, blob: bytes) -> bool:
    """Whether the user knows this key to be the host's, as ssh asks it."""
    fingerprint = keys.fingerprint(blob)
    note(_("Nobody has said yet that {name} is what it claims to be.").format(name=name))
    note(_("Its Ed25519 key has the fingerprint {fingerprint}.").format(fingerprint=fingerprint))
    question = _("Is that right, and do you want to go on (yes/no/[fingerprint])? ")
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

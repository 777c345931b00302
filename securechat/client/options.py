"""The command line."""

import argparse
import gettext
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import platformdirs

from securechat import __version__, i18n
from securechat.client.destination import DEFAULT_HOST, DEFAULT_PORT, Destination, parse_destination
from securechat.client.exit_codes import ExitCode
from securechat.client.stderr import complain
from securechat.i18n import N_, _
from securechat.wire.messages import MAX_MESSAGE
from securechat.wire.suites import DEFAULT_SUITE, SUITES

PROGRAM: Final = "securechat"
_FINGERPRINT: Final = re.compile("(SHA256:[A-Za-z0-9+/]{43})=?")  # 32 bytes in base64, unpadded as ssh-keygen has it

# argparse's own words: it looks them up by gettext's functions, in the domain that `parse` names.
ARGPARSE_TEXTS: Final = (
    N_("usage: "),
    N_("positional arguments"),
    N_("options"),
    N_("show this help message and exit"),
    N_("show program's version number and exit"),
    N_("argument %(argument_name)s: %(message)s"),
    N_("expected one argument"),
    N_("unrecognized arguments: %s"),
    N_("ignored explicit argument %r"),
    N_("ambiguous option: %(option)s could match %(matches)s"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may choose."""

    destination: Destination
    identity: Path | None
    agent: bool
    known_hosts: Path
    host_key: str | None  # the fingerprint that the server has to have
    accept_new: bool
    suite: bytes
    messages: tuple[str, ...]
    verbose: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        complain(_("{problem}; see {program} --help").format(problem=message, program=PROGRAM))
        self.exit(ExitCode.USAGE)


def _destination(text: str) -> Destination:
    try:
        return parse_destination(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            _("{text}: write it as HOST, HOST:PORT or [ADDRESS]:PORT").format(text=text)
        ) from None


def _fingerprint(text: str) -> str:
    match = _FINGERPRINT.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            _("{text}: write it as SHA256:… with 43 characters, as ssh-keygen -l shows it").format(text=text)
        )
    return match[1]


def _suite(text: str) -> bytes:
    name = text.encode(errors="replace")
    if name not in SUITES:
        raise argparse.ArgumentTypeError(
            _("unknown suite {name}; there are {suites}").format(name=text, suites=", ".join(map(bytes.decode, SUITES)))
        )
    return name


def _message(text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(_("the message is not text in UTF-8")) from None
    if size > MAX_MESSAGE:
        raise argparse.ArgumentTypeError(
            _("the message has {size} bytes; at most {limit} can be said at once").format(size=size, limit=MAX_MESSAGE)
        )
    return text


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description=_("Talk to a chat robot over an encrypted channel that hides size and pace."),
        epilog=_(
            "Without -m, in a terminal, you are asked what to say; otherwise each line of standard input is said. "
            "Exit status: 0 all was answered, 2 wrong usage, 3 not connected, 4 not authenticated, "
            "5 an answer failed or was cut, 130 interrupted."
        ),
    )
    add = parser.add_argument
    add(
        "destination",
        metavar="HOST[:PORT]",
        nargs="?",
        type=_destination,
        default=Destination(DEFAULT_HOST, DEFAULT_PORT),
        help=_("the server [default: {host}:{port}]").format(host=DEFAULT_HOST, port=DEFAULT_PORT),
    )
    add(
        *("-i", "--identity"),
        metavar=_("FILE"),
        type=Path,
        help=_("your Ed25519 private key; with --agent, the public key of the one to use"),
    )
    add("--agent", action="store_true", help=_("let ssh-agent prove who you are"))
    add(
        "--known-hosts",
        metavar=_("FILE"),
        type=Path,
        default=platformdirs.user_data_path(PROGRAM) / "known_hosts",
        help=_("the servers' keys, in OpenSSH's format [default: %(default)s]"),
    )
    add(
        "--host-key",
        metavar="SHA256:…",
        type=_fingerprint,
        help=_("talk only to a server whose key has this fingerprint"),
    )
    add("--accept-new", action="store_true", help=_("trust a server that is not known yet, and remember its key"))
    add(
        "--suite",
        metavar=_("NAME"),
        type=_suite,
        default=DEFAULT_SUITE,
        help=_("of {suites} [default: {default}]").format(
            suites=", ".join(map(bytes.decode, SUITES)), default=DEFAULT_SUITE.decode()
        ),
    )
    add(
        *("-m", "--message"),
        metavar=_("TEXT"),
        dest="messages",
        action="append",
        type=_message,
        help=_("say this, print the reply and leave; may be given again"),
    )
    add("-v", "--verbose", action="store_true", help=_("say more of what happens"))
    add("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


def parse(arguments: Sequence[str]) -> Options:
    """What the command line says; SystemExit, after a line that says why, if it cannot be understood."""
    gettext.bindtextdomain(PROGRAM, str(Path(i18n.__file__).parent / "locale"))
    gettext.textdomain(PROGRAM)
    found = _parser().parse_args(arguments)
    return Options(**{**vars(found), "messages": tuple(found.messages or ())})

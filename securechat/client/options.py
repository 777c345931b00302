"""The command line of the client."""

import argparse
import gettext
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from securechat import __version__, i18n
from securechat.client.exit_codes import ExitCode
from securechat.client.settings import ClientSettings, check_together
from securechat.client.stderr import complain
from securechat.errors import ConfigurationError
from securechat.i18n import N_, _
from securechat.settings import Option, options_of
from securechat.wrap import wrap

PROGRAM: Final = "securechat"

# The texts of argparse itself, which looks them up with gettext's functions in the domain that `parse` sets.
ARGPARSE_TEXTS: Final = (
    N_("usage: "),
    N_("positional arguments"),
    N_("options"),
    N_("%(heading)s:"),
    N_("show this help message and exit"),
    N_("show program's version number and exit"),
    N_("argument %(argument_name)s: %(message)s"),
    N_("expected one argument"),
    N_("unrecognized arguments: %s"),
    N_("ignored explicit argument %r"),
    N_("ambiguous option: %(option)s could match %(matches)s"),
)


class _HelpFormatter(argparse.HelpFormatter):
    """Breaks lines by their columns."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(text, width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in wrap(text, width - len(indent)))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        complain(_("{problem}; see {program} --help").format(problem=message, program=PROGRAM))
        self.exit(ExitCode.USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description=_("Talk to a chat robot over an encrypted channel that hides the size and timing of replies."),
        epilog=_(
            "Without -m and --serve, securechat prompts for messages if it runs in a terminal, and otherwise sends "
            "each line of standard input. Exit status: 0 all messages were answered, or --serve was ended by a signal, "
            "2 usage or configuration error, 3 connection failed, 4 authentication failed, 5 a reply failed or is "
            "incomplete, 6 the server offers no API, 130 interrupted."
        ),
        formatter_class=_HelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is left to ClientSettings
    )
    for option in options_of(ClientSettings):
        _add(parser, option)
    parser.add_argument(
        "--version",
        action="version",
        version=f"{PROGRAM} {__version__}",
        help=_("show program's version number and exit"),  # Python 3.11 does not translate its own
    )
    return parser


def _add(parser: argparse.ArgumentParser, option: Option) -> None:
    form: dict[str, Any] = {"help": (option.description if option.is_flag else option.help).replace("%", "%%")}
    if option.extra.metavar:
        form["metavar"] = _(option.extra.metavar)
    if option.extra.positional:
        parser.add_argument(option.attribute, nargs="?", **form)
        return
    if option.is_flag:
        form["action"] = "store_true"
    elif option.is_repeatable:
        form["action"] = "append"
    names = [f"-{option.extra.letter}"] if option.extra.letter else []
    parser.add_argument(*names, f"--{option.name}", dest=option.attribute, **form)


def _read(option: Option, given: Any) -> Any:
    if option.is_flag:
        return given
    form = "{value}" if option.extra.positional else "--{name} {value}"
    values = [
        option.read("--" if text == [] else text, form)  # older versions of argparse read --option=-- so
        for text in (given if option.is_repeatable else [given])
    ]
    return tuple(values) if option.is_repeatable else values[0]


def parse(arguments: Sequence[str]) -> ClientSettings:
    """The settings that a command line gives; SystemExit, after a line with the reason, if it is wrong."""
    gettext.bindtextdomain(PROGRAM, str(Path(i18n.__file__).parent / "locale"))
    gettext.textdomain(PROGRAM)
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    try:
        values = {
            option.attribute: _read(option, given[option.attribute])
            for option in options_of(ClientSettings)
            if option.attribute in given
        }
        settings = ClientSettings(**values)
        check_together(settings, given)
        return settings
    except ConfigurationError as error:
        parser.error(str(error))

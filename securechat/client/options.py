"""The command line of the client."""

import argparse
import gettext
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from securechat import __version__, i18n
from securechat.client.config import Config, load
from securechat.client.exit_codes import EXIT_STATUSES, ExitCode
from securechat.client.settings import ClientSettings, check_together
from securechat.client.stderr import complain
from securechat.errors import ConfigurationError
from securechat.i18n import N_, _
from securechat.settings import Option, options_of
from securechat.wrap import wrap

PROGRAM: Final = "securechat"
DESCRIPTION: Final = N_("Talk to a chat robot over an encrypted channel that hides the size and timing of replies.")
USE: Final = N_(
    "Without -m and --serve, securechat prompts for messages if it runs in a terminal, and otherwise sends standard "
    "input as one message. With -m, a file or a pipe on standard input is sent below the message; in a loop that reads "
    "standard input itself, use < /dev/null."
)

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
        description=_(DESCRIPTION),
        epilog=_("{use} Exit status: {statuses}.").format(
            use=_(USE), statuses=_(", ").join(f"{int(code)} {_(text)}" for code, text in EXIT_STATUSES)
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
    if option.is_flag and not option.extra.command_line_only:
        # Overrides the configuration file
        opposite = f"--{_opposite(option.name)}"
        parser.add_argument(opposite, dest=option.attribute, action="store_false", help=argparse.SUPPRESS)
    names = [f"-{option.extra.letter}"] if option.extra.letter is not None else []
    parser.add_argument(*names, f"--{option.name}", dest=option.attribute, **form)


def _opposite(flag: str) -> str:
    return flag.removeprefix("no-") if flag.startswith("no-") else f"no-{flag}"


def _read(option: Option, given: Any) -> Any:
    if option.is_flag:
        return given
    form = "{value}" if option.extra.positional else "--{name} {value}"
    values = [
        option.read("--" if text == [] else text, form)  # older versions of argparse read --option=-- so
        for text in (given if option.is_repeatable else [given])
    ]
    return tuple(values) if option.is_repeatable else values[0]


def _configured(path: Path | None) -> Config:
    """The configuration file; SystemExit, after a line with the reason, if it is wrong."""
    try:
        return load(path)
    except ConfigurationError as error:
        complain(str(error))
        raise SystemExit(ExitCode.USAGE) from None


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
            if option.attribute in given and not option.extra.positional
        }
        configured = _configured(values.get("config"))
        settings = ClientSettings(**{**configured.settings(given.get("destination")), **values})
        check_together(settings, given)
        return settings
    except ConfigurationError as error:
        parser.error(str(error))

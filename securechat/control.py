"""The program ``securechat-ctl``, also run as ``python -m securechat.control``: the control socket's client.

It knows the commands by name only. Tables are made from what the daemon answers, so that new columns need no change.
"""

import argparse
import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

from securechat import __version__
from securechat.client.sanitize import sanitize_line
from securechat.i18n import N_, _

TIMEOUT: Final = 60.0  # seconds without a byte from the daemon

OK: Final = 0
FAILED: Final = 1  # the daemon could not be reached, or refused the command
USAGE: Final = 2


class _Command(NamedTuple):
    help: str
    numbers: tuple[str, ...] = ()  # arguments that are positive whole numbers
    texts: tuple[str, ...] = ()  # other arguments
    dates: tuple[tuple[str, str], ...] = ()  # options that are dates, with their help
    has_rows: bool = True  # otherwise, the answer says only that it was done
    details: str = ""  # below the help


COMMANDS: Final = {
    "sessions": _Command(N_("list the sessions")),
    "kick": _Command(N_("end a session"), numbers=("session",), has_rows=False),
    "kick-user": _Command(
        N_("end all sessions of a user, also those at daemons that share the ledger"), texts=("user",), has_rows=False
    ),
    "users": _Command(N_("list the authorized users")),
    "usage": _Command(
        N_("show what users have used, by day (UTC)"),
        dates=(("since", N_("the first day, as YYYY-MM-DD (default: today)")),),
    ),
    "reload": _Command(N_("reload the configuration and the keys, as SIGHUP does"), has_rows=False),
    "reload-all": _Command(
        N_("reload the configuration and the keys of all daemons that share the ledger"), has_rows=False
    ),
    "drain": _Command(
        N_("stop the daemon when the replies in progress have ended, as SIGTERM does"),
        has_rows=False,
        details=N_(
            "The daemon closes its listening sockets at once, ends idle sessions, and finishes replies in progress, "
            "for at most --drain seconds. This command does not wait for that. Repeating it has no effect; a SIGTERM "
            "after it closes all connections at once."
        ),
    ),
    "stats": _Command(N_("show what the daemon has counted since it was started")),
}


class ControlError(Exception):
    """The command failed; the message is for the user."""


def default_socket() -> Path:
    """The socket's usual path: systemd's runtime directory for the service, or the user's own."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() != 0 else None
    return Path(runtime or "/run", "securechat", "control")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; SystemExit if it is not valid."""
    parser = argparse.ArgumentParser(
        "securechat-ctl", description=_("Look after a securechat daemon that runs with --control."), allow_abbrev=False
    )
    parser.add_argument(
        "-s",
        "--socket",
        metavar=_("FILE"),
        type=Path,
        default=default_socket(),
        help=_("the daemon's control socket (default: {path})").format(path=default_socket()),
    )
    parser.add_argument("--json", action="store_true", help=_("print a JSON object per line instead of a table"))
    parser.add_argument("--version", action="version", version=f"securechat {__version__}")
    commands = parser.add_subparsers(dest="command", metavar=_("COMMAND"), required=True)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name, help=_(command.help), description=_(command.help), epilog=_(command.details), allow_abbrev=False
        )
        subparser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        for number in command.numbers:
            subparser.add_argument(number, type=int, metavar=number.upper())
        for text in command.texts:
            subparser.add_argument(text, metavar=text.upper())
        for option, help_text in command.dates:
            subparser.add_argument(f"--{option}", type=_date, metavar=_("DATE"), help=_(help_text))
    return parser.parse_args(arguments)


def _date(text: str) -> str:
    """A date as it is sent."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(_("expected a date, as YYYY-MM-DD")) from None


def ask(path: Path, request: dict[str, object]) -> Iterator[dict[str, Any]]:
    """Send a request; the rows of the answer. ControlError if there is no answer, or an error."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise TypeError
                    if "result" not in row:
                        yield row
                    elif row["result"] == "ok":
                        return
                    else:
                        raise ControlError(row["error"])
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError):
        raise ControlError(_("{path}: not the control socket of a daemon").format(path=path)) from None
    raise ControlError(_("{path}: the daemon closed the connection").format(path=path))


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The lines of a table with a column for each key."""
    if not rows:
        return
    cells = [list(rows[0]), *(map(_cell, row.values()) for row in rows)]
    lines = [[sanitize_line(cell) for cell in line] for line in cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value != "" else "-"


def properties(row: dict[str, Any]) -> Iterator[str]:
    """A line for each key of a row."""
    return table([{"name": name, "value": value} for name, value in row.items()])


def run(options: argparse.Namespace) -> Iterator[str]:
    """Carry out the command; the lines to print."""
    command = COMMANDS[options.command]
    arguments = {
        name: getattr(options, name)
        for name in (*command.numbers, *command.texts, *(name for name, _help in command.dates))
    }
    given = {name: value for name, value in arguments.items() if value is not None}
    rows = ask(options.socket, {"command": options.command, **given})
    if options.json:
        for row in rows:
            yield json.dumps(row)
    elif options.command == "stats":
        for row in rows:
            yield from properties(row)
    else:
        shown: list[dict[str, Any]] = []
        try:
            shown.extend(rows)
        finally:  # an error may follow rows
            if command.has_rows:
                yield from table(shown)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        for line in run(options):
            print(line)
        sys.stdout.flush()
    except ControlError as error:
        problem = _("securechat-ctl: {problem}").format(problem=error)
        print(sanitize_line(problem), file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # as with: securechat-ctl sessions | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what Python flushes when it ends
        return FAILED
    return OK


if __name__ == "__main__":
    sys.exit(main())

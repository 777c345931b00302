"""``twistd securechat``: its command line, and how the parts of the daemon are assembled."""

import os
import pwd
import re
import sys
from collections.abc import Callable
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, cast

from twisted.application.service import IService
from twisted.python import usage

from securechat import __version__
from securechat.clock import MonotonicReactor
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.robots.registry import help_text, make_robots
from securechat.server.hardening import PRIVATE, forbid_dumps, refuse_root
from securechat.server.ledger.sqlite import SqliteLedger
from securechat.server.log_file import LogFile
from securechat.server.log_format import json_of, line_of
from securechat.server.message_memory import SHARES
from securechat.server.protocol import ChatServerFactory
from securechat.server.service import ChatService, IServerReactor, StartError
from securechat.server.settings import LogFormat, ServerSettings
from securechat.server.stale_files import remove_stale_pid_file
from securechat.server.startup import is_unix
from securechat.server.users import Anyone, AuthorizedUsers
from securechat.settings import Option, options_of
from securechat.ssh.private_keys import load_or_create_host_key
from securechat.wire.handshake import ServerIdentity
from securechat.wire.suites import SUITES
from securechat.wrap import wrap

DEFAULT_ROBOT: Final = "eliza"
HOST_KEY_NAME: Final = "ssh_host_ed25519_key"
LEDGER_NAME: Final = "usage.sqlite"
LINES: Final = {LogFormat.TEXT: line_of, LogFormat.JSON: json_of}

_UNWRAPPED: Final = 10_000  # columns: more than any paragraph of the help
_BEFORE_HELP: Final = re.compile(r"\s+(-\w, )?--\S+\s+")  # an option, up to its help text

_OPTIONS: Final = {option.name: option for option in options_of(ServerSettings)}


def _read(option: Option, text: str) -> Any:
    try:
        return option.read(text)
    except ConfigurationError as error:
        raise usage.UsageError(str(error)) from None


def _repeatable(option: Option) -> "Callable[[Options, str], None]":
    """A method of `Options` that appends a value, or sets a comma-separated list of values."""

    def opt(self: "Options", text: str) -> None:
        if option.extra.commas:
            self[option.name] = tuple(_read(option, part) for part in text.split(","))
        else:
            self[option.name] = (*self.get(option.name, ()), _read(option, text))

    opt.__doc__ = option.help
    return opt


class Options(usage.Options):
    """The command line. After parsing, `settings` holds what was given, and `robots` the robots with their options."""

    synopsis = "[options]"
    longdesc = _(
        "Put a chat robot on the network, behind an encrypted channel that hides the size and timing of replies."
    )

    # No defaults here: what is not given is left to ServerSettings.
    optParameters = [  # noqa: RUF012 - usage.Options is made so
        [option.name, None, None, option.help, partial(_read, option)]
        for option in _OPTIONS.values()
        if not option.is_flag and not option.is_repeatable
    ]
    optFlags = [  # noqa: RUF012
        [option.name, None, option.description] for option in _OPTIONS.values() if option.is_flag
    ]
    opt_listen = _repeatable(_OPTIONS["listen"])
    opt_name = _repeatable(_OPTIONS["name"])
    opt_suites = _repeatable(_OPTIONS["suites"])
    opt_proxy_from = _repeatable(_OPTIONS["proxy-from"])

    settings: ServerSettings  # from `postOptions` on
    log_file: LogFile | None = None  # unless the operator chose an observer of Twisted's

    def __init__(self) -> None:
        super().__init__()
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a locale may lack characters of the help, the errors and the log
        self.robots: list[tuple[str, list[str]]] = []  # (name, ["option=value", …])

    def opt_robot(self, name: str) -> None:
        self.robots.append((name, []))

    opt_robot.__doc__ = _(
        "Robot to use; can be repeated: each further robot answers if the one before it fails; "
        "see --help-robots (default: {robot})"
    ).format(robot=DEFAULT_ROBOT)

    def opt_robot_option(self, option: str) -> None:
        if not self.robots:
            self.opt_robot(DEFAULT_ROBOT)
        self.robots[-1][1].append(option)

    opt_robot_option.__doc__ = _("Option of the robot before it, as NAME=VALUE; can be repeated")
    opt_R = opt_robot_option

    def opt_help_robots(self) -> None:
        print(help_text())
        sys.exit(0)

    opt_help_robots.__doc__ = _("List the robots and their options, and exit.")

    def opt_version(self) -> None:
        print(f"securechat {__version__}")
        sys.exit(0)

    opt_version.__doc__ = _("Display the version, and exit.")

    def opt_help(self) -> None:
        super().opt_help()

    opt_help.__doc__ = _("Display this help, and exit.")

    def getUsage(self, width: int | None = None) -> str:
        """The help text, as Twisted makes it, but with lines broken by their columns."""
        width = width or int(os.environ.get("COLUMNS", "80"))
        lines = []
        for line in super().getUsage(_UNWRAPPED).splitlines():
            option = _BEFORE_HELP.match(line)
            indent = option.end() if option else 0
            first, *further = wrap(line[indent:], width - indent)
            lines += [line[:indent] + first, *(" " * indent + text for text in further)]
        return "\n".join(lines) + "\n"

    def postOptions(self) -> None:
        given: dict[str, Any] = {
            option.attribute: True if option.is_flag else self[name]
            for name, option in _OPTIONS.items()
            if self.get(name) is not None and (self[name] or not option.is_flag)
        }
        try:
            self.settings = ServerSettings(**given)
        except ConfigurationError as error:  # a default cannot be determined
            raise usage.UsageError(str(error)) from None
        self.robots = self.robots or [(DEFAULT_ROBOT, [])]
        if not self.settings.names and any(map(is_unix, self.settings.listen)):
            raise usage.UsageError(_("a UNIX socket has no host name: use --name [HOST]:PORT"))
        share = self.settings.max_buffered // SHARES
        if self.settings.message_limit > share:
            raise usage.UsageError(
                _("--max-message {size}: expected at most an eighth of --max-buffered, {share}").format(
                    size=self.settings.message_limit, share=share
                )
            )
        if self.parent is not None:
            self.log_file = _make_log_file(self.parent, self.settings.log_format)
            _check_user(self.parent)
            _prepare_pid_file(self.parent)


def _make_log_file(twistd: usage.Options, log_format: LogFormat) -> LogFile | None:
    """The log, where twistd's options say; None if they choose another observer."""
    if twistd.get("logger") or twistd.get("syslog"):
        if log_format is not LogFormat.TEXT:
            text = _("--log-format {value} cannot be used with twistd's --logger and --syslog")
            raise usage.UsageError(text.format(value=log_format.value))
        return None
    in_foreground = twistd.get("nodaemon") or twistd.get("debug")
    name = twistd.get("logfile") or ("-" if in_foreground else "twistd.log")
    if name == "-" and not in_foreground:
        raise usage.UsageError(_("--logfile -: a daemon has no standard output; use twistd -n"))
    return LogFile(None if name == "-" else Path(name).absolute(), LINES[log_format])


def _check_user(twistd: usage.Options) -> None:
    """UsageError if twistd's option --uid has a number without a user, whose groups twistd could not look up."""
    uid = twistd.get("uid")
    try:
        if uid is not None:
            pwd.getpwuid(uid)
    except KeyError:
        raise usage.UsageError(_("--uid {uid}: no such user").format(uid=uid)) from None


def _prepare_pid_file(twistd: usage.Options) -> None:
    """Remove a PID file that keeps twistd from starting; do without one in the foreground if it cannot be written."""
    if not twistd.get("pidfile"):
        return
    path = Path(twistd["pidfile"])
    remove_stale_pid_file(path)
    if twistd["nodaemon"] and not os.access(path if path.exists() else path.parent, os.W_OK):
        twistd["pidfile"] = ""


def makeService(options: Options) -> IService:
    """The daemon's service. StartError if a file, a robot or an endpoint cannot be used."""
    from twisted.internet import reactor as installed

    os.umask(PRIVATE)  # its option --umask still takes precedence
    forbid_dumps()
    reactor: IServerReactor = cast(IServerReactor, MonotonicReactor(installed))
    settings = options.settings
    try:
        if options.parent is not None:
            refuse_root(settings, options.parent.get("uid"))
        if options.log_file is not None:
            options.log_file.open()
        host_key = load_or_create_host_key(settings.host_key or settings.state_dir / HOST_KEY_NAME)
        users = AuthorizedUsers(settings.authorized_keys) if settings.authorized_keys is not None else Anyone()
        suites = {name: SUITES[name] for name in settings.suites}
        identity = ServerIdentity(host_key, suites, users.client_auth, users.is_authorized)
        robot = make_robots(reactor, options.robots, os.environ)
        factory = ChatServerFactory(settings, identity, users, robot, reactor)
        ledger = SqliteLedger(settings.state_dir / LEDGER_NAME, reactor, settings.usage_days)
        return ChatService(factory, settings.listen, reactor, options.log_file, ledger)
    except (ConfigurationError, usage.UsageError) as error:
        raise StartError(_("securechat: {problem}").format(problem=error)) from None

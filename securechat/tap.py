"""``twistd securechat``: its command line, and how the parts of the daemon are assembled."""

import os
import pwd
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from msgspec.structs import replace
from twisted.application.service import IService
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python import usage

from securechat import __version__
from securechat.clock import MonotonicReactor
from securechat.config_file import ConfigFile, Table
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.robots.registry import help_text, make_robots, robots_in
from securechat.server.hardening import PRIVATE, forbid_dumps, refuse_root
from securechat.server.keys_command import IProgramReactor, KeysCommand
from securechat.server.ledger.sqlite import SqliteLedger
from securechat.server.log_file import LogFile
from securechat.server.log_format import json_of, line_of
from securechat.server.protocol import ChatServerFactory
from securechat.server.service import ChatService, Configuration, IServerReactor, StartError
from securechat.server.settings import CommandLineSettings, LogFormat, ServerSettings
from securechat.server.stale_files import remove_stale_pid_file
from securechat.server.startup import check_public, find_contradiction, make_listener
from securechat.server.users import Anyone, AuthorizedUsers, CommandUsers, UnlessRevoked, Users
from securechat.settings import Option, options_of
from securechat.ssh.private_keys import load_or_create_host_key, load_private_key
from securechat.wire.handshake import ServerIdentity
from securechat.wrap import wrap

log = Logger()

DEFAULT_ROBOT: Final = "eliza"
HOST_KEY_NAME: Final = "ssh_host_ed25519_key"
LEDGER_NAME: Final = "usage.sqlite"
LINES: Final = {LogFormat.TEXT: line_of, LogFormat.JSON: json_of}

_UNWRAPPED: Final = 10_000  # columns: more than any paragraph of the help
_BEFORE_HELP: Final = re.compile(r"\s+(-\w, )?--\S+\s+")  # an option, up to its help text

_OPTIONS: Final = {option.name: option for option in options_of(ServerSettings)}
_NAMES: Final = {option.attribute: option.name for option in _OPTIONS.values()}
_ALL: Final = (*options_of(CommandLineSettings), *_OPTIONS.values())


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
        for option in _ALL
        if not option.is_flag and not option.is_repeatable
    ]
    optFlags = [  # noqa: RUF012
        [option.name, None, option.description] for option in _ALL if option.is_flag
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
        self.robots: list[tuple[str, Sequence[str] | Table]] = []  # each with its options
        self._options: list[str] = []  # of the last robot, each ``name=value``

    def opt_robot(self, name: str) -> None:
        self._options = []
        self.robots.append((name, self._options))

    opt_robot.__doc__ = _(
        "Robot to use; can be repeated: each further robot answers if the one before it fails; "
        "see --help-robots (default: {robot})"
    ).format(robot=DEFAULT_ROBOT)

    def opt_robot_option(self, option: str) -> None:
        if not self.robots:
            self.opt_robot(DEFAULT_ROBOT)
        self._options.append(option)

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
        self._given: dict[str, Any] = {
            option.attribute: True if option.is_flag else self[name]
            for name, option in _OPTIONS.items()
            if self.get(name) is not None and (self[name] or not option.is_flag)
        }
        self._given_robots = self.robots
        if self["check-config"]:
            check(self)
        try:
            self.settings, self.robots = self.read()
        except ConfigurationError as error:
            raise usage.UsageError(str(error)) from None
        if self.parent is not None:
            self.log_file = _make_log_file(self.parent, self.settings.log_format)
            _check_user(self.parent)
            _prepare_pid_file(self.parent)

    def read(
        self, running: ServerSettings | None = None
    ) -> tuple[ServerSettings, list[tuple[str, Sequence[str] | Table]]]:
        """The settings and the robots: those of the command line, then of the file, then the defaults.

        ConfigurationError if a setting is wrong, or contradicts another one. Settings that a `running` daemon cannot
        change keep the values that it has.
        """
        file = ConfigFile.load(self["config"]) if self["config"] is not None else None
        in_file = file.root.read(ServerSettings, "robot") if file is not None else {}
        settings = ServerSettings(**{**in_file, **self._given})
        robots = self._given_robots or (robots_in(file) if file is not None else [])
        if running is not None:
            settings = _keep(settings, running)
        contradiction = find_contradiction(settings)
        if contradiction is not None:
            attribute, problem = contradiction
            if file is not None and attribute in in_file and attribute not in self._given:
                raise file.error((_NAMES[attribute],), problem)
            raise ConfigurationError(_("--{option}: {problem}").format(option=_NAMES[attribute], problem=problem))
        return settings, robots or [(DEFAULT_ROBOT, [])]


def _keep(settings: ServerSettings, running: ServerSettings) -> ServerSettings:
    """The settings with the values of `running` where they take effect at the start only; a log line names these."""
    kept = {}
    for option in _OPTIONS.values():
        value = getattr(running, option.attribute)
        if option.extra.at_start and getattr(settings, option.attribute) != value:
            log.warn("{option} takes effect when the daemon is started again", option=option.name)
            kept[option.attribute] = value
    return replace(settings, **kept)


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


def _make_users(settings: ServerSettings, reactor: IProgramReactor) -> Users:
    """The users that the settings admit; ConfigurationError if a file or the command cannot be used."""
    if not settings.has_users:
        return Anyone()
    file = AuthorizedUsers(settings.authorized_keys) if settings.authorized_keys is not None else None
    if settings.authorized_keys_command is not None:
        command = KeysCommand(settings.authorized_keys_command, reactor)
        users: AuthorizedUsers | CommandUsers = CommandUsers(command, file)
    else:
        assert file is not None
        users = file
    return users if settings.revoked_keys is None else UnlessRevoked(users, settings.revoked_keys)


def check(options: Options) -> NoReturn:
    """Check what the daemon would read when it starts, and exit: with 0 and OK, or with 2 and the problem."""
    from twisted.internet import reactor as installed

    reactor = cast(IServerReactor, installed)
    try:
        settings, robots = options.read()
        _make_users(settings, reactor)
        make_robots(reactor, robots, os.environ)
        host_key = settings.host_key or settings.state_dir / HOST_KEY_NAME
        if host_key.exists():
            load_private_key(host_key)
        for endpoint in settings.listen:
            make_listener(endpoint, Factory(), reactor)
            check_public(endpoint, settings)
    except (ConfigurationError, usage.UsageError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print("OK")
    sys.exit(0)


def _configure(options: Options, factory: ChatServerFactory, reactor: IServerReactor) -> Configuration:
    """Read the configuration file again; ConfigurationError or UsageError if anything cannot be used."""
    settings, robots = options.read(factory.settings)
    for endpoint in settings.listen:
        check_public(endpoint, settings)
    return Configuration(settings, _make_users(settings, reactor), make_robots(reactor, robots, os.environ))


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
        users = _make_users(settings, reactor)
        identity = ServerIdentity(host_key, settings.allowed_suites, users.client_auth, users.is_authorized)
        robot = make_robots(reactor, options.robots, os.environ)
        factory = ChatServerFactory(settings, identity, users, robot, reactor)
        configure = partial(_configure, options, factory, reactor) if options["config"] is not None else None
        ledger = SqliteLedger(settings.state_dir / LEDGER_NAME, reactor, settings.usage_days)
        return ChatService(factory, settings.listen, reactor, options.log_file, configure, ledger)
    except (ConfigurationError, usage.UsageError) as error:
        raise StartError(_("securechat: {problem}").format(problem=error)) from None

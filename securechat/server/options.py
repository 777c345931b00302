"""The command line of ``twistd securechat``, and the configuration file that it names."""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import TextIOWrapper
from typing import Any, Final, NamedTuple, NoReturn, cast

from msgspec.structs import replace
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python import usage

from securechat import __version__
from securechat.config_file import ConfigFile, Table
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.robots.registry import help_text, make_robots, robots_in
from securechat.server.ledger.opening import open_ledger
from securechat.server.limits import UserLimits, limits_in
from securechat.server.log_file import LogFile
from securechat.server.service import IServerReactor
from securechat.server.settings import CommandLineSettings, ServerSettings
from securechat.server.startup import check_public, find_contradiction, make_listener
from securechat.server.twistd_options import check_user, make_log_file, prepare_pid_file
from securechat.server.users import make_users
from securechat.settings import Option, options_of
from securechat.ssh.private_keys import load_private_key
from securechat.wrap import wrap

log = Logger()

DEFAULT_ROBOT: Final = "eliza"

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


class Chosen(NamedTuple):
    """What the command line and the configuration file say."""

    settings: ServerSettings
    robots: list[tuple[str, Sequence[str] | Table]]  # each with its options
    user_limits: Mapping[str, UserLimits]  # of users with limits of their own, by name


class Options(usage.Options):
    """The command line. After parsing, `settings`, `robots` and `user_limits` hold what `read` has found."""

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
    user_limits: Mapping[str, UserLimits]
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
            self.settings, self.robots, self.user_limits = self.read()
        except ConfigurationError as error:
            raise usage.UsageError(str(error)) from None
        if self.parent is not None:
            self.log_file = make_log_file(self.parent, self.settings.log_format)
            check_user(self.parent)
            prepare_pid_file(self.parent)

    def read(self, running: ServerSettings | None = None) -> Chosen:
        """What the command line says, then the file, then the defaults.

        ConfigurationError if a setting is wrong, or contradicts another one. Settings that a `running` daemon cannot
        change keep the values that it has.
        """
        file = ConfigFile.load(self["config"]) if self["config"] is not None else None
        in_file = file.root.read(ServerSettings, "robot", "user") if file is not None else {}
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
        user_limits = limits_in(file, settings) if file is not None else {}
        if file is not None and user_limits and not settings.has_users:
            raise file.error(("user",), _("has no effect without authorized keys"))
        return Chosen(settings, robots or [(DEFAULT_ROBOT, [])], user_limits)


def _keep(settings: ServerSettings, running: ServerSettings) -> ServerSettings:
    """The settings with the values of `running` where they take effect at the start only; a log line names these."""
    kept = {}
    for option in _OPTIONS.values():
        value = getattr(running, option.attribute)
        if option.extra.at_start and getattr(settings, option.attribute) != value:
            log.warn("{option} takes effect when the daemon is started again", option=option.name)
            kept[option.attribute] = value
    return replace(settings, **kept)


def check(options: Options) -> NoReturn:
    """Check what the daemon would read when it starts, and exit: with 0 and OK, or with 2 and the problem."""
    from twisted.internet import reactor as installed

    reactor = cast(IServerReactor, installed)
    try:
        settings, robots, _user_limits = options.read()
        make_users(settings, reactor)
        make_robots(reactor, robots, os.environ)
        open_ledger(settings, reactor)
        if settings.host_key_path.exists():
            load_private_key(settings.host_key_path)
        for endpoint in settings.listen:
            make_listener(endpoint, Factory(), reactor)
            check_public(endpoint, settings)
    except (ConfigurationError, usage.UsageError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print("OK")
    sys.exit(0)

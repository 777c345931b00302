"""The installed robots by name, and how one is made from its options and its key."""

import re
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from twisted.logger import Logger
from twisted.plugin import getPlugins
from twisted.python.reflect import namedAny
from zope.interface.verify import verifyObject

from securechat.config_file import ConfigFile, ConfigFileError, Table
from securechat.errors import ConfigurationError
from securechat.files import read_secret
from securechat.i18n import _
from securechat.robots.circuit_breaker import CircuitBreaker
from securechat.robots.fair_queue import FairQueue
from securechat.robots.fallback import FallbackRobot
from securechat.robots.guard import GuardedRobot, guard
from securechat.robots.interface import IRobot, IRobotMaker
from securechat.settings import Settings, options_of

log = Logger()

TYPE: Final = "type"  # the key, in the table of a robot, with the name of the robot if the table has another name
KEY_VARIABLE: Final = "SECURECHAT_ROBOT_KEY"
OWN_KEY_VARIABLE: Final = "SECURECHAT_{name}_KEY"

_BUILT_IN: Final = {
    "echo": "securechat.robots.echo.ECHO",
    "eliza": "securechat.robots.eliza.robot.ELIZA",
    "openai": "securechat.robots.openai.robot.OPENAI",
    "turing": "securechat.robots.turing.robot.TURING",
}

_OPTION_NAME: Final = re.compile(r"[a-z][a-z_-]{,30}")  # anything else may be a key, and is not shown


class _BuiltIn(Mapping[str, IRobotMaker]):
    """The built-in robots by name, each imported when it is used: HTTP takes a third of the time to start."""

    def __getitem__(self, name: str) -> IRobotMaker:
        return cast(IRobotMaker, namedAny(_BUILT_IN[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(_BUILT_IN)

    def __len__(self) -> int:
        return len(_BUILT_IN)


BUILT_IN: Final[Mapping[str, IRobotMaker]] = _BuiltIn()


def makers() -> dict[str, IRobotMaker]:
    """All installed robots by name. A plugin cannot replace a built-in robot."""
    return {**{maker.name: maker for maker in getPlugins(IRobotMaker) if _is_usable(maker)}, **BUILT_IN}


def _is_usable(maker: IRobotMaker) -> bool:
    """Whether a plugin fulfils the interface; if not, a warning is logged."""
    try:
        verifyObject(IRobotMaker, maker)
        if not issubclass(maker.settings, Settings):
            raise TypeError("settings is not a subclass of Settings")
        options_of(maker.settings)
        if not (isinstance(maker.name, str) and isinstance(maker.summary, str)):
            raise TypeError("name or summary is not a str")
    except Exception as problem:  # the plugin can contain anything
        text = " ".join(str(problem).split())
        log.warn("ignoring robot plugin {plugin}: {problem}", plugin=type(maker).__name__, problem=text)
        return False
    return True


def robots_in(file: ConfigFile) -> list[tuple[str, Sequence[str] | Table]]:
    """The robots of the tables ``[robot.NAME]``, as for `make_robots`, in their order; ConfigurationError."""
    return [(_type_of(table), table) for table in file.tables("robot")]


def _type_of(table: Table) -> str:
    name = table.values.get(TYPE, table.names[-1])
    if not isinstance(name, str):
        raise table.error(_("expected a string"), TYPE)
    return name


def make_robots(
    reactor: object, chosen: Sequence[tuple[str, Sequence[str] | Table]], environ: Mapping[str, str]
) -> IRobot:
    """The chosen robots, each a name with its options, as one: each answers if the one before it fails."""
    alone = len(chosen) == 1
    robots = [make_robot(reactor, name, options, environ, alone=alone) for name, options in chosen]
    return robots[0] if alone else FallbackRobot(robots)


def make_robot(
    reactor: object, name: str, options: Sequence[str] | Table, environ: Mapping[str, str], *, alone: bool = True
) -> IRobot:
    """The robot `name` with its options, each ``option=value`` or all in a table; ConfigurationError if one is wrong.

    Its key comes from the file in the option ``key-file`` or from the environment, because everyone on the machine can
    read command lines. Unless a robot is `alone`, it is only given the key in the variable with its name.
    """
    maker = _find_maker(name, options)
    try:
        settings = _read_settings(maker, options)
        robot = maker.makeRobot(reactor, settings, _find_key(settings, name, environ, alone=alone))
    except ConfigurationError as error:
        raise _located(error, options) from None
    except Exception as error:  # a plugin can raise anything; the text may contain the key
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigurationError(
            _("cannot create robot {robot}: {error} at {place}").format(
                robot=name, error=type(error).__name__, place=f"{place.filename}:{place.lineno}"
            )
        ) from None
    if not IRobot.providedBy(robot):
        raise ConfigurationError(_("cannot create robot {robot}: not an IRobot").format(robot=name))
    at_once: int | None = getattr(settings, "max_concurrent", None)
    if at_once is None or isinstance(robot, GuardedRobot):  # one with several servers is guarded already
        return robot
    return guard(robot, FairQueue(at_once), CircuitBreaker(time.monotonic))


def _find_maker(name: str, options: Sequence[str] | Table) -> IRobotMaker:
    maker = BUILT_IN.get(name)
    if maker is None:  # plugins are imported only for a robot that is not built in
        known = makers()
        maker = known.get(name)
        if maker is None:
            text = _("unknown robot {name}; expected one of {names}")
            error = ConfigurationError(text.format(name=name, names=_(", ").join(sorted(known))))
            raise _located(error, options)
    return maker


def _located(error: ConfigurationError, options: Sequence[str] | Table) -> ConfigurationError:
    """The error with the place of the robot's table, if it has one."""
    return options.error(error) if isinstance(options, Table) and not isinstance(error, ConfigFileError) else error


def _find_key(settings: Settings, name: str, environ: Mapping[str, str], *, alone: bool) -> str | None:
    if not hasattr(settings, "key_file"):
        return None
    return read_secret(Path(settings.key_file)) if settings.key_file is not None else _key_from(environ, name, alone)


def _key_from(environ: Mapping[str, str], name: str, alone: bool) -> str | None:
    """The key in the environment; an empty variable counts as unset."""
    own = OWN_KEY_VARIABLE.format(name=name.upper().replace("-", "_"))
    for variable in (own, KEY_VARIABLE) if alone else (own,):
        key = environ.get(variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigurationError(_("{path}: expected one line of ASCII").format(path=variable))
        if key:
            return key
    return None


def _read_settings(maker: IRobotMaker, texts: Sequence[str] | Table) -> Settings:
    if isinstance(texts, Table):
        return cast(Settings, maker.settings(**texts.read(maker.settings, TYPE)))
    options = {option.name: option for option in options_of(maker.settings)}
    names = _(", ").join(options) or _("none")
    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if name == "key" and "key-file" in options:
            raise ConfigurationError(
                _("other users can read a key on the command line: use -R key-file=FILE or the variable {name}").format(
                    name=KEY_VARIABLE
                )
            )
        if not equals or (name not in options and not _OPTION_NAME.fullmatch(name)):
            raise ConfigurationError(
                _("-R: expected NAME=VALUE; the options of robot {robot} are: {names}").format(
                    robot=maker.name, names=names
                )
            )
        if name not in options:
            raise ConfigurationError(
                _("robot {robot} has no option {name}; its options are: {names}").format(
                    robot=maker.name, name=name, names=names
                )
            )
        option = options[name]
        read = option.read(value, "-R {name}={value}")
        given[option.attribute] = (*given.get(option.attribute, ()), read) if option.is_repeatable else read
    settings: Settings = maker.settings(**given)
    return settings


def help_text() -> str:
    """All robots with their options, for ``--help-robots``."""
    lines = []
    for name, maker in sorted(makers().items()):
        lines.append(_("{robot}: {summary}").format(robot=name, summary=_(maker.summary)))
        lines += [f"    -R {option.name}=…  {option.help}" for option in options_of(maker.settings)]
    return "\n".join(lines)

"""Finding a robot by its name, and its options and its key by theirs."""

import re
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from twisted.logger import Logger
from twisted.plugin import getPlugins
from zope.interface.verify import verifyObject

from securechat.errors import ConfigurationError
from securechat.files import read_secret
from securechat.i18n import _
from securechat.robots.circuit_breaker import CircuitBreaker
from securechat.robots.echo import EchoMaker
from securechat.robots.eliza.robot import ElizaMaker
from securechat.robots.fair_queue import FairQueue
from securechat.robots.fallback import FallbackRobot
from securechat.robots.guard import GuardedRobot
from securechat.robots.interface import IRobot, IRobotMaker, Option
from securechat.robots.openai.robot import OpenAIMaker
from securechat.robots.options import parse_count
from securechat.robots.turing.robot import TuringMaker

log = Logger()

KEY_VARIABLE: Final = "SECURECHAT_ROBOT_KEY"
OWN_KEY_VARIABLE: Final = "SECURECHAT_{name}_KEY"
KEY_FILE: Final = "key-file"
PLACES: Final = "max-concurrent"
MAX_PLACES: Final = 10_000

_BUILT_IN: Final[tuple[IRobotMaker, ...]] = (EchoMaker(), ElizaMaker(), OpenAIMaker(), TuringMaker())
BUILT_IN: Final = {maker.name: maker for maker in _BUILT_IN}

_OPTION_NAME: Final = re.compile(r"[a-z][a-z_-]{,30}")  # what is not shaped like one may be a key, and is not shown


def makers() -> dict[str, IRobotMaker]:
    """All robots that there are, by name; a plugin does not take the place of a built-in one."""
    return {maker.name: maker for maker in getPlugins(IRobotMaker) if _is_usable(maker)} | BUILT_IN


def _is_usable(maker: IRobotMaker) -> bool:
    """Whether it is what the interface says. What is not is logged, and harms no other robot."""
    try:
        verifyObject(IRobotMaker, maker)
        if not all(isinstance(option, Option) for option in maker.options):
            raise TypeError(_("an option that is no Option"))
        if not (isinstance(maker.name, str) and isinstance(maker.summary, str)):
            raise TypeError(_("a name or summary that is no text"))
    except Exception as problem:  # it is anybody's code
        text = " ".join(str(problem).split())
        log.warn(_("the robot plugin {plugin} is passed over: {problem}"), plugin=type(maker).__name__, problem=text)
        return False
    return True


def make_robots(reactor: object, chosen: Sequence[tuple[str, Sequence[str]]], environ: Mapping[str, str]) -> IRobot:
    """The robots of those names with their options, as one; the next answers when the one before cannot."""
    alone = len(chosen) == 1
    robots = [make_robot(reactor, name, options, environ, alone=alone) for name, options in chosen]
    return robots[0] if alone else FallbackRobot(robots)


def make_robot(
    reactor: object, name: str, options: Sequence[str], environ: Mapping[str, str], *, alone: bool = True
) -> IRobot:
    """The robot `name` with its options, each ``option=value``; ConfigurationError if anything does not fit.

    Its key comes from the file that the option ``key-file`` names, else from the environment: an argument can be read
    by everyone on the machine. A robot that is not `alone` is given no key but its own.
    """
    maker = BUILT_IN.get(name)
    if maker is None:  # looking for plugins imports everybody's: only for a robot that did not come with us
        known = makers()
        maker = known.get(name)
        if maker is None:
            raise ConfigurationError(
                _("unknown robot {name}; there are {names}").format(name=name, names=", ".join(sorted(known)))
            )
    values = _parse(maker, options)
    takes_key = any(option.name == KEY_FILE for option in maker.options)
    key_file = values.pop(KEY_FILE, None)
    if key_file is not None:
        key: str | None = read_secret(Path(key_file))
    else:
        key = _key_from(environ, name, alone) if takes_key else None
    at_once = _places(maker, values)
    try:
        robot = maker.makeRobot(reactor, values, key)
    except ConfigurationError:
        raise
    except Exception as error:  # it is anybody's code; the error's text may hold the key
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigurationError(
            _("robot {robot} could not be made: {error} at {place}").format(
                robot=name, error=type(error).__name__, place=f"{place.filename}:{place.lineno}"
            )
        ) from None
    if not IRobot.providedBy(robot):
        raise ConfigurationError(_("robot {robot} could not be made: it is no IRobot").format(robot=name))
    return GuardedRobot(robot, FairQueue(at_once), CircuitBreaker(time.monotonic)) if at_once is not None else robot


def _places(maker: IRobotMaker, values: dict[str, str]) -> int | None:
    """How many questions a robot is asked at once; None if it did not say that it wants a limit."""
    for option in maker.options:
        if option.name == PLACES and option.default is not None:
            return parse_count(PLACES, values.pop(PLACES, option.default), most=MAX_PLACES)
    return None


def _key_from(environ: Mapping[str, str], name: str, alone: bool) -> str | None:
    """The key in the environment; an empty variable is none."""
    own = OWN_KEY_VARIABLE.format(name=name.upper().replace("-", "_"))
    for variable in (own, KEY_VARIABLE) if alone else (own,):
        key = environ.get(variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigurationError(_("{path}: one line of ASCII is wanted").format(path=variable))
        if key:
            return key
    return None


def _parse(maker: IRobotMaker, options: Sequence[str]) -> dict[str, str]:
    takes = [option.name for option in maker.options]
    listed = ", ".join(takes) or _("none")
    values = {}
    for given in options:
        option, equals, value = given.partition("=")
        if option == "key" and KEY_FILE in takes:
            raise ConfigurationError(
                _(
                    "a key on the command line can be read by others: use -R key-file=FILE or the variable {name}"
                ).format(name=KEY_VARIABLE)
            )
        if not equals or (option not in takes and not _OPTION_NAME.fullmatch(option)):
            raise ConfigurationError(
                _("-R: write it as OPTION=VALUE; the options of robot {robot} are {options}").format(
                    robot=maker.name, options=listed
                )
            )
        if option not in takes:
            raise ConfigurationError(
                _("robot {robot} has no option {option}; it has {options}").format(
                    robot=maker.name, option=option, options=listed
                )
            )
        values[option] = value
    return values


def help_text() -> str:
    """All robots with their options, for ``--help-robots``."""
    lines = []
    for name, maker in sorted(makers().items()):
        lines.append(f"{name}: {_(maker.summary)}")
        lines += [f"    -R {_usage(option)}" for option in maker.options]
    return "\n".join(lines)


def _usage(option: Option) -> str:
    default = _(" [default: {value}]").format(value=option.default) if option.default is not None else ""
    return f"{option.name}=…  {_(option.help)}{default}"

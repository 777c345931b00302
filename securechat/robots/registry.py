"""Finding a robot by its name, and its options and its key by theirs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from twisted.plugin import getPlugins

from securechat.errors import ConfigurationError
from securechat.files import read_secret
from securechat.i18n import _
from securechat.robots.echo import EchoMaker
from securechat.robots.eliza import ElizaMaker
from securechat.robots.interface import IRobot, IRobotMaker, Option
from securechat.robots.turing import TuringMaker

KEY_VARIABLE: Final = "SECURECHAT_ROBOT_KEY"
KEY_FILE: Final = "key-file"

_BUILT_IN: Final[tuple[IRobotMaker, ...]] = (EchoMaker(), ElizaMaker(), TuringMaker())
BUILT_IN: Final = {maker.name: maker for maker in _BUILT_IN}


def makers() -> dict[str, IRobotMaker]:
    """All robots that there are, by name; a plugin does not take the place of a built-in one."""
    found: dict[str, IRobotMaker] = {maker.name: maker for maker in getPlugins(IRobotMaker)}
    return found | BUILT_IN


def make_robot(reactor: object, name: str, options: Sequence[str], environ: Mapping[str, str]) -> IRobot:
    """The robot `name` with its options, each ``option=value``; ConfigurationError if anything does not fit.

    Its key comes from the file that the option ``key-file`` names, else from the environment: an argument can be read
    by everyone on the machine.
    """
    # Looking for plugins imports everybody's: only for a robot that did not come with us.
    maker = BUILT_IN.get(name) or makers().get(name)
    if maker is None:
        raise ConfigurationError(
            _("unknown robot {name}; there are {names}").format(name=name, names=", ".join(sorted(makers())))
        )
    values = _parse(maker, options)
    key_file = values.pop(KEY_FILE, None)
    key = read_secret(Path(key_file)) if key_file is not None else environ.get(KEY_VARIABLE)
    return maker.makeRobot(reactor, values, key)


def _parse(maker: IRobotMaker, options: Sequence[str]) -> dict[str, str]:
    takes = [option.name for option in maker.options]
    values = {}
    for given in options:
        option, equals, value = given.partition("=")
        if option == "key" and KEY_FILE in takes:
            raise ConfigurationError(
                _(
                    "a key on the command line can be read by others: use -R key-file=FILE or the variable {name}"
                ).format(name=KEY_VARIABLE)
            )
        if option not in takes:
            raise ConfigurationError(
                _("robot {robot} has no option {option}; it has {options}").format(
                    robot=maker.name, option=option, options=", ".join(takes) or _("none")
                )
            )
        if not equals:
            raise ConfigurationError(_("-R {option}: write it as {option}=VALUE").format(option=option))
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

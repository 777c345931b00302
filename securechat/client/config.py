"""The configuration file: options by their names, for all servers or for one server, in TOML.

identity = "~/.ssh/chat"

[host.work]
address = "chat.example.org:8080"
host-key = "SHA256:…"
"""

import os
import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Final

import platformdirs

from securechat.client.settings import ClientSettings
from securechat.errors import ConfigurationError
from securechat.files import OTHERS_WRITE, lines_of, read_bytes
from securechat.i18n import _
from securechat.settings import Option, default_path, options_of

HOSTS: Final = "host"  # the table with a table for each server
ADDRESS: Final = "address"  # the name that `destination` has there

_NO_FILE: Final = Path(os.devnull)
_OPTIONS: Final = {option.name: option for option in options_of(ClientSettings) if not option.extra.command_line_only}
_DESTINATION: Final = _OPTIONS["destination"]
_KEYS: Final[Mapping[str, Option]] = {name: option for name, option in _OPTIONS.items() if option is not _DESTINATION}
_HOST_KEYS: Final[Mapping[str, Option]] = {ADDRESS: _DESTINATION, **_KEYS}


@dataclass(frozen=True)
class Config:
    """What is set in a file, by the attributes of `ClientSettings`."""

    destination: str = ""  # the server if none is named: an address or the name of a host
    defaults: Mapping[str, Any] = field(default_factory=dict)
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def settings(self, destination: str | None) -> dict[str, Any]:
        """The settings for a server, which is named as on the command line; ConfigurationError."""
        name = self.destination if destination is None else destination
        if name in self.hosts:
            return {**self.defaults, **self.hosts[name]}
        return {**self.defaults, "destination": _DESTINATION.read(name, "{value}")} if name else {**self.defaults}


class _KeyError(Exception):
    """A key, as the names of its tables and its own, and what is wrong with it."""

    def __init__(self, problem: str, *key: str) -> None:
        super().__init__(problem)
        self.key = key


def load(path: Path | None) -> Config:
    """The configuration in a file, or in the default file, which need not exist; ConfigurationError.

    With /dev/null there is none, as with ssh.
    """
    path = path or _default_path()
    return Config() if path in (None, _NO_FILE) else parse(read_bytes(path, OTHERS_WRITE), path)


def _default_path() -> Path | None:
    """The default file; None if it does not exist."""
    try:
        path = default_path(platformdirs.user_config_path, "config") / "client.toml"
        path.stat()
    except (ConfigurationError, FileNotFoundError, NotADirectoryError, PermissionError):
        return None  # or in a directory that cannot be searched, as another user's home directory
    except OSError:
        return path  # reading it says why it cannot be found
    return path


def parse(data: bytes, path: Path) -> Config:
    """The configuration in the content of a file; ConfigurationError, which names the path and the line."""
    text = "\n".join(line for _number, line in lines_of(data, path))
    try:
        return _read(_parse_toml(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(_("{path}: not valid TOML: {problem}").format(path=path, problem=error)) from None
    except _KeyError as error:
        line = _line_of(error.key, text.split("\n"))
        raise ConfigurationError(_("{path}:{line}: {problem}").format(path=path, line=line, problem=error)) from None


def _parse_toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number that is too long, or too many brackets
        if isinstance(error, tomllib.TOMLDecodeError):
            raise
        raise tomllib.TOMLDecodeError(str(error)) from None


def _read(content: dict[str, Any]) -> Config:
    hosts = content.pop(HOSTS, {})
    destination = content.pop(_DESTINATION.name, "")
    if not isinstance(destination, str):
        raise _KeyError(_("{key}: expected text in quotes").format(key=_DESTINATION.name), _DESTINATION.name)
    defaults = _values(content, _KEYS)
    found: dict[str, dict[str, Any]] = {}
    for name, table in _table(hosts, HOSTS).items():
        values = _values(_table(table, HOSTS, name), _HOST_KEYS, HOSTS, name)
        if "destination" not in values:
            try:
                values["destination"] = _DESTINATION.read(name, "{value}")
            except ConfigurationError:
                raise _KeyError(_("host {name} has no address").format(name=name), HOSTS, name) from None
        found[name] = values
    return Config(destination, defaults, found)


def _table(value: object, *key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _KeyError(_("{key}: expected a table").format(key=key[-1]), *key)
    return value


def _values(table: Mapping[str, object], options: Mapping[str, Option], *tables: str) -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        option = options.get(key)
        if option is None:
            raise _KeyError(_unknown(key, options), *tables, key)
        try:
            values[option.attribute] = _value(option, value)
        except (ConfigurationError, ValueError) as error:
            raise _KeyError(_("{key}: {problem}").format(key=key, problem=error), *tables, key) from None
    return values


def _unknown(key: str, options: Mapping[str, Option]) -> str:
    for match in get_close_matches(key, options, n=1):
        return _("unknown key {key}; did you mean {match}?").format(key=key, match=match)
    return _("unknown key {key}").format(key=key)


def _value(option: Option, value: object) -> object:
    """The value of a setting; ConfigurationError or ValueError."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise ValueError(_("expected true or false"))
        return value
    if option.is_repeatable:
        if not isinstance(value, list):
            raise ValueError(_("expected a list in brackets"))
        return tuple(_single(option, each) for each in value)
    return _single(option, value)


def _single(option: Option, value: object) -> object:
    if option.is_number:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(_("expected a number"))
    elif not isinstance(value, str):
        raise ValueError(_("expected text in quotes"))
    read = option.read(str(value), "{value}")
    if isinstance(read, Path) and not Path(str(value)).expanduser().is_absolute():
        raise ValueError(_("expected a path that begins with / or ~/"))
    return read


def _line_of(key: tuple[str, ...], lines: list[str]) -> int:
    """The line on which a key begins: the first up to which the file, as far as it can be parsed, has the key."""

    @cache
    def has_key_in(end: int) -> bool | None:
        """Whether so many lines have the key; None if they cannot be parsed, because they end within a value."""
        try:
            table: object = _parse_toml("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            return None
        for name in key:
            table = table.get(name) if isinstance(table, dict) else None
        return table is not None

    def has_key(count: int) -> bool:
        found = (has_key_in(end) for end in range(count, len(lines)))
        return next((has for has in found if has is not None), True)

    return bisect_left(range(1, len(lines)), True, key=has_key) + 1

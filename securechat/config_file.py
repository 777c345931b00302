"""Configuration files: TOML whose keys are the options of the command line; every error names file, line and key."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from securechat.errors import ConfigurationError
from securechat.files import OTHERS_WRITE, read_bytes
from securechat.i18n import _
from securechat.settings import Settings, options_of

Names = tuple[str, ...]  # of a key: those of its tables, and its own

_SECRETS: Final = frozenset(("key", "api-key", "password", "passphrase", "secret", "token"))  # keys that say so
_SYNTAX: Final = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)
_CLOSING: Final = ('"""', "'''", "]", "}")  # one of these is in the last line of a statement of several lines
_BARE: Final = re.compile(r"[\w-]{1,60}", re.ASCII)


class ConfigFileError(ConfigurationError):
    """An error that names the file, the line, and the key if there is one."""


class ConfigFile:
    """The content of a file."""

    def __init__(self, path: Path, data: bytes) -> None:
        """ConfigurationError if it is not valid TOML."""
        self.path = path
        try:
            text = data.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise self._wrong(data.count(b"\n", 0, error.start) + 1, _("not valid UTF-8")) from None
        try:
            self._document = tomllib.loads(text)
            self._lines = dict(reversed(list(_find_keys(text))))  # the first line of each key
        except tomllib.TOMLDecodeError as error:
            parts = _SYNTAX.fullmatch(str(error))
            problem, line = (parts[1], parts[2]) if parts else (str(error), None)
            raise self._wrong(int(line or text.count("\n") + 1), problem) from None
        except (RecursionError, ValueError):  # deep nesting; an impossible date or an endless number
            raise ConfigurationError(_("{path}: not valid TOML").format(path=path)) from None

    @classmethod
    def load(cls, path: Path) -> "ConfigFile":
        """Read a file, which others must not be able to write; ConfigurationError."""
        return cls(path, read_bytes(path, OTHERS_WRITE))

    @property
    def root(self) -> "Table":
        """What is above the first table."""
        return Table(self, (), self._document)

    def tables(self, kind: str) -> "list[Table]":
        """The tables ``[kind.NAME]``, in the order of the file."""
        tables = self._document.get(kind, {})
        found = [Table(self, (kind, name), table) for name, table in tables.items()] if isinstance(tables, dict) else []
        for table in found or [Table(self, (kind,), tables)]:
            if not isinstance(table.values, dict):
                raise table.error(_("expected a table [{kind}.NAME]").format(kind=kind))
        return found

    def error(self, names: Names, problem: object) -> ConfigFileError:
        """The error to raise about a key."""
        while names not in self._lines and len(names) > 1:
            names = names[:-1]
        shown = ".".join(name if _BARE.fullmatch(name) else "…" for name in names)
        return self._wrong(self._lines.get(names, 1), f"{shown}: {problem}" if shown else str(problem))

    def _wrong(self, line: int, problem: str) -> ConfigFileError:
        text = _("{path}:{line}: {problem}")
        return ConfigFileError(text.format(path=self.path, line=line, problem=problem))


def _find_keys(text: str) -> Iterator[tuple[Names, int]]:
    """The keys and tables of a valid document with their lines, which tomllib does not tell.

    A statement ends at the first line with which it is valid by itself.
    """
    table: Names = ()
    statement, begin = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        if not statement:
            begin = number
        statement += line + "\n"
        if begin != number and not any(closing in line for closing in _CLOSING):
            continue
        try:
            content = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        is_header = statement.lstrip().startswith("[")
        for names in _names_in(content):
            if is_header:
                table = names
            yield (names if is_header else table + names), begin
        statement = ""


def _names_in(content: Mapping[str, object]) -> Iterator[Names]:
    """The names of the keys and tables of a statement, outer ones first."""
    for name, value in content.items():
        yield (name,)
        if isinstance(value, dict):
            for names in _names_in(value):
                yield (name, *names)


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a file."""

    file: ConfigFile
    names: Names  # its own
    values: Mapping[str, Any]

    def __repr__(self) -> str:
        """Without the values."""
        return f"<Table {'.'.join(self.names)}>"

    def error(self, problem: object, *names: str) -> ConfigFileError:
        """The error to raise about the table, or a key in it."""
        return self.file.error((*self.names, *names), problem)

    def read(self, settings: type[Settings], *others: str) -> dict[str, Any]:
        """The values of the settings that are in the table, by attribute; ConfigurationError if one is wrong.

        `others` are keys that are not options.
        """
        options = {option.name: option for option in options_of(settings)}
        found = {}
        for name, value in self.values.items():
            if name in others:
                continue
            if name not in options:
                raise self.error(_secret_or_unknown(name, "key-file" in options), name)
            try:
                found[options[name].attribute] = options[name].read_value(value, self.file.path.absolute().parent)
            except ValueError as error:
                raise self.error(error, name) from None
        return found


def _secret_or_unknown(name: str, has_key_file: bool) -> str:
    if name not in _SECRETS:
        return _("unknown key")
    if has_key_file:
        return _("a secret does not belong in this file; use key-file")
    return _("unknown key; a secret does not belong in this file")

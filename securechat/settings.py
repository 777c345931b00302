"""Settings: each default, bound and help text in one place.

The daemon, each robot and the client have a frozen struct of settings. Command lines, help texts, error messages and
the tables in docs/ are made from its fields by `options_of`.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from inspect import get_annotations
from pathlib import Path
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from msgspec import NODEFAULT, Struct, ValidationError, convert
from msgspec.inspect import BoolType, CustomType, EnumType, FloatType, IntType, Metadata, StrType, type_info
from msgspec.structs import FieldInfo, fields

from securechat.errors import ConfigurationError
from securechat.i18n import _

CREDENTIALS_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"  # the variable
UNBOUNDED: Final = 10**9  # an upper bound that only keeps out infinity and typing errors; help texts omit it


class Settings(Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """The base class of all settings. Each field is an option; the option of ``max_sessions`` is ``max-sessions``.

    A field is ``Annotated[T, Meta(…)]`` with a default; T may be ``X | None`` or, for an option that can be repeated,
    ``tuple[X, ...]``. In `msgspec.Meta`, `description` is the help text, marked for translation; `ge`, `gt`, `le`,
    `lt` and `max_length` are bounds, which belong to X; `extra` has the keys of `Extra`.
    """

    def __repr__(self) -> str:
        """The class only: a value may be private."""
        return f"<{type(self).__name__}>"


@dataclass(frozen=True, slots=True)
class Extra:
    """What `msgspec.Meta` has no field for. Texts are marked for translation."""

    choices: Mapping[str, object] = field(default_factory=dict)  # allowed values by their names
    parse: Callable[[str], object] | None = None  # turns text into a value; ValueError("expected …")
    unit: str = ""
    default: str = ""  # describes a default that is None or depends on the machine
    private: bool = False  # error messages do not repeat the value
    is_secret: Callable[[str], bool] | None = None  # whether a configuration file must not contain this value
    at_start: bool = False  # changes take effect when the daemon is started again
    metavar: str = ""
    commas: bool = False  # one option has all values, separated by commas
    letter: str | None = None  # of the short form, such as -i; - alone if this is empty
    positional: bool = False
    command_line_only: bool = False  # not allowed in a configuration file


class Option:
    """One option, as command lines, help texts and tables need it. Texts are in the user's language."""

    def __init__(self, info: FieldInfo) -> None:
        """TypeError if the field does not have the form that `Settings` requires."""
        annotated = type_info(info.type)
        if not isinstance(annotated, Metadata) or "description" not in (annotated.extra_json_schema or {}):
            raise TypeError(f"setting {info.name} has no description")
        if info.default is NODEFAULT and info.default_factory is NODEFAULT:
            raise TypeError(f"setting {info.name} has no default")
        whole = get_args(info.type)[0]  # without its Meta
        self.is_repeatable = get_origin(whole) is tuple
        self._type = get_args(whole)[0] if get_origin(whole) in (tuple, Union, UnionType) else info.type
        bounds = type_info(self._type)
        self._bounds = bounds.type if isinstance(bounds, Metadata) else bounds
        self._info = info
        self._description: str = (annotated.extra_json_schema or {})["description"]
        self.attribute = info.name
        self.name = info.encode_name
        self.extra = Extra(**(annotated.extra or {}))
        self.is_flag = isinstance(self._bounds, BoolType)
        self.is_path = isinstance(self._bounds, CustomType) and self._bounds.cls is Path
        self.choices = self.extra.choices
        if self.is_flag:
            self.choices = {"yes": True, "no": False}
        elif isinstance(self._bounds, EnumType):
            self.choices = {str(member.value): member for member in self._bounds.cls}

    def read(self, text: str, form: str = "--{name} {value}") -> Any:
        """The value that `text` stands for; ConfigurationError, in which `form` shows the option, if there is none."""
        try:
            return self._parse(text)
        except ValueError as error:
            shown = form.format(name=self.name, value="…" if self.extra.private else text)
            raise ConfigurationError(_("{option}: {problem}").format(option=shown, problem=error)) from None

    def _parse(self, text: str) -> object:
        if self.extra.parse is not None:
            return self.extra.parse(text)
        if self.choices:
            if text not in self.choices:
                raise ValueError(_("expected {values}").format(values=self.values))
            return self.choices[text]
        try:
            return convert(text, self._type, strict=False, dec_hook=_from_text)
        except ValidationError as error:
            raise ValueError(self._expected() or str(error)) from None

    def read_value(self, value: object, directory: Path) -> Any:
        """The value that this one, of a configuration file, stands for; ValueError("expected …") if there is none.

        Relative paths are relative to `directory`. An option that can be repeated has a list, or one value.
        """
        if not self.is_repeatable:
            return self._convert(value, directory)
        values = value if isinstance(value, list) else [value]
        return tuple(self._convert(item, directory) for item in values)

    def _convert(self, value: object, directory: Path) -> object:
        if self.is_flag:
            if not isinstance(value, bool):
                raise ValueError(_("expected true or false"))
            return value
        is_text = isinstance(self._bounds, StrType) or self.extra.parse is not None
        if not isinstance(value, str) and is_text and not self.choices:
            raise ValueError(_("expected a string"))
        if isinstance(value, str) and self.extra.is_secret is not None and self.extra.is_secret(value):
            raise ValueError(_("a secret does not belong in this file"))
        if self.extra.parse is not None or self.choices:
            return self._parse(value if isinstance(value, str) else "")
        try:
            return convert(value, self._type, dec_hook=partial(_from_text, directory=directory))
        except ValidationError as error:
            raise ValueError(self._expected() or str(error)) from None

    def _expected(self) -> str:
        match self._bounds:
            case IntType():
                return _("expected a whole number {bounds}").format(bounds=_in_words(self._bounds))
            case FloatType():
                return _("expected a number {bounds}").format(bounds=_in_words(self._bounds))
            case StrType(max_length=int(limit)):
                return _("expected at most {limit} characters").format(limit=limit)
        return ""

    @property
    def description(self) -> str:
        """The help text alone. This is all there is to say of a flag."""
        return _(self._description)

    @property
    def values(self) -> str:
        """The possible values, if they are a choice or have a limit worth knowing: ``yes or no``, ``0 to 2``."""
        if self.choices:
            *first, last = self.choices
            # Translators: ", " stands between the parts of a list
            return _("{values} or {last}").format(values=_(", ").join(first), last=last) if first else last
        if not isinstance(self._bounds, IntType | FloatType):
            return ""
        low, high = self._bounds.ge, self._bounds.le
        if high is None or high == UNBOUNDED:
            return ""
        text = _("up to {high}") if low is None else _("{low} to {high}")
        return self._with_unit(text.format(low=_number(low or 0), high=_number(high)))

    @property
    def default(self) -> str:
        """What applies if the option is not given, in a form that is the same on every machine."""
        if self.extra.default:
            return _(self.extra.default)
        return self._text(self._info.default) if self._info.default is not NODEFAULT else ""

    @property
    def meaning(self) -> str:
        """The help text with the possible values, except for an enum, whose help text explains its members."""
        if not self.values or isinstance(self._bounds, EnumType):
            return self.description
        text = _("{meaning}: {values}") if self.choices else _("{meaning}, {values}")
        return text.format(meaning=self.description, values=self.values)

    @property
    def help(self) -> str:
        """The meaning with the default, as it is on this machine."""
        default = self.default
        if self._info.default_factory is not NODEFAULT:
            with suppress(ConfigurationError):  # there is none on this machine
                default = self._text(self._info.default_factory())
        if not default:
            return self.meaning
        return _("{meaning} (default: {value})").format(meaning=self.meaning, value=default)

    def _text(self, value: object) -> str:
        """A default as users would write it, with its unit."""
        if isinstance(value, tuple):
            return ", ".join(map(self._text, value))
        for name, choice in self.choices.items():
            if choice == value:
                return name
        if value is None:
            return ""
        return self._with_unit(_number(value)) if isinstance(value, int | float) else str(value)

    def _with_unit(self, text: str) -> str:
        return f"{text} {_(self.extra.unit)}" if self.extra.unit else text


def _from_text(kind: Callable[[str], object], text: object, directory: Path | None = None) -> object:
    """A value of a type that msgspec does not know; relative paths are relative to `directory`, or the working one."""
    if not isinstance(text, str):
        raise ValueError(_("expected a string"))
    value = kind(text)
    if not isinstance(value, Path):
        return value
    try:
        # The shell does not expand the ~ in --option=~/file. A relative path is resolved now: twistd changes the
        # directory later.
        return (directory or Path.cwd()) / _in_credentials(value).expanduser()
    except RuntimeError:
        raise ValueError(_("cannot determine the home directory")) from None


def _in_credentials(path: Path) -> Path:
    """The path with ``$CREDENTIALS_DIRECTORY`` at its start, where systemd puts a service's secrets, expanded."""
    variable = f"${CREDENTIALS_DIRECTORY}"
    if path.parts[:1] != (variable,):
        return path
    directory = os.environ.get(CREDENTIALS_DIRECTORY)
    if not directory:
        raise ValueError(_("the variable {name} is not set").format(name=CREDENTIALS_DIRECTORY))
    return Path(directory, *path.parts[1:])


def default_path(find: Callable[[str], Path], option: str) -> Path:
    """The directory for our files that `find`, a function of platformdirs, returns, as the default of an option.

    ConfigurationError if the user has no home directory, as in a container that runs with an arbitrary user id.
    """
    try:
        return find("securechat").expanduser()  # older versions of platformdirs do not raise, but leave the ~
    except RuntimeError:
        text = _("cannot determine the home directory; set HOME, or use --{option}")
        raise ConfigurationError(text.format(option=option)) from None


def _number(value: float) -> str:
    return str(int(value) if value == int(value) else value)


def _in_words(bounds: IntType | FloatType) -> str:
    if bounds.ge is not None and bounds.le is not None:
        return _("from {low} to {high}").format(low=_number(bounds.ge), high=_number(bounds.le))
    texts = (
        (_("of at least {number}"), bounds.ge),
        (_("above {number}"), bounds.gt),
        (_("at most {number}"), bounds.le),
        (_("below {number}"), bounds.lt),
    )
    return _(", ").join(text.format(number=_number(bound)) for text, bound in texts if bound is not None)


@cache  # a configuration file may have many tables
def options_of(settings: type[Settings]) -> tuple[Option, ...]:
    """The options of a class of settings, in the order of its fields, inherited ones last.

    TypeError if a field has the wrong form.
    """
    own = get_annotations(settings)
    return tuple(map(Option, sorted(fields(settings), key=lambda info: info.name not in own)))

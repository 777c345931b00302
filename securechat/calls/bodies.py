"""The bodies of API requests: one JSON object, of which single values can be replaced (protocol, "API requests")."""

import json
import re
from collections.abc import Mapping, Set
from typing import Final, NamedTuple, NoReturn

from msgspec import Raw

from securechat.i18n import _

MAX_KEYS: Final = 1000  # of the object itself; requests have some dozens, and each takes microseconds

_BLANK: Final = re.compile(r"[ \t\n\r]*+")


class InvalidBodyError(ValueError):
    """A body that is not one JSON object whose keys differ (status 400); the text says why."""


def _refuse(constant: str) -> NoReturn:
    raise InvalidBodyError(_("the body is not a JSON object: {problem}").format(problem=constant))


# Nothing is computed with the numbers of a body, and Python limits the digits of integers: they stay text.
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)


def _json(value: object) -> str:
    return bytes(value).decode() if isinstance(value, Raw) else json.dumps(value)


class _Member(NamedTuple):
    """Where a value is written in the text. The value itself could take twenty times the memory."""

    start: int
    end: int


class Body:
    """The body of a POST."""

    __slots__ = ("_members", "_text")

    def __init__(self, data: bytes) -> None:
        """InvalidBodyError if this is not one JSON object (RFC 8259, UTF-8) whose own keys differ, whatever their case.

        It has at most MAX_KEYS keys.
        A mebibyte takes 2 ms, 11 ms if it is full of numbers, and up to 100 ms if it is full of empty arrays.
        """
        try:
            self._text = data.decode()
            self._members = self._parse()
        except UnicodeDecodeError:
            raise InvalidBodyError(_("the body is not UTF-8")) from None
        except json.JSONDecodeError as error:
            raise InvalidBodyError(_("the body is not a JSON object: {problem}").format(problem=error)) from None
        except RecursionError:
            raise InvalidBodyError(_("the body is nested too deeply")) from None

    @property
    def model(self) -> str | None:
        """The requested model; None if it is missing or not a string."""
        written = self.written("model")
        return json.loads(written) if written is not None and written.startswith('"') else None

    @property
    def keys(self) -> Set[str]:
        """Its own keys."""
        return self._members.keys()

    def written(self, key: str) -> str | None:
        """The value of one of its own keys as JSON; None if the key is missing."""
        member = self._members.get(key)
        return None if member is None else self._text[member.start : member.end]

    def replaced(self, values: Mapping[str, object]) -> bytes:
        """The body with other values of these keys, or with these keys added; the rest is as it was written.

        A value that is a `msgspec.Raw` is JSON already.
        """
        missing = {key: value for key, value in values.items() if key not in self._members}
        brace = self._text.index("{") + 1
        added = ", ".join(f"{json.dumps(key)}: {_json(value)}" for key, value in missing.items())
        parts = [self._text[:brace], added, ", " if added and self._members else ""]
        at = brace
        for key, member in self._members.items():  # in the order in which they are written
            if key in values:
                parts += (self._text[at : member.start], _json(values[key]))
                at = member.end
        return "".join((*parts, self._text[at:])).encode()

    def _parse(self) -> dict[str, _Member]:
        members: dict[str, _Member] = {}
        folded: set[str] = set()
        at = self._after("{", 0)
        more = not self._is_next("}", at)
        while more:
            start = self._after('"', at) - 1
            key, at = _DECODER.raw_decode(self._text, start)
            if key.casefold() in folded:
                raise InvalidBodyError(_("a key of the body occurs twice"))
            if len(folded) == MAX_KEYS:
                raise InvalidBodyError(_("the body has more than {limit} keys").format(limit=MAX_KEYS))
            folded.add(key.casefold())
            start = self._skip(self._after(":", at))
            _value, at = _DECODER.raw_decode(self._text, start)
            members[key] = _Member(start, at)
            more = self._is_next(",", at)
            at = self._after(",", at) if more else at
        at = self._skip(self._after("}", at))
        if at != len(self._text):
            raise json.JSONDecodeError("Extra data", self._text, at)
        return members

    def _skip(self, at: int) -> int:
        """The offset after white space."""
        match = _BLANK.match(self._text, at)
        assert match is not None
        return match.end()

    def _is_next(self, sign: str, at: int) -> bool:
        return self._text.startswith(sign, self._skip(at))

    def _after(self, sign: str, at: int) -> int:
        """The offset after white space and this sign; JSONDecodeError if something else is there."""
        if not self._is_next(sign, at):
            raise json.JSONDecodeError(f"Expecting {sign}", self._text, self._skip(at))
        return self._skip(at) + 1

"""Joining server-sent events whose data differs in one string (protocol, section 8, "Results").

The data is never parsed into values and written again: it is cut at the strings that may differ, and all other bytes
stay as they are. Most events of a stream differ from the one before them in these strings only, so that comparing the
bytes between them is enough; the whole of an event is scanned only if it is not like the one before.
"""

import re
from typing import Final, NamedTuple

MAX_JOINED: Final = 4096  # bytes of data
MAX_DEPTH: Final = 16  # objects and arrays; the deepest listed string is within 7

# JSON, in pieces that never backtrack. `_body` is a string without its quotes.
_body = rb'(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+'
_integer = rb"-?(?:0|[1-9][0-9]*+)"
_scalar = _integer + rb"(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?|true|false|null"
_value = rb'(?:"(?P<string>%b)"|(?P<scalar>%b)|(?P<opening>[{[]))' % (_body, _scalar)
_blank = rb"[ \t\n\r]*+"

_STRING_BODY: Final = re.compile(_body)
_WHOLE_NUMBER: Final = re.compile(_integer)
_BLANK: Final = re.compile(_blank)
_OBJECT: Final = re.compile(_blank + rb"\{")
_ELEMENT: Final = re.compile(_blank + _value)
_MEMBER: Final = re.compile(rb'%b"(?P<key>[^"\\\x00-\x1f]*+)"%b:' % (_blank, _blank) + _blank + _value)
_KEY, _STRING, _SCALAR, _OPENING = "key", "string", "scalar", "opening"  # groups of a member; of its value, one is set
_NO_MEMBERS: Final = re.compile(_blank + rb"\}")
_NO_ELEMENTS: Final = re.compile(_blank + rb"\]")
_AFTER_MEMBER: Final = re.compile(_blank + rb"([,}])")
_AFTER_ELEMENT: Final = re.compile(_blank + rb"([,\]])")

Path = tuple[bytes | None, ...]  # the keys above a value; None is any index of an array

_CHOICE: Final[Path] = (b"choices", None)
_DELTA: Final[Path] = (*_CHOICE, b"delta")
_TOOL_CALL: Final[Path] = (*_DELTA, b"tool_calls", None)
_LISTED: Final[dict[Path, frozenset[bytes]]] = {
    _CHOICE: frozenset({b"text"}),
    _DELTA: frozenset({b"content", b"reasoning", b"reasoning_content", b"refusal"}),
    (*_TOOL_CALL, b"function"): frozenset({b"arguments"}),
    (*_DELTA, b"function_call"): frozenset({b"arguments"}),
}
_FORBIDDEN: Final[dict[Path, bytes]] = {
    _TOOL_CALL: b"id",
    (*_TOOL_CALL, b"function"): b"name",
    (*_DELTA, b"function_call"): b"name",
}
_MOSTLY_NULL: Final = frozenset({b"finish_reason", b"usage", b"logprobs"})
_LISTED_TYPES: Final = frozenset(
    b"response.%b.delta" % kind
    for kind in (
        b"output_text",
        b"refusal",
        b"reasoning_text",
        b"reasoning_summary_text",
        b"function_call_arguments",
        b"mcp_call_arguments",
        b"custom_tool_call_input",
        b"code_interpreter_call_code",
    )
)


class _NotJoinableError(Exception):
    """The event is not JSON, or one that is never joined."""


class _Hole(NamedTuple):
    """A value that may differ between events."""

    start: int
    end: int
    pattern: re.Pattern[bytes]
    is_listed: bool


class _Scanner:
    """Finds the holes in the data of one event, and everything that forbids to join it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._top: dict[bytes, re.Match[bytes]] = {}  # the members of the outermost object
        self._holes: list[_Hole] = []

    def scan(self) -> list[_Hole]:
        """The holes in their order. _NotJoinableError."""
        end = self._members(self._match(_OBJECT, 0).end(), (), 1)
        if self._match(_BLANK, end).end() != len(self._data):
            raise _NotJoinableError
        top = self._top
        if b"type" in top and top[b"type"][_STRING] in _LISTED_TYPES:
            self._add(b"delta", _STRING, _STRING_BODY, is_listed=True)
            self._add(b"sequence_number", _SCALAR, _WHOLE_NUMBER, is_listed=False)
        self._add(b"obfuscation", _STRING, _STRING_BODY, is_listed=False)
        return sorted(self._holes)

    def _add(self, key: bytes, group: str, pattern: re.Pattern[bytes], *, is_listed: bool) -> None:
        """Add a value of the outermost object, if it is there and of this kind."""
        member = self._top.get(key)
        if member is not None and member[group] is not None and pattern.fullmatch(member[group]):
            self._holes.append(_Hole(*member.span(group), pattern, is_listed))

    def _match(self, pattern: re.Pattern[bytes], at: int) -> re.Match[bytes]:
        match = pattern.match(self._data, at)
        if match is None:
            raise _NotJoinableError
        return match

    def _members(self, at: int, path: Path, depth: int) -> int:
        """Scan an object from after its brace; the offset after it."""
        if empty := _NO_MEMBERS.match(self._data, at):
            return empty.end()
        listed = _LISTED.get(path, frozenset())
        forbidden = _FORBIDDEN.get(path)
        members: dict[bytes, re.Match[bytes]] = {}
        more = True
        while more:
            member = self._match(_MEMBER, at)
            key = member[_KEY]
            if key in members or key == forbidden or (key in _MOSTLY_NULL and not self._is_nothing(member)):
                raise _NotJoinableError
            members[key] = member
            at = self._value(member, (*path, key), depth)
            if key in listed and member[_STRING] is not None:
                self._holes.append(_Hole(*member.span(_STRING), _STRING_BODY, is_listed=True))
            end = self._match(_AFTER_MEMBER, at)
            at = end.end()
            more = end[1] == b","
        if not path:
            self._top = members
        return at

    def _elements(self, at: int, path: Path, depth: int) -> int:
        """Scan an array from after its bracket; the offset after it."""
        if empty := _NO_ELEMENTS.match(self._data, at):
            return empty.end()
        more = True
        while more:
            at = self._value(self._match(_ELEMENT, at), (*path, None), depth)
            end = self._match(_AFTER_ELEMENT, at)
            at = end.end()
            more = end[1] == b","
        return at

    def _value(self, match: re.Match[bytes], path: Path, depth: int) -> int:
        """The offset after a value, of which an object or array is yet to be scanned."""
        opening = match[_OPENING]
        if opening is None:
            return match.end()
        if depth == MAX_DEPTH:
            raise _NotJoinableError
        scan = self._members if opening == b"{" else self._elements
        return scan(match.end(), path, depth + 1)

    def _is_nothing(self, member: re.Match[bytes]) -> bool:
        """Whether a value is null or, of `logprobs`, empty."""
        if member[_KEY] == b"logprobs" and member[_OPENING] is not None:
            pattern = _NO_MEMBERS if member[_OPENING] == b"{" else _NO_ELEMENTS
            return pattern.match(self._data, member.end()) is not None
        return member[_SCALAR] == b"null"


class Template(NamedTuple):
    """What the data of joinable events have in common: the bytes around their holes."""

    literals: tuple[bytes, ...]  # one more than there are holes
    patterns: tuple[re.Pattern[bytes], ...]
    listed: tuple[int, ...]  # the holes that are listed strings

    @classmethod
    def of(cls, data: bytes) -> "Template | None":
        """The template of an event's data; None if it is never joined."""
        if len(data) > MAX_JOINED or not _is_utf8(data):
            return None
        try:
            holes = _Scanner(data).scan()
        except _NotJoinableError:
            return None
        starts = [0, *(hole.end for hole in holes)]
        ends = [*(hole.start for hole in holes), len(data)]
        return cls(
            tuple(data[start:end] for start, end in zip(starts, ends, strict=True)),
            tuple(hole.pattern for hole in holes),
            tuple(number for number, hole in enumerate(holes) if hole.is_listed),
        )

    def match(self, data: bytes) -> list[bytes] | None:
        """What the data has in the holes; None if it is not of this template."""
        found = []
        at = 0
        for literal, pattern in zip(self.literals, self.patterns, strict=False):
            if not data.startswith(literal, at):
                return None
            match = pattern.match(data, at + len(literal))
            if match is None:
                return None
            at = match.end()
            found.append(match[0])
        return found if data[at:] == self.literals[-1] and _is_utf8(data) else None

    def join(self, first: list[bytes], second: list[bytes]) -> list[bytes] | None:
        """What the joined data of two events has in the holes; None if they may not be joined."""
        filled = [number for number in self.listed if first[number] or second[number]]
        if len(filled) != 1:
            return None
        [joint] = filled
        values = list(second)
        values[joint] = first[joint] + second[joint]
        return values if sum(map(len, self.literals)) + sum(map(len, values)) <= MAX_JOINED else None

    def fill(self, values: list[bytes]) -> bytes:
        """The data that has this in the holes."""
        parts = [part for pair in zip(self.literals, values, strict=False) for part in pair]
        return b"".join(parts) + self.literals[-1]


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True

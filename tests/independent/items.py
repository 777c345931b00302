"""Section 8, "Results": the items of a RESULT, and which events may be joined."""

from typing import NamedTuple

from tests.independent.abort import AbortError
from tests.independent.pack import Value, pack, unpack, unpack_at

HEAD, PIECE, EVENT, DELTA = range(4)
LONGEST_ITEM = 2**24
LONGEST_BASE = 16_384
LONGEST_JOINED = 4096

_FIELDS = {HEAD: (int, str, int), PIECE: (bytes,), EVENT: (str, bytes), DELTA: (int, int, bytes)}


class Result(NamedTuple):
    """A complete result: its head, and the rest either as one body or as events."""

    status: int
    content_type: str
    retry_after: int
    body: bytes
    events: list[tuple[str, bytes]]


class ResultReader:
    """Collects chunks. Slow: it decodes from the start of the item whenever a chunk arrives."""

    def __init__(self) -> None:
        self._rest = b""
        self._head: tuple[int, str, int] | None = None
        self._body = b""
        self._events: list[tuple[str, bytes]] = []

    def add(self, chunk: bytes) -> None:
        self._rest += chunk
        while self._rest:
            size = _size(self._rest)
            if size is None or size > len(self._rest):
                return
            item = unpack(self._rest[:size])
            assert isinstance(item, tuple)
            self._rest = self._rest[size:]
            self._add_item(item)

    def end(self) -> Result:
        if self._rest or self._head is None:
            raise AbortError("malformed", "an incomplete item or no head")
        return Result(*self._head, self._body, self._events)

    def _add_item(self, item: tuple[Value, ...]) -> None:
        number, fields = (item[0], item[1:]) if item else (None, ())
        if isinstance(number, bool) or number not in _FIELDS:
            raise AbortError("malformed", "unknown item")
        kinds = _FIELDS[number]
        if tuple(map(type, fields)) != kinds:
            raise AbortError("malformed", "wrong fields of an item")
        if (number == HEAD) != (self._head is None):
            raise AbortError("malformed", "the head comes first, once")
        if number == HEAD:
            self._head = _head(*fields)  # type: ignore[arg-type]
            return
        assert self._head is not None
        if (number == PIECE) == _is_stream(self._head[1]):
            raise AbortError("malformed", "a piece in a stream or an event outside of one")
        if number == PIECE:
            self._body += fields[0]  # type: ignore[operator]
        elif number == EVENT:
            self._add_event(*fields)  # type: ignore[arg-type]
        else:
            self._add_delta(*fields)  # type: ignore[arg-type]

    def _add_event(self, name: str, data: bytes) -> None:
        if len(name.encode()) > 128 or set(name) & set("\r\n\0") or b"\r" in data:
            raise AbortError("malformed", "an event's name or data")
        self._events.append((name, data))

    def _add_delta(self, head: int, tail: int, middle: bytes) -> None:
        if not self._events:
            raise AbortError("malformed", "no event before")
        name, before = self._events[-1]
        if len(before) > LONGEST_BASE or head + tail > len(before):
            raise AbortError("malformed", "beyond the event before")
        self._add_event(name, before[:head] + middle + before[len(before) - tail :])


def _head(status: int, content_type: str, retry_after: int) -> tuple[int, str, int]:
    if status not in range(200, 600) or len(content_type) > 128:
        raise AbortError("malformed", "status or length of the content type")
    if not all(" " <= sign <= "~" for sign in content_type):
        raise AbortError("malformed", "a character of the content type")
    return status, content_type, retry_after


def _is_stream(content_type: str) -> bool:
    return content_type.split(";")[0].strip(" ").lower() == "text/event-stream"


def _size(data: bytes) -> int | None:
    """The size of the first item, None if it is not known yet; aborts if its lengths so far are too large."""
    if not 0x90 <= data[0] <= 0x9F:
        raise AbortError("malformed", "not a short array")
    at = 1
    for _ in range(data[0] - 0x90):
        if at >= len(data):
            return None
        first = data[at]
        width = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}.get(first)
        if width is None and not 0xA0 <= first < 0xC0:
            try:
                at = unpack_at(data, at)[1]
            except AbortError:
                if first in (0xCC, 0xCD, 0xCE, 0xCF) and len(data) - at < 9:
                    return None
                raise
        elif width is None:
            at += 1 + first - 0xA0
        elif at + 1 + width > len(data):
            return None
        else:
            at += 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big")
        if at > LONGEST_ITEM:
            raise AbortError("malformed", "an item of more than 2^24 bytes")
    return at


def pack_items(status: int, content_type: str, *rest: tuple[Value, ...]) -> bytes:
    """The head and more items."""
    return b"".join(map(pack, ((HEAD, status, content_type, 0), *rest)))


# Joining

_LISTED = {
    *(("choices", "*", "delta", key) for key in ("content", "reasoning", "reasoning_content", "refusal")),
    ("choices", "*", "delta", "tool_calls", "*", "function", "arguments"),
    ("choices", "*", "delta", "function_call", "arguments"),
    ("choices", "*", "text"),
}
_FORBIDDEN = {
    ("choices", "*", "delta", "tool_calls", "*", "id"),
    ("choices", "*", "delta", "tool_calls", "*", "function", "name"),
    ("choices", "*", "delta", "function_call", "name"),
}
_KINDS = ("output_text", "refusal", "reasoning_text", "reasoning_summary_text", "function_call_arguments")
_MORE_KINDS = ("mcp_call_arguments", "custom_tool_call_input", "code_interpreter_call_code")
_TYPES = {f'"response.{kind}.delta"' for kind in (*_KINDS, *_MORE_KINDS)}


class Token(NamedTuple):
    """A piece of JSON text: white space, a sign, a key, or a value that is no container."""

    text: str
    path: tuple[str, ...] | None = None  # of a value
    key: tuple[str, ...] | None = None  # the path of the value that a key belongs to


class NotJsonError(Exception):
    """The text is not JSON, or has a key twice or with an escape."""


class Tokens:
    """Cuts a JSON object into tokens; all of them together are the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.tokens: list[Token] = []
        self._blank()
        if text[self._at : self._at + 1] != "{":
            raise NotJsonError
        self._value(())
        self._blank()
        if self._at != len(text):
            raise NotJsonError

    def _take(self, size: int, path: tuple[str, ...] | None = None, key: tuple[str, ...] | None = None) -> None:
        self.tokens.append(Token(self._text[self._at : self._at + size], path, key))
        self._at += size

    def _blank(self) -> None:
        size = 0
        while self._text[self._at + size : self._at + size + 1] in tuple(" \t\r\n"):
            size += 1
        if size:
            self._take(size)

    def _sign(self, signs: str) -> str:
        self._blank()
        sign = self._text[self._at : self._at + 1]
        if not sign or sign not in signs:
            raise NotJsonError
        self._take(1)
        return sign

    def _string(self) -> int:
        """The size of the string that begins here."""
        end = self._at + 1
        while True:
            sign = self._text[end : end + 1]
            if not sign or sign < " ":
                raise NotJsonError
            end += 1
            if sign == '"':
                return end - self._at
            if sign == "\\":
                kind = self._text[end : end + 1]
                digits = self._text[end + 1 : end + 5]
                if kind == "u" and len(digits) == 4 and set(digits) <= set("0123456789abcdefABCDEF"):
                    end += 5
                elif kind and kind in '"\\/bfnrt':
                    end += 1
                else:
                    raise NotJsonError

    def _value(self, path: tuple[str, ...]) -> None:
        self._blank()
        first = self._text[self._at : self._at + 1]
        if first == "{":
            self._members(path)
        elif first == "[":
            self._elements(path)
        elif first == '"':
            self._take(self._string(), path)
        else:
            size = 0
            while self._text[self._at + size : self._at + size + 1] not in ("", *',]} \t\r\n"'):
                size += 1
            word = self._text[self._at : self._at + size]
            if word not in ("true", "false", "null") and not _is_number(word):
                raise NotJsonError
            self._take(size, path)

    def _members(self, path: tuple[str, ...]) -> None:
        self._take(1)
        keys = set()
        self._blank()
        if self._text[self._at : self._at + 1] == "}":
            return self._take(1)
        while True:
            self._blank()
            if self._text[self._at : self._at + 1] != '"':
                raise NotJsonError
            size = self._string()
            key = self._text[self._at + 1 : self._at + size - 1]
            self._take(size, key=(*path, key))
            if key in keys or "\\" in key:
                raise NotJsonError
            keys.add(key)
            self._sign(":")
            self._value((*path, key))
            if self._sign(",}") == "}":
                return None

    def _elements(self, path: tuple[str, ...]) -> None:
        self._take(1)
        self._blank()
        if self._text[self._at : self._at + 1] == "]":
            return self._take(1)
        while True:
            self._value((*path, "*"))
            if self._sign(",]") == "]":
                return None


def _is_number(word: str) -> bool:
    digits = word.removeprefix("-")
    mantissa, _e, exponent = digits.replace("E", "e").partition("e")
    if _e and not _is_digits(exponent[1:] if exponent[:1] in ("+", "-") else exponent):
        return False
    whole, point, fraction = mantissa.partition(".")
    if point and not _is_digits(fraction):
        return False
    return _is_digits(whole) and (whole == "0" or not whole.startswith("0"))


def _is_digits(text: str) -> bool:
    return bool(text) and set(text) <= set("0123456789")


def join(first: bytes, second: bytes) -> bytes | None:
    """The joined data of two adjacent events of the same name; None if they may not be joined."""
    try:
        one, two = Tokens(first.decode()).tokens, Tokens(second.decode()).tokens
    except (NotJsonError, UnicodeDecodeError):
        return None
    if len(one) != len(two) or _is_excluded(one) or _is_excluded(two):
        return None
    is_responses = any(token.path == ("type",) and token.text in _TYPES for token in one)
    joined, filled = "", 0
    for a, b in zip(one, two, strict=True):
        strings = a.path == b.path is not None and a.text[0] == b.text[0] == '"'
        listed = a.path in _LISTED or (is_responses and a.path == ("delta",))
        if strings and listed:
            filled += a.text != '""' or b.text != '""'
            joined += a.text[:-1] + b.text[1:]
        elif a == b or (strings and a.path == ("obfuscation",)) or (is_responses and _are_numbers(a, b)):
            joined += b.text
        else:
            return None
    data = joined.encode()
    return data if filled == 1 and len(data) <= LONGEST_JOINED else None


def _are_numbers(*tokens: Token) -> bool:
    """Whether these are integers at sequence_number."""
    return all(token.path == ("sequence_number",) and set(token.text) <= set("-0123456789") for token in tokens)


def _is_excluded(tokens: list[Token]) -> bool:
    """Whether there is a key or value with which an event is never joined."""
    for at, token in enumerate(tokens):
        if token.key in _FORBIDDEN:
            return True
        if token.key is None or token.key[-1] not in ("finish_reason", "usage", "logprobs"):
            continue
        value = "".join(other.text for other in tokens[at + 1 :] if other.text.strip())
        nothing = ("null", "[]", "{}") if token.key[-1] == "logprobs" else ("null",)
        if not value.removeprefix(":").startswith(nothing):
            return True
    return False

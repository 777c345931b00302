"""The part of msgpack that section 0 needs: nil, booleans, unsigned integers, str, bin and arrays."""

from typing import TypeAlias

from tests.independent.abort import AbortError

Value: TypeAlias = "bool | int | str | bytes | tuple[Value, ...] | None"

_DEEPEST = 4  # messages are arrays of arrays at most; this only bounds the recursion

# the size in bytes of the big-endian number after each of these first bytes
_INTEGERS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_STRINGS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BINARIES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_ARRAYS = {0xDC: 2, 0xDD: 4}


def pack(value: Value) -> bytes:
    """The one valid encoding of ``value``, with the shortest header."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _head(value, _INTEGERS, 0x00, 0x80)
    if isinstance(value, str):
        text = value.encode()
        return _head(len(text), _STRINGS, 0xA0, 32) + text
    if isinstance(value, bytes):
        return _head(len(value), _BINARIES, 0x00, 0) + value
    return _head(len(value), _ARRAYS, 0x90, 16) + b"".join(map(pack, value))


def unpack(data: bytes) -> Value:
    """Section 0: decode, encode again, and abort if the bytes differ."""
    value, end = unpack_at(data, 0)
    if end != len(data) or pack(value) != data:
        raise AbortError("malformed", "not the shortest encoding")
    return value


def unpack_at(data: bytes, at: int, depth: int = 0) -> tuple[Value, int]:
    """The value that begins at ``at``, in any encoding, and the offset of its end."""
    if at >= len(data) or depth > _DEEPEST:
        raise AbortError("malformed", "too short or too deep")
    first = data[at]
    at += 1
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    if first < 0x80:
        return first, at
    if first in _INTEGERS:
        return _number(data, at, _INTEGERS[first])
    if 0x90 <= first < 0xA0:
        return _array(data, at, first - 0x90, depth)
    if first in _ARRAYS:
        size, at = _number(data, at, _ARRAYS[first])
        return _array(data, at, size, depth)
    if 0xA0 <= first < 0xC0:
        return _text(*_take(data, at, first - 0xA0))
    if first in _STRINGS:
        size, at = _number(data, at, _STRINGS[first])
        return _text(*_take(data, at, size))
    if first in _BINARIES:
        size, at = _number(data, at, _BINARIES[first])
        return _take(data, at, size)
    raise AbortError("malformed", "a type that no message contains")


def _head(number: int, wide: dict[int, int], short: int, shorts: int) -> bytes:
    """``short`` + number in one byte if it is below ``shorts``, or else the narrowest of ``wide``."""
    if 0 <= number < shorts:
        return bytes([short + number])
    for first, size in wide.items():
        if 0 <= number < 1 << 8 * size:
            return bytes([first]) + number.to_bytes(size, "big")
    raise ValueError("no encoding")


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise AbortError("malformed", "too short")
    return data[at : at + size], at + size


def _number(data: bytes, at: int, size: int) -> tuple[int, int]:
    digits, at = _take(data, at, size)
    return int.from_bytes(digits, "big"), at


def _text(data: bytes, at: int) -> tuple[str, int]:
    try:
        return data.decode(), at
    except UnicodeDecodeError:
        raise AbortError("malformed", "a str that is not UTF-8") from None


def _array(data: bytes, at: int, size: int, depth: int) -> tuple[Value, int]:
    values = []
    for _ in range(size):
        value, at = unpack_at(data, at, depth + 1)
        values.append(value)
    return tuple(values), at

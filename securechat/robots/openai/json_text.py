"""JSON as servers write it."""

import json
from typing import Any

import msgspec

from securechat.errors import Fault, RobotError


def parse_json(data: bytes | str) -> Any:
    """Any JSON. RobotError (broken answer) if it is invalid."""
    try:
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Slower, but accepts NaN, and one half of a surrogate pair, whose other half is in the next chunk.
            return json.loads(data)
    except (ValueError, RecursionError):
        raise RobotError(Fault.BROKEN_ANSWER, "the response is not valid JSON") from None


def json_or_text(data: str) -> Any:
    """JSON, or the text itself if it is not valid JSON."""
    try:
        return parse_json(data)
    except RobotError:
        return data

"""When an overloaded server can be asked again: from the headers of a response, or from the text of an error."""

import math
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from twisted.web.http_headers import Headers

MAX_RETRY_AFTER: Final = 3600.0  # seconds; longer times are estimates that need not be believed

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Of a duration such as 6m0s or 20 seconds. It never backtracks: a series that is invalid could take hours otherwise.
_PART: Final = r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(?>(milli|ms\b|s|m|h|d))[a-z]*+"
_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}")
_DURATION: Final = re.compile(rf"(?:{_PART}[ ,]{{0,2}})+")
_IN_TEXT: Final = re.compile(
    rf'(?:(?:try again|retry)(?: again)? (?:in|after)|"retryDelay": ?") ?((?:{_PART}[ ,]{{0,2}})+)', re.IGNORECASE
)
_EPOCH: Final = 10**9  # seconds, or as many thousand milliseconds; larger numbers are times since 1970
_HEADERS: Final = (  # the first that is present and valid
    b"retry-after",
    b"x-ratelimit-reset-requests",
    b"x-ratelimit-reset-tokens",
    b"x-ratelimit-reset",
    b"ratelimit-reset",
)


def in_headers(headers: Headers) -> float | None:
    """Seconds, at most MAX_RETRY_AFTER; None if no header says so."""
    for value in headers.getRawHeaders(b"retry-after-ms", []):
        if _NUMBER.fullmatch(text := _text(value)):
            return _bounded(float(text) / 1000)
    for name in _HEADERS:
        for value in headers.getRawHeaders(name, []):
            if (seconds := in_value(value)) is not None:
                return seconds
    return None


def in_value(value: bytes) -> float | None:
    """Seconds, from a number, a duration such as ``6m0s`` or a date."""
    seconds = _seconds_in(value)
    return None if seconds is None else _bounded(seconds)


def to_pass_on(headers: Headers) -> int:
    """The header Retry-After in whole seconds, rounded up; 0 if there is none, or if its time has passed."""
    found = map(_seconds_in, headers.getRawHeaders(b"retry-after", []))
    return next((math.ceil(max(seconds, 0.0)) for seconds in found if seconds is not None), 0)


def _seconds_in(value: bytes) -> float | None:
    text = _text(value)
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        if seconds >= 1000 * _EPOCH:
            seconds /= 1000  # milliseconds
        return seconds - time.time() if seconds >= _EPOCH else seconds
    if _DURATION.fullmatch(text):
        return _duration(text)
    return _until(text)


def in_text(text: str) -> float | None:
    """Seconds, from an error's message, such as "try again in 20s"."""
    found = _IN_TEXT.search(text)
    return _bounded(_duration(found[1])) if found is not None else None


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip()


def _duration(text: str) -> float:
    return sum(float(number) * _SECONDS["ms" if unit == "milli" else unit] for number, unit in re.findall(_PART, text))


def _until(date: str) -> float | None:
    """Seconds until a date, of RFC 9110 (section 5.6.7) or ISO 8601; UTC if it has no time zone."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = parse(date)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            return moment.timestamp() - time.time()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)

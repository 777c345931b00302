"""The errors of OpenAI-compatible servers as faults, with a text for the operator."""

import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Final

from securechat.errors import Fault, RobotError
from securechat.i18n import _

MAX_RETRY_AFTER: Final = 3600.0  # seconds; longer times are estimates that need not be believed

# Servers put the kind of an error into a code, a type or only its message, so all of these are searched.
_MEANINGS: Final = (
    (
        Fault.TOO_LONG,
        re.compile(
            r"context_length_exceeded|exceed_context_size|string_above_max_length|request_too_large"
            r"|maximum context length|context (?:size|window|length)[^.]{0,40}exceed|exceeds?[^.]{0,40}context",
            re.IGNORECASE,
        ),
    ),
    (Fault.REFUSED, re.compile(r"content_filter|content_policy|ResponsibleAIPolicy", re.IGNORECASE)),
    (
        Fault.BUSY,
        re.compile(
            r"rate_limit|insufficient_quota|overloaded|unavailable_error|too_many_requests|loading model", re.IGNORECASE
        ),
    ),
    (Fault.REFUSED, re.compile(r"invalid_api_key|authentication_error|permission|not_found", re.IGNORECASE)),
)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_SEARCHED: Final = 2000  # characters of a message


def error_in(value: Any, status: int | None = None, retry_after: float | None = None) -> RobotError:
    """The meaning of an error object of any shape. `status` is that of the response, unless it was a success.

    The text for the operator contains the codes of the error but not its message, which may quote the conversation.
    """
    fields = _fields(value)
    fault = _fault(_status_in(fields) if status is None else status, " ".join(_words(fields)))
    codes = [text for name in ("code", "type", "status") if _TOKEN.fullmatch(text := str(fields.get(name) or ""))]
    detail = _("the server reported an error") if status is None else _("HTTP status {code}").format(code=status)
    if status in (401, 403):
        detail = _("{error}: the API key was rejected").format(error=detail)
    elif status is not None and 300 <= status < 400:
        text = _("{error}: redirects are not followed, because the API key is for this server only")
        detail = text.format(error=detail)
    if codes:
        detail += f" ({', '.join(dict.fromkeys(codes))})"
    return RobotError(fault, detail, retry_after if fault is Fault.BUSY else None)


def _fields(value: Any) -> dict[str, Any]:
    """The fields of an error: of ``{"error": {…}}``, ``{"error": "message"}``, ``{…}`` or just a message."""
    if isinstance(value, dict):
        inner = value.get("error")
        if isinstance(inner, dict):
            return inner
        return value if inner is None else value | {"message": inner}
    return {"message": value}


def _words(fields: dict[str, Any]) -> Iterator[str]:
    for name in ("code", "type", "status", "message", "detail"):
        value = fields.get(name)
        if isinstance(value, str | int):
            yield str(value)[:_MAX_SEARCHED]


def _status_in(fields: dict[str, Any]) -> int | None:
    """The HTTP status in the body of an error."""
    for name in ("code", "status"):
        code = fields.get(name)
        if isinstance(code, int | str) and re.fullmatch("[45][0-9][0-9]", str(code), re.ASCII):
            return int(code)
    return None


def _fault(status: int | None, words: str) -> Fault:
    if status in (401, 403):
        return Fault.REFUSED
    if status in (429, 503):
        return Fault.BUSY
    if status == 413:
        return Fault.TOO_LONG
    if status == 408:
        return Fault.TIMED_OUT
    for fault, pattern in _MEANINGS:
        if pattern.search(words):
            return fault
    return Fault.REFUSED if status is not None and 400 <= status < 500 else Fault.BROKEN_ANSWER


def retry_after(value: bytes) -> float | None:
    """Seconds, from the number or the date in a Retry-After header."""
    text = value.decode("latin-1").strip()
    if re.fullmatch("[0-9]{1,9}", text, re.ASCII):
        seconds = float(text)
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)

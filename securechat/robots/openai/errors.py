"""The errors of OpenAI-compatible servers as faults, with a text for the operator."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from securechat.errors import Fault, RobotError
from securechat.robots.openai import retry_after
from securechat.robots.openai.faults import fault_of, is_about_key, is_about_model

# The names of an error's fields, without underscores: codes, in the order in which they are logged, and other texts.
# No other field is searched, because it may quote the conversation.
_CODES: Final = ("code", "errorcode", "errcode", "statuscode", "type", "errortype", "status")
_TEXTS: Final = frozenset(
    {
        *("error", "errors", "message", "msg", "detail", "details", "description", "title", "reason", "cause"),
        *("errormessage", "errormsg", "errmsg", "errordescription", "statusmsg", "innererror", "baseresp"),
        *("metadata", "raw", "loc", "param"),
    }
)
_EXTRAS: Final = re.compile(
    r"stream_options|include_usage|\buser\b.{0,40}(?:not|unknown|extra|invalid|unsupported)|"
    r"extra.?(?:inputs?|fields?|forbidden|params?|parameters?)|additional.?propert|"
    r"(?:unknown|unrecognized|unexpected|unsupported|invalid).{0,20}(?:field|param|argument|key|propert|name)",
    re.IGNORECASE,
)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_STATUS: Final = re.compile("[45][0-9][0-9]", re.ASCII)
_MAX_SEARCHED: Final = 2000  # characters of one text
_MAX_NUMBER: Final = 10**18
_MAX_FIELDS: Final = 32
_MAX_DEPTH: Final = 5
_MAX_LOGGED: Final = 4  # codes


class ServerError(RobotError):
    """An error that a server reported."""

    is_about_key = False  # the server's own credentials were refused
    is_about_model = False  # it may not exist, or does not chat
    wants_max_completion_tokens = False  # instead of max_tokens
    refuses_extras = False  # it does not know a field, possibly one that is not needed


def error_in(value: Any, status: int | None = None, retry_seconds: float | None = None) -> ServerError:
    """The meaning of an error of any shape: an object, the list of one, or a text.

    `status` is that of the response, unless it was a success. The text for the operator contains the codes of the
    error but not its message, which may quote the conversation.
    """
    fields = list(islice(_fields("message", value, _MAX_DEPTH), _MAX_FIELDS))
    codes = [text for wanted in _CODES for name, text in fields if name == wanted]
    words = " ".join(text for _name, text in fields)
    meant = status if status is not None else next((int(code) for code in codes if _STATUS.fullmatch(code)), None)
    fault = fault_of(meant, words)
    detail = "the server reported an error" if status is None else f"HTTP status {status}"
    is_key_refused = meant in (401, 407) or (meant == 403 and is_about_key(words))
    if is_key_refused:
        detail = f"{detail}: the API key was rejected"
    elif meant is not None and 300 <= meant < 400:
        detail = f"{detail}: redirects are not followed, because the API key is for this server only"
    logged = [code for code in dict.fromkeys(codes) if _TOKEN.fullmatch(code) and code != "error"][:_MAX_LOGGED]
    if logged:
        detail += f" ({', '.join(logged)})"
    if fault is not Fault.BUSY:
        retry_seconds = None
    elif retry_seconds is None:
        retry_seconds = retry_after.in_text(words)
    error = ServerError(fault, detail, retry_seconds)
    error.is_about_key = is_key_refused
    error.is_about_model = fault is not Fault.TOO_LONG and (
        status == 404 or (status in (400, 422) and is_about_model(words))
    )
    error.refuses_extras = fault is Fault.REFUSED and status in (400, 422) and _EXTRAS.search(words) is not None
    error.wants_max_completion_tokens = fault is Fault.REFUSED and "max_completion_tokens" in words
    return error


def has_message(value: dict[str, Any]) -> bool:
    """Whether an object contains a message, as errors do."""
    return any(name not in _CODES for name, _text in _fields("", value, _MAX_DEPTH))


def _fields(name: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """The codes and texts in an error, with the names of their fields."""
    if isinstance(value, str):
        yield name, value[:_MAX_SEARCHED]
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_NUMBER:
        yield name, str(value)
    elif isinstance(value, list) and depth:
        for item in value:
            yield from _fields(name, item, depth - 1)
    elif isinstance(value, dict) and depth:
        for key, inner in value.items():
            plain = key.lower().replace("_", "").replace("-", "")
            if plain in _CODES or plain in _TEXTS:
                yield from _fields(plain, inner, depth - 1)

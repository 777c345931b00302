"""Errors of the local API: an HTTP status and a text for the user of the tool."""

from typing import Final

from msgspec import json

from securechat.client.explain import of_fault
from securechat.errors import Fault
from securechat.i18n import N_, _

Headers = tuple[tuple[str, str], ...]  # of a response

JSON_TYPE: Final = "application/json"

_BUSY_SECONDS: Final = 2  # Retry-After of an error that will pass: the server does not say when
_STATUS: Final = {  # of faults before the head (protocol, section 8, "Results"); Fault.CANCELLED has none
    Fault.UNREACHABLE: 502,
    Fault.REFUSED: 502,
    Fault.BROKEN_ANSWER: 502,
    Fault.TOO_LONG: 413,
    Fault.TIMED_OUT: 504,
    Fault.BUSY: 429,
    Fault.TOO_MANY_MESSAGES: 429,
    Fault.NOT_FOUND: 404,
    Fault.NOT_ALLOWED: 403,
    Fault.LIMIT_REACHED: 429,
}
_TEXTS: Final = {  # where those of a conversation would mislead
    Fault.REFUSED: N_("the robot cannot carry out this request; contact the server's operator if this persists"),
    Fault.TOO_LONG: N_("the request or its response is too long for the robot"),
    Fault.TOO_MANY_MESSAGES: N_("too many pending requests; wait for the responses, then try again"),
    Fault.CANCELLED: N_("the request was cancelled"),
}


class HttpError(Exception):
    """A request that is answered with an error. `code` is a name for programs, `headers` go into the response.

    No text quotes the request.
    """

    def __init__(self, status: int, message: str, code: str | None = None, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers


def passing_error(status: int, message: str, seconds: int = _BUSY_SECONDS) -> HttpError:
    """An error with Retry-After, unless `seconds` is 0."""
    return HttpError(status, message, headers=(("Retry-After", str(seconds)),) if seconds else ())


def error_of_fault(fault: Fault, *, has_begun: bool) -> HttpError:
    """The error that reports a FAULT; `has_begun` if it ends a response."""
    status = _STATUS.get(fault, 500)
    message = _(_TEXTS[fault]) if fault in _TEXTS else of_fault(fault, has_begun=False)
    if has_begun:
        message = _("the response is incomplete: {reason}").format(reason=message)
    return passing_error(status, message) if status == 429 else HttpError(status, message)


def openai_error(error: HttpError) -> bytes:
    """An error in the format of OpenAI's interface."""
    if error.status >= 500:
        kind = "server_error"
    else:
        kind = "rate_limit_error" if error.status == 429 else "invalid_request_error"
    return json.encode({"error": {"message": error.message, "type": kind, "param": None, "code": error.code}})

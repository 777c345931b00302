"""Responses with a status other than success."""

from typing import Final, NamedTuple

from twisted.internet.interfaces import IReactorTime

from securechat.errors import Fault, RobotError
from securechat.robots.http.response import Response
from securechat.robots.http.time_budget import TimeBudget
from securechat.robots.openai import retry_after
from securechat.robots.openai.errors import ServerError, error_in
from securechat.robots.openai.json_text import json_or_text

MAX_ERROR: Final = 64 * 1024  # bytes

_KNOWN_BY_STATUS: Final = (401, 429, 503)  # a page with one of these means what the status says


class ErrorResponse(NamedTuple):
    """What an error response means, and its body."""

    error: ServerError
    body: bytes | None  # None if it is a web page, is too large, or was truncated
    is_page: bool


def is_html(response: Response, body: bytes) -> bool:
    """Whether the response is a web page, such as that of a proxy."""
    kinds = response.headers.getRawHeaders(b"content-type") or [b""]
    return kinds[0].lower().startswith(b"text/html") or body.lstrip()[:1] == b"<"


async def read_error(reactor: IReactorTime, response: Response, timeout: float) -> ErrorResponse:
    """Read an error response, whose body is useful but not required, and close it. `timeout` is in seconds."""
    try:
        body: bytes | None = await TimeBudget(reactor, timeout).wait(response.read_all(MAX_ERROR))
    except RobotError:
        body = None
    is_page = is_html(response, body or b"")
    value = json_or_text(body.decode(errors="replace")) if body is not None and not is_page else None
    error = error_in(value, response.code, retry_after.in_headers(response.headers))
    if is_page and response.code not in _KNOWN_BY_STATUS:
        error = ServerError(Fault.BROKEN_ANSWER, f"{error}: an HTML page instead of an API response")
    return ErrorResponse(error, None if is_page else body, is_page)

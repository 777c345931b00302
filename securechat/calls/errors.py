"""Errors in the format of the API."""

from typing import Final

from msgspec import json

INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"
RATE_LIMIT: Final = "rate_limit_error"


def api_error(message: str, param: str | None = None, code: str | None = None, *, kind: str = INVALID_REQUEST) -> bytes:
    """The body of a response that says what is wrong with a request; `param` is the key or part that is wrong."""
    return json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})

"""Errors in the format of the API."""

from msgspec import json


def api_error(message: str, param: str | None = None, code: str | None = None) -> bytes:
    """The body of a response that says what is wrong with a request; `param` is the key or part that is wrong."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return json.encode({"error": error})

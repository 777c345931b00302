"""Responses to API requests that are made here, not by a robot's server."""

from securechat.wire.items import JSON_TYPE, Head, Item, Piece


def json_response(status: int, body: bytes, retry_after: int = 0) -> list[Item]:
    """A response with a body in JSON, as the items of a RESULT. `retry_after` is in seconds; 0 if it is not known."""
    return [Head(status, JSON_TYPE, retry_after), Piece(body)]

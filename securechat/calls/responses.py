"""Responses to API requests that are made here, not by a robot's server."""

from securechat.wire.items import JSON_TYPE, Head, Item, Piece


def json_response(status: int, body: bytes) -> list[Item]:
    """A response with a body in JSON, as the items of a RESULT."""
    return [Head(status, JSON_TYPE), Piece(body)]

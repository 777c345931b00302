"""What comes of a body that comes in pieces: its events, and the reply in it."""

from itertools import pairwise

from securechat.errors import RobotError
from securechat.robots.openai.messages import Reply
from securechat.robots.openai.sse import EventStream

Found = list[tuple[str, str] | str]


def events(*pieces: bytes) -> Found:
    """The events of a stream that comes in these pieces; its fault, if it has one, is the last."""
    stream = EventStream()
    found: Found = []
    try:
        for piece in pieces:
            for event in stream.feed(piece):
                found.append((event.type, event.data))
        found += [(event.type, event.data) for event in stream.end()]
    except RobotError as error:
        found.append(error.fault.name)
    return found


def texts(*pieces: bytes) -> list[str]:
    """The data of the events."""
    return [event if isinstance(event, str) else event[1] for event in events(*pieces)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


def read(*pieces: bytes) -> tuple[str, str]:
    """The text of a body that comes in these pieces, and how it ends."""
    reply = Reply()
    text = ""
    try:
        for piece in pieces:
            for part in reply.feed(piece):
                text += part
        for part in reply.end():
            text += part
    except RobotError as error:
        return text, f"{error.fault.name}: {error}"
    return text, "well"

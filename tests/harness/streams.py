"""Parses bodies that arrive in pieces."""

from itertools import pairwise

from securechat.errors import RobotError
from securechat.robots.openai.reply import Reply
from securechat.robots.openai.sse import EventStream

Found = list[tuple[str, str] | str]


def events(*pieces: bytes) -> Found:
    """The events of a stream in these pieces; the last one is the fault, if there is one."""
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
    """The data of the events of a stream."""
    return [event if isinstance(event, str) else event[1] for event in events(*pieces)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data`, cut at these places."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


def read(*pieces: bytes) -> tuple[str, str]:
    """The text of a reply whose body arrives in these pieces, and its fault or "well"."""
    reply = Reply()
    text = ""
    try:
        for piece in pieces:
            for part in reply.feed(piece):
                text += part
        for part in reply.end():
            text += part
    except RobotError as error:
        return text + reply.rest(), f"{error.fault.name}: {error}"
    return text, "well"

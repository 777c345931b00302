"""The forms in which a batch writes replies: text, or a line of JSON for each."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from securechat.client.sanitize import sanitize_line
from securechat.errors import Fault
from securechat.wire.events import Admitted

MAX_REPLY: Final = 16 * 1024 * 1024  # characters of a reply that is kept until it ends


class Format(Protocol):
    """Turns what is received into the text to be written."""

    limit: int | None  # characters of a reply

    def admitted(self, about: Admitted) -> None:
        """The session has begun."""

    def sent(self, message_id: int) -> None:
        """A message was sent."""

    def piece(self, message_id: int, text: str) -> str:
        """A part of a reply was received, possibly empty."""

    def end(self, message_id: int) -> str:
        """A reply is complete."""

    def cut(self, message_id: int, fault: Fault | None) -> str:
        """A reply failed, or, without a fault, the connection was lost before its end."""


class TextFormat:
    """The text alone, without control characters; each reply ends with a newline."""

    limit: int | None = None

    def __init__(self) -> None:
        self._last = ""  # character of the incomplete reply

    def admitted(self, about: Admitted) -> None:
        """The text does not depend on the session."""

    def sent(self, message_id: int) -> None:
        """Nor on the message."""

    def piece(self, message_id: int, text: str) -> str:
        self._last = (self._last + text)[-1:]
        return text

    def end(self, message_id: int) -> str:
        last, self._last = self._last, ""
        return "" if last == "\n" else "\n"

    def cut(self, message_id: int, fault: Fault | None) -> str:
        last, self._last = self._last, ""
        return "\n" if last and last != "\n" else ""


@dataclass
class _Reply:
    since: float  # when the message was sent
    pieces: list[str] = field(default_factory=list)


class JsonFormat:
    """A JSON object for each message, on a line, when its reply has ended.

    The text is that of the robot; characters that a terminal would obey are escaped.
    """

    limit: int | None = MAX_REPLY

    _about: Admitted  # from `admitted` on

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._replies: dict[int, _Reply] = {}

    def admitted(self, about: Admitted) -> None:
        self._about = about

    def sent(self, message_id: int) -> None:
        self._replies[message_id] = _Reply(self._seconds())

    def piece(self, message_id: int, text: str) -> str:
        self._replies[message_id].pieces.append(text)
        return ""

    def end(self, message_id: int) -> str:
        return self._object(message_id, cut=False, fault=None)

    def cut(self, message_id: int, fault: Fault | None) -> str:
        return self._object(message_id, cut=True, fault="disconnected" if fault is None else _name(fault))

    def _object(self, message_id: int, *, cut: bool, fault: str | None) -> str:
        reply = self._replies.pop(message_id)
        values = {
            "id": message_id,
            "text": "".join(reply.pieces),
            "robot": self._about.robot,
            "user": self._about.user or None,
            "seconds": round(self._seconds() - reply.since, 3),
            "cut": cut,
            "fault": fault,
        }
        return _escaped(json.dumps(values, ensure_ascii=False)) + "\n"


def _name(fault: Fault) -> str:
    return fault.name.lower().replace("_", "-")


def _escaped(text: str) -> str:
    """JSON in which characters that are not safe on a terminal are escaped."""
    if sanitize_line(text) == text:
        return text
    return "".join(letter if sanitize_line(letter) == letter else json.dumps(letter)[1:-1] for letter in text)

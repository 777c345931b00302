"""How far a stream of events has come, as far as its events say."""

from typing import Final

from securechat.errors import Fault, RobotError
from securechat.robots.openai.chunks import is_progress
from securechat.robots.openai.json_text import json_or_text
from securechat.robots.openai.raw_events import DONE
from securechat.wire.items import ServerEvent

_LAST: Final = ("response.completed", "response.incomplete", "response.failed", "error")  # of `responses`


class Progress:
    """What is known about one stream."""

    def __init__(self) -> None:
        self.has_begun = False  # the model is working; before that, servers send the role and other announcements
        self.is_done = False  # [DONE] has arrived
        self._last: ServerEvent | None = None

    @property
    def is_complete(self) -> bool:
        """Whether only the end of the stream is missing."""
        return self.is_done or (self._last is not None and self._last.name in _LAST)

    def add(self, event: ServerEvent) -> None:
        """Take note of the next event."""
        self._last = event
        if event.data == DONE:
            self.is_done = True
        elif not self.has_begun:
            self.has_begun = not _is_announcement(event.data)

    def end(self) -> None:
        """The stream has ended. RobotError (broken answer) unless its last event is one that ends a stream.

        An error is, too: the tool knows from it that nothing more comes.
        """
        if not (self.is_complete or (self._last is not None and _is_last(self._last.data))):
            raise RobotError(Fault.BROKEN_ANSWER, "the response was truncated")


def _is_announcement(data: bytes) -> bool:
    """Whether an event contains nothing that a model has generated."""
    value = json_or_text(data.decode(errors="replace"))
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    if isinstance(kind, str) and kind.startswith("response."):
        return not kind.endswith(".delta")
    choices = value.get("choices")
    return isinstance(choices, list) and not any(map(_has_content, choices))


def _has_content(choice: object) -> bool:
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    return bool(choice.get("text") or choice.get("finish_reason") or (isinstance(delta, dict) and is_progress(delta)))


def _is_last(data: bytes) -> bool:
    """Whether an event without a name says that the stream ends."""
    value = json_or_text(data.decode(errors="replace"))
    return isinstance(value, dict) and bool(value.get("error") or value.get("type") in _LAST)

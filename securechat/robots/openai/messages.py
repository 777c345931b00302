"""What an OpenAI-compatible server is asked, and what it says: chunks, whole answers and errors.

Every server has its own idea of the format. So of what comes only the shape of what is used is looked at, and whatever
else is there, missing or null does not matter.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from securechat.conversation import Notice, Speaker, Turn
from securechat.errors import Fault, RobotError
from securechat.i18n import _
from securechat.robots.openai.errors import error_in
from securechat.robots.openai.sse import DONE, ERROR, Event, EventStream
from securechat.robots.openai.visible_text import VisibleText

MAX_WHOLE: Final = 4 * 1024 * 1024  # bytes of an answer that is no stream

ABORTED: Final = frozenset({"abort", "aborted", "cancelled", "canceled", "error"})  # ends that are no success
LENGTH: Final = frozenset({"length", "max_tokens", "model_length"})  # some gateways pass their upstream's words on

# Where there may be something that is no text: that the model is at work is all that matters of it.
_THOUGHTS: Final = ("content", "reasoning", "reasoning_content", "reasoning_details", "tool_calls")
_BEFORE: Final = b" \t\r\n\xef\xbb\xbf"  # what may stand before a body's first character


def request(
    model: str,
    turns: Sequence[Turn],
    *,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    stream: bool = True,
) -> bytes:
    """The JSON of a question. Only what was configured is in it: strict servers refuse what they do not know."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [
        {"role": "user" if turn.speaker is Speaker.USER else "assistant", "content": turn.text} for turn in turns
    ]
    body: dict[str, Any] = {"model": model, "messages": messages}
    if temperature is not None:
        body["temperature"] = temperature
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    if stream:
        body["stream"] = True
    return json.dumps(body, ensure_ascii=True).encode("ascii")


def parse_json(data: bytes | str) -> Any:
    """Any JSON; RobotError (broken answer) if it is none."""
    try:
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Slower, but it takes halves of surrogate pairs, whose other half is in the next chunk, and NaN.
            return json.loads(data)
    except (ValueError, RecursionError):
        raise RobotError(Fault.BROKEN_ANSWER, _("the answer is no JSON")) from None


def model_names(data: bytes) -> list[str]:
    """The models that a server lists; RobotError (broken answer) if it is no list of models."""
    found = parse_json(data)
    models = found.get("data") if isinstance(found, dict) else None
    if not isinstance(models, list):
        raise RobotError(Fault.BROKEN_ANSWER, _("the answer is no list of models"))
    names = [model.get("id") for model in models if isinstance(model, dict)]
    return [name for name in names if isinstance(name, str) and name]


class Reply:
    """The reply of one answer, be it a stream of events or one JSON object, whichever the server chose to send.

    `feed` and `end` give text for the user; they raise RobotError, also after they gave some.
    """

    def __init__(self) -> None:
        self.tokens = 0  # chunks that had something, also thoughts: they tell that the model is at work
        self.is_over = False  # the server said that all is said
        self.finish_reason: str | None = None  # how the model's turn ended
        self._visible = VisibleText()
        self._has_text = False
        self._events: EventStream | None = None
        self._whole: bytearray | None = None

    def feed(self, data: bytes) -> Iterator[str]:
        """The texts in the next bytes of the body. Take them all: what is not taken is not read."""
        if self.is_over:
            return
        if self._events is None and self._whole is None:
            data = data.lstrip(_BEFORE)
            if not data:
                return
            # The first character tells more than the content type does: servers and proxies get that wrong.
            if data[:1] == b"<":
                raise RobotError(Fault.BROKEN_ANSWER, _("the answer is a page in HTML"))
            if data[:1] == b"{":
                self._whole = bytearray()
            else:
                self._events = EventStream()
        if self._whole is not None:
            self._whole += data
            if len(self._whole) > MAX_WHOLE:
                raise RobotError(Fault.BROKEN_ANSWER, _("the answer is too large"))
        elif self._events is not None:
            for event in self._events.feed(data):
                yield from self._event(event)
                if self.is_over:
                    return

    def end(self) -> Iterator[str]:
        """The body is over, or was left: the last text, and what the user should know of the end.

        RobotError if there is no reply, or not all of it.
        """
        if self._whole is not None:
            yield from self._object(parse_json(bytes(self._whole)))
        elif self._events is not None:
            for event in self._events.end():
                yield from self._event(event)
        yield from self._text(self._visible.end())
        yield from self._judge()

    def _judge(self) -> Iterator[str]:
        if self.finish_reason is None:
            raise RobotError(
                Fault.BROKEN_ANSWER, _("the reply was aborted") if self.is_over else _("the reply was cut")
            )
        if self.finish_reason in ABORTED:
            raise RobotError(Fault.BROKEN_ANSWER, _("the reply was aborted"))
        if self.finish_reason == "content_filter":
            raise RobotError(Fault.REFUSED, _("a content filter ended the reply"))
        if self.finish_reason in LENGTH:
            if not self._has_text:
                raise RobotError(Fault.TOO_LONG, _("no room was left for the reply"))
            # What there is is worth remembering, so that the user can ask to go on: no fault.
            yield Notice("\n" + _("[The reply ends here: it may not be longer. You can ask to go on.]"))
        elif not self._has_text:
            thoughts = self.tokens > 1
            raise RobotError(
                Fault.BROKEN_ANSWER, _("the reply is nothing but thoughts") if thoughts else _("the reply is empty")
            )

    def _event(self, event: Event) -> Iterator[str]:
        if self.is_over:
            return
        if event.type == ERROR:
            raise error_in(_lenient(event.data))
        if event.data.strip() == DONE:
            self.is_over = True
        elif event.data.strip():
            yield from self._object(parse_json(event.data))

    def _object(self, value: Any) -> Iterator[str]:
        """A chunk, a whole answer, or an error."""
        if not isinstance(value, dict):
            raise RobotError(Fault.BROKEN_ANSWER, _("the answer is not the API's JSON"))
        if value.get("error") or ("choices" not in value and _is_error(value)):
            raise error_in(value)
        for choice in _choices(value):
            message = choice.get("delta") or choice.get("message")
            message = message if isinstance(message, dict) else {}
            text = _content(message.get("content")) or _content(message.get("refusal")) or _content(choice.get("text"))
            thought = any(message.get(name) for name in _THOUGHTS)
            finish = choice.get("finish_reason")
            self.tokens += bool(text or thought or finish)
            if text:
                yield from self._text(self._visible.feed(text))
            if isinstance(finish, str) and finish:  # an empty one means nothing
                self.finish_reason = finish

    def _text(self, text: str) -> Iterator[str]:
        if text:
            self._has_text = True
            yield text


def _choices(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The first choice, as one element or none: others were not asked for."""
    choices = value.get("choices")
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    return [choice for choice in found if not choice.get("index")][:1]


def _content(content: Any) -> str:
    """Text, or a list of parts of which some are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
        return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    return ""


def _is_error(value: dict[str, Any]) -> bool:
    return value.get("object") == "error" or bool(value.get("detail") or value.get("message"))


def _lenient(data: str) -> Any:
    try:
        return parse_json(data)
    except RobotError:
        return None

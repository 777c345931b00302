"""Requests to OpenAI-compatible servers, and their responses: streams of chunks, whole replies and lists of models.

The formats of servers differ in many ways. Only those fields that are used are checked; everything else may be present,
missing or null.
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

MAX_WHOLE: Final = 4 * 1024 * 1024  # bytes of a response that is not streamed

ABORTED: Final = frozenset({"abort", "aborted", "cancelled", "canceled", "error"})  # finish reasons that are failures
LENGTH: Final = frozenset({"length", "max_tokens", "model_length"})  # the latter two from gateways

# Fields other than visible text, whose values do not matter: they show that the model is working.
_PROGRESS: Final = ("content", "reasoning", "reasoning_content", "reasoning_details", "tool_calls")
_LEADING: Final = b" \t\r\n\xef\xbb\xbf"  # white space and byte order mark before a body


def request(
    model: str,
    turns: Sequence[Turn],
    *,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    stream: bool = True,
) -> bytes:
    """The JSON of a request. Optional fields are left out unless configured: strict servers reject unknown fields."""
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
    """Any JSON. RobotError (broken answer) if it is invalid."""
    try:
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Slower, but accepts NaN, and one half of a surrogate pair, whose other half is in the next chunk.
            return json.loads(data)
    except (ValueError, RecursionError):
        raise RobotError(Fault.BROKEN_ANSWER, _("the response is not valid JSON")) from None


def model_names(data: bytes) -> list[str]:
    """The names in a list of models. RobotError (broken answer) if it is invalid."""
    found = parse_json(data)
    models = found.get("data") if isinstance(found, dict) else None
    if not isinstance(models, list):
        raise RobotError(Fault.BROKEN_ANSWER, _("the response is not a list of models"))
    names = [model.get("id") for model in models if isinstance(model, dict)]
    return [name for name in names if isinstance(name, str) and name]


class Reply:
    """Parses the body of a response: an event stream or one JSON object, whichever the server sends.

    `feed` and `end` return text for the user, and raise RobotError, possibly after some text.
    """

    def __init__(self) -> None:
        self.tokens = 0  # chunks with text or reasoning, which show that the model is working
        self.finish_reason: str | None = None
        self._done = False  # [DONE] has arrived
        self._visible = VisibleText()
        self._has_text = False
        self._events: EventStream | None = None
        self._whole: bytearray | None = None

    @property
    def is_complete(self) -> bool:
        """Whether only the end of the body is missing."""
        return self._done or self.finish_reason is not None

    def feed(self, data: bytes) -> Iterator[str]:
        """The text in the next bytes of the body. They are parsed as the iterator is advanced: exhaust it."""
        if self._done:
            return
        if self._events is None and self._whole is None:
            data = data.lstrip(_LEADING)
            if not data:
                return
            # Servers and proxies send wrong content types; the first character is more reliable.
            if data[:1] == b"<":
                raise RobotError(Fault.BROKEN_ANSWER, _("the response is an HTML page"))
            if data[:1] == b"{":
                self._whole = bytearray()
            else:
                self._events = EventStream()
        if self._whole is not None:
            self._whole += data
            if len(self._whole) > MAX_WHOLE:
                raise RobotError(Fault.BROKEN_ANSWER, _("the response is too large"))
        elif self._events is not None:
            for event in self._events.feed(data):
                yield from self._event(event)
                if self._done:
                    return

    def end(self) -> Iterator[str]:
        """The end of the body: the rest of the text, and a notice if the reply reached its maximum length.

        RobotError if there is no reply, or if it is incomplete.
        """
        if self._whole is not None:
            yield from self._object(parse_json(bytes(self._whole)))
        elif self._events is not None:
            for event in self._events.end():
                yield from self._event(event)
        yield from self._text(self._visible.end())
        yield from self._check_end()

    def _check_end(self) -> Iterator[str]:
        if self.finish_reason is None:
            raise RobotError(
                Fault.BROKEN_ANSWER, _("the server aborted the reply") if self._done else _("the reply was truncated")
            )
        if self.finish_reason in ABORTED:
            raise RobotError(Fault.BROKEN_ANSWER, _("the server aborted the reply"))
        if self.finish_reason == "content_filter":
            raise RobotError(Fault.REFUSED, _("a content filter stopped the reply"))
        if self.finish_reason in LENGTH:
            if not self._has_text:
                raise RobotError(Fault.TOO_LONG, _("the maximum length was reached before the reply began"))
            # Not a fault: the conversation has to remember the reply, so that the user can ask for the rest.
            yield Notice("\n" + _("[The reply has reached its maximum length. You can ask the robot to continue.]"))
        elif not self._has_text:
            only_reasoning = self.tokens > 1
            raise RobotError(
                Fault.BROKEN_ANSWER,
                _("the reply contains only reasoning") if only_reasoning else _("the reply is empty"),
            )

    def _event(self, event: Event) -> Iterator[str]:
        if event.type == ERROR:
            raise error_in(_json_or_none(event.data))
        if event.data.strip() == DONE:
            self._done = True
        elif event.data.strip():
            yield from self._object(parse_json(event.data))

    def _object(self, value: Any) -> Iterator[str]:
        """A chunk, a whole reply or an error."""
        if not isinstance(value, dict):
            raise RobotError(Fault.BROKEN_ANSWER, _("unexpected JSON in the response"))
        if value.get("error") or ("choices" not in value and _is_error(value)):
            raise error_in(value)
        for choice in _choices(value):
            message = choice.get("delta") or choice.get("message")
            message = message if isinstance(message, dict) else {}
            text = _content(message.get("content")) or _content(message.get("refusal")) or _content(choice.get("text"))
            progress = any(message.get(name) for name in _PROGRESS)
            finish = choice.get("finish_reason")
            self.tokens += bool(text or progress or finish)
            if text:
                yield from self._text(self._visible.feed(text))
            if isinstance(finish, str) and finish:  # some servers send an empty one in each chunk
                self.finish_reason = finish

    def _text(self, text: str) -> Iterator[str]:
        if text:
            self._has_text = True
            yield text


def _choices(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The choice with index 0, if there is one; the request does not ask for more."""
    choices = value.get("choices")
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    return [choice for choice in found if not choice.get("index")][:1]


def _content(content: Any) -> str:
    """Text, or the parts of a list that are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
        return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    return ""


def _is_error(value: dict[str, Any]) -> bool:
    return value.get("object") == "error" or bool(value.get("detail") or value.get("message"))


def _json_or_none(data: str) -> Any:
    try:
        return parse_json(data)
    except RobotError:
        return None

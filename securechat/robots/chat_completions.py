"""Requests to `chat/completions` as conversations, and replies as its responses."""

import os
import time
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

from msgspec import Meta, MsgspecError, Struct, json

from securechat.calls.bodies import Body
from securechat.conversation import Speaker, Turn
from securechat.i18n import _
from securechat.wire.items import ServerEvent

TOKEN_SIZE: Final = 4  # bytes of UTF-8, on average: a rough estimate for all languages
MAX_PROBLEM: Final = 200  # characters: a problem may quote a value

Count = Annotated[int, Meta(ge=1)]
Kind = TypeVar("Kind")


class InvalidRequestError(ValueError):
    """A request that cannot be answered (status 400); the text says why."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class _Part(Struct):
    type: str
    text: str = ""


class _Message(Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None


class _StreamOptions(Struct):
    include_usage: bool | None = None


class ChatRequest(NamedTuple):
    """What a robot needs to know of a request."""

    turns: list[Turn]  # the last is of the user
    is_streamed: bool
    includes_usage: bool  # a stream ends with the number of tokens
    max_size: int | None  # bytes of the reply

    @classmethod
    def read(cls, body: Body) -> "ChatRequest":
        """The request in a body; InvalidRequestError. Keys that no robot here knows are ignored."""
        turns = _turns(_read(body, "messages", list[_Message]) or [])
        if _read(body, "n", int) not in (None, 1):
            raise InvalidRequestError("n", _("n: this robot gives one reply"))
        options = _read(body, "stream_options", _StreamOptions)
        limit = _read(body, "max_completion_tokens", Count) or _read(body, "max_tokens", Count)
        return cls(
            turns,
            bool(_read(body, "stream", bool)),
            bool(options and options.include_usage),
            limit and limit * TOKEN_SIZE,
        )


def _read(body: Body, key: str, kind: type[Kind]) -> Kind | None:
    """The value of a key; None if it is missing or null."""
    try:
        return json.decode(body.written(key) or "null", type=kind | None)
    except (MsgspecError, RecursionError) as error:
        problem = str(error)[:MAX_PROBLEM].replace("`$", f"`{key}")
        raise InvalidRequestError(key, _("{key}: {problem}").format(key=key, problem=problem)) from None


def _turns(messages: list[_Message]) -> list[Turn]:
    """A conversation. What is neither the user's nor the robot's, such as a system prompt, is a turn of the user."""
    turns = []
    for number, message in enumerate(messages):
        speaker = Speaker.ROBOT if message.role == "assistant" else Speaker.USER
        text = _text(message.content, f"messages[{number}]")
        if text or speaker is Speaker.USER:  # a robot's turn without text only called tools
            turns.append(Turn(speaker, text))
    if not messages:
        raise InvalidRequestError("messages", _("messages: expected at least one"))
    if messages[-1].role == "assistant":
        raise InvalidRequestError("messages", _("messages: the last one has to be the user's"))
    return turns


def _text(content: str | list[_Part] | None, place: str) -> str:
    if not isinstance(content, list):
        return content or ""
    if any(part.type not in ("text", "input_text", "refusal") for part in content):
        raise InvalidRequestError("messages", _("{place}: this robot reads text only").format(place=place))
    return "\n".join(part.text for part in content)


def tokens_in(size: int) -> int:
    """The approximate number of tokens in a text of `size` bytes."""
    return -(-size // TOKEN_SIZE)


class Completion:
    """One reply in the API's format."""

    def __init__(self, model: str, request: ChatRequest) -> None:
        self.size = 0  # bytes of the text so far
        self._request = request
        self._id = f"chatcmpl-{os.urandom(12).hex()}"
        self._created = int(time.time())
        self._model = model
        self._finish_reason = "stop"

    def cut(self, text: str) -> str:
        """The next part of the text, or as much of it as the request allows."""
        data = text.encode(errors="replace")
        limit = self._request.max_size
        if limit is not None and self.size + len(data) > limit:
            data = data[: limit - self.size]
            self._finish_reason = "length"
        self.size += len(data)
        return data.decode(errors="ignore")

    @property
    def is_cut(self) -> bool:
        """Whether no more text is allowed."""
        return self._finish_reason == "length"

    def first(self) -> ServerEvent:
        """The event that a stream begins with."""
        return self._chunk([self._delta({"role": "assistant", "content": ""})])

    def part(self, text: str) -> ServerEvent:
        """The event with a part of the text."""
        return self._chunk([self._delta({"content": text})])

    def end(self) -> list[ServerEvent]:
        """The events that a stream ends with."""
        events = [self._chunk([self._delta({}, self._finish_reason)])]
        if self._request.includes_usage:
            events.append(self._chunk([], usage=self._usage()))
        return [*events, ServerEvent("", b"[DONE]")]

    def whole(self, text: str) -> bytes:
        """The whole response."""
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason}
        return json.encode(self._fields("chat.completion", [choice]) | {"usage": self._usage()})

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> ServerEvent:
        return ServerEvent("", json.encode(self._fields("chat.completion.chunk", choices) | more))

    @staticmethod
    def _delta(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "finish_reason": finish_reason}

    def _fields(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model, "choices": choices}

    def _usage(self) -> dict[str, int]:
        """Estimates: robots do not count tokens."""
        asked = tokens_in(sum(len(turn.text.encode()) for turn in self._request.turns))
        answered = tokens_in(self.size)
        return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}

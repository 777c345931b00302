"""Replies as Ollama writes them: objects of which each is one line of a stream, or the whole response."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType, json

from securechat.client.api.ollama.reply import NOTHING, Part, Reply
from securechat.client.api.ollama.responses import invalid_response
from securechat.client.api.ollama.tool_calls import ToolCall

_NANOSECONDS: Final = 1_000_000_000  # in a second


class _Message(Struct, omit_defaults=True):
    role: str
    content: str
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


class _Object(Struct, omit_defaults=True, kw_only=True):
    """The fields of all objects. Durations are in nanoseconds."""

    model: str
    created_at: datetime
    message: _Message | UnsetType = UNSET  # of /api/chat
    response: str | UnsetType = UNSET  # of /api/generate
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[Any, ...] = ()
    done: bool
    done_reason: str = ""
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET


class Lines:
    """Writes one reply. Objects end in LF, so that they can be the lines of a stream."""

    def __init__(self, model: str, *, is_chat: bool, now: Callable[[], float]) -> None:
        """`is_chat` for /api/chat, else /api/generate; `now` is in seconds since 1970.

        All methods but `loaded` may raise HttpError.
        """
        self._model = model
        self._is_chat = is_chat
        self._now = now
        self._began = now()
        self._first: float | None = None  # when the first part was written

    def part(self, part: Part) -> bytes:
        """An object with part of the reply."""
        if self._first is None:
            self._first = self._now()
        return self._write(self._object(part))

    def nothing(self) -> bytes:
        """An object without text, which tools ignore."""
        return self._write(self._object(NOTHING))

    def last(self, reply: Reply, part: Part = NOTHING) -> bytes:
        """The last object, with the rest of the reply or all of it."""
        end = self._now()
        first = self._began if self._first is None else self._first
        written = self._object(part)
        written.done = True
        written.done_reason = reply.done_reason
        written.total_duration = _duration(self._began, end)
        written.load_duration = 0
        written.prompt_eval_duration = _duration(self._began, first)
        written.eval_duration = _duration(first, end)
        if reply.usage.prompt_tokens is not None:
            written.prompt_eval_count = reply.usage.prompt_tokens
        if reply.usage.completion_tokens is not None:
            written.eval_count = reply.usage.completion_tokens
        return self._write(written)

    def loaded(self) -> bytes:
        """The response to a request without messages, which tools send to load a model."""
        written = self._object(NOTHING)
        written.done = True
        written.done_reason = "load"
        return self._write(written)

    def _object(self, part: Part) -> _Object:
        text, thinking, tool_calls, logprobs = part
        created_at = datetime.fromtimestamp(self._now(), UTC)
        if self._is_chat:
            message = _Message("assistant", text, thinking, tool_calls)
            return _Object(model=self._model, created_at=created_at, message=message, logprobs=logprobs, done=False)
        return _Object(
            model=self._model,
            created_at=created_at,
            response=text,
            thinking=thinking,
            tool_calls=tool_calls,
            logprobs=logprobs,
            done=False,
        )

    def _write(self, written: _Object) -> bytes:
        try:
            return json.encode(written) + b"\n"
        except UnicodeEncodeError:  # half of a character where it is not expected
            raise invalid_response() from None


def _duration(start: float, end: float) -> int:
    """Nanoseconds; 0 if the clock was set back."""
    return max(0, round((end - start) * _NANOSECONDS))

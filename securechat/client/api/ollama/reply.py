"""A reply of the model, read from OpenAI's chunks or from a response in one piece."""

from typing import Any, Final, NamedTuple

from securechat.client.api.errors import HttpError
from securechat.client.api.ollama.characters import Characters
from securechat.client.api.ollama.responses import Choice, Completion, Delta, Usage, decode_response, message_in
from securechat.client.api.ollama.tool_calls import ToolCall, ToolCalls
from securechat.i18n import _

_END: Final = b"[DONE]"  # the data of the event after the last chunk
_CUT: Final = "length"


class Part(NamedTuple):
    """A part of a reply."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[Any, ...] = ()


NOTHING: Final = Part()


class Reply:
    """Reads one reply. Tool calls are returned by `end`, because their arguments are complete only then."""

    def __init__(self, *, shows_thinking: bool) -> None:
        """Unless it `shows_thinking`, the model's reasoning is left out."""
        self.usage = Usage()
        self._shows_thinking = shows_thinking
        self._finish_reason = ""
        self._has_end = False
        self._text = Characters()
        self._thinking = Characters()
        self._tool_calls = ToolCalls()

    @property
    def done_reason(self) -> str:
        """Why the reply has ended. Ollama has no reason of its own for tool calls."""
        return "stop" if self._finish_reason in ("", "tool_calls", "function_call") else self._finish_reason

    def feed(self, data: bytes) -> Part:
        """Read a chunk; HttpError if it is an error or not valid."""
        if data == _END:
            self._has_end = True
            return NOTHING
        chunk = decode_response(data, Completion)
        if chunk.error:
            raise HttpError(502, message_in(chunk.error) or _("the server reported an error"))
        self.usage = chunk.usage or self.usage
        choice = next((choice for choice in chunk.choices or () if not choice.index), None)
        return NOTHING if choice is None else self._read(choice)

    def end(self) -> Part:
        """The rest of the reply; HttpError if the reply is incomplete."""
        if not (self._finish_reason or self._has_end):
            raise HttpError(502, _("the server's response is incomplete"))
        calls = self._tool_calls.take(is_cut=self._finish_reason == _CUT)
        return Part(self._text.end(), self._thinking.end() if self._shows_thinking else "", calls)

    def whole(self, data: bytes) -> Part:
        """Read a response in one piece; HttpError as in `feed`."""
        part = self.feed(data)
        self._has_end = True
        rest = self.end()
        return Part(part.text + rest.text, part.thinking + rest.thinking, rest.tool_calls, part.logprobs)

    def _read(self, choice: Choice) -> Part:
        delta = choice.delta or choice.message or Delta()
        if delta.tool_calls:
            self._tool_calls.feed(delta.tool_calls)
        self._finish_reason = choice.finish_reason or self._finish_reason
        text = self._text.feed(choice.text or _text_in(delta.content))
        thinking = self._thinking.feed(_first_text(delta.reasoning_content, delta.reasoning))
        logprobs = choice.logprobs.content if choice.logprobs is not None else None
        return Part(text, thinking if self._shows_thinking else "", (), logprobs or ())


def _text_in(content: object) -> str:
    """Text, or the parts of a list that are text."""
    if isinstance(content, list):
        return "".join(_first_text(part.get("text")) for part in content if isinstance(part, dict))
    return _first_text(content)


def _first_text(*values: object) -> str:
    """The first of the values that is text: some servers send their reasoning in two fields."""
    return next((value for value in values if value and isinstance(value, str)), "")

"""The fields of a chunk. Their formats differ between servers, and each may be missing, null or of another type.

Nearly all chunks have a single form nevertheless. `plain_text` decodes those, in a third of the time.
"""

import re
from typing import Any, Final, Literal

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder

_TEXT_PARTS: Final = frozenset({None, "", "text", "output_text", "refusal"})
_REASONING: Final = re.compile("reason|think|thought", re.IGNORECASE)
_PROGRESS: Final = re.compile("content|reason|think|thought|tool|function|audio", re.IGNORECASE)


class _Delta(Struct, gc=False):
    content: str


class _PlainChoice(Struct, gc=False):
    delta: _Delta
    index: Literal[0, None] = None
    finish_reason: Literal["", None] = None
    finishReason: Literal["", None] = None


class _PlainChunk(Struct, gc=False):
    choices: tuple[_PlainChoice]
    object: Literal["chat.completion.chunk", None] = None
    type: None = None
    error: None = None


_decode: Final = Decoder(_PlainChunk).decode


def plain_text(data: str) -> str:
    """The text of a chunk in the form that nearly all have: one choice, text, and no end. "" if it has any other."""
    try:
        return _decode(data).choices[0].delta.content
    except (MsgspecError, UnicodeError, RecursionError):
        return ""


def first_choice(value: dict[str, Any]) -> dict[str, Any] | None:
    """The choice with index 0, if there is one; the request does not ask for more."""
    choices = value.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("index") in (0, None, "0"):
                return choice
    return None


def native_choice(value: dict[str, Any]) -> dict[str, Any] | None:
    """An object of Ollama's own API, or one that is similar, as a choice; None if it is neither."""
    message, response, is_done = value.get("message"), value.get("response"), value.get("done") is True
    if isinstance(message, dict):
        delta = message
    elif isinstance(response, str) or is_done:
        delta = {"content": response}
    else:
        return None
    return {"delta": delta, "finish_reason": value.get("done_reason") or ("stop" if is_done else None)}


def text_in(content: Any) -> str:
    """Text, or the parts of a list that are text, but not reasoning."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(map(_part, content))
    return _part(content)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type") not in _TEXT_PARTS:
        return ""
    text = part.get("text") or part.get("refusal")
    if isinstance(text, dict):
        text = text.get("value")
    return text if isinstance(text, str) else ""


def reasoning_in(delta: dict[str, Any]) -> str:
    """The text of the first field with reasoning: some servers send the same text in two."""
    for name, value in delta.items():
        if value and isinstance(value, str) and _REASONING.search(name):
            return value
    return ""


def is_progress(delta: dict[str, Any]) -> bool:
    """Whether a delta shows that the model is working: with text, reasoning or the call of a tool."""
    return any(value and _PROGRESS.search(name) for name, value in delta.items())

"""The fields of OpenAI's responses that Ollama's have as well."""

import json as tolerant_json
from typing import Any, Final, TypeVar

from msgspec import MsgspecError, Raw, Struct, convert, json

from securechat.client.api.errors import HttpError, passing_error
from securechat.client.api.ollama.characters import whole_characters
from securechat.i18n import _
from securechat.wire.items import Head

_MAX_MESSAGE: Final = 2_000  # characters of an error message that are passed on


class FunctionPart(Struct):
    """Name and arguments of a tool call, or a part of them. Some servers send the arguments as an object."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCallPart(Struct):
    """A tool call in a chunk or a message."""

    index: int | None = None
    id: str | None = None
    function: FunctionPart | None = None


class Delta(Struct):
    """What a chunk adds, or a whole message."""

    content: Any = None
    reasoning_content: Any = None  # of llama.cpp, DeepSeek and others
    reasoning: Any = None  # of Ollama, vLLM and OpenRouter
    tool_calls: list[ToolCallPart] | None = None


class Logprobs(Struct):
    """The probabilities of tokens. Ollama's have the same form."""

    content: tuple[Any, ...] | None = None


class Choice(Struct):
    """A choice of a chunk (`delta`), of a whole response (`message`), or of a completion (`text`)."""

    index: int | None = None
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Usage(Struct):
    """The number of tokens."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Completion(Struct):
    """A chunk, or a whole response."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None


class Embedding(Struct):
    """The embedding of one input."""

    embedding: Raw
    index: int | None = None


class Embeddings(Struct):
    """The response with embeddings."""

    data: list[Embedding]
    usage: Usage | None = None


_Type = TypeVar("_Type", bound=Struct)


def decode_response(data: bytes, kind: type[_Type]) -> _Type:
    """Decode a response or a chunk; HttpError (502) if it is not valid.

    Strings may contain half of a surrogate pair: some servers split a character between two chunks.
    """
    try:
        return json.decode(data, type=kind)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return convert(tolerant_json.loads(data), kind)
    except (MsgspecError, ValueError, RecursionError):
        raise invalid_response() from None


def invalid_response() -> HttpError:
    """The error for a response that cannot be translated."""
    return HttpError(502, _("the server's response is not valid"))


def error_in(body: bytes, head: Head) -> HttpError:
    """The error for an error response, with the server's message if there is one."""
    try:
        message = message_in(json.decode(body))
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        message = ""
    status = head.status if head.status >= 400 else 502
    return passing_error(
        status, message or _("the server responded with status {status}").format(status=head.status), head.retry_after
    )


def message_in(error: object) -> str:
    """The message of an error, in any of the forms that servers use; "" if there is none."""
    while isinstance(error, dict):
        error = next((error[key] for key in ("error", "message", "detail") if error.get(key)), None)
    return whole_characters(error[:_MAX_MESSAGE]) if isinstance(error, str) else ""

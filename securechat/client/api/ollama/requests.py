"""Ollama's requests, and their translation to OpenAI's.

Fields without a counterpart are ignored: `keep_alive`, `template`, `context`, and options such as `num_ctx`.
"""

from typing import Any, Final, TypeVar

from msgspec import MsgspecError, Raw, Struct, ValidationError, json

from securechat.client.api.errors import HttpError
from securechat.client.api.ollama.messages import Message, content_with, openai_messages
from securechat.i18n import _

_NULL: Final = b"null"
_OPTIONS: Final = ("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty")  # OpenAI's names


class _Request(Struct, kw_only=True):
    """The base class. `name` is an old name of `model`."""

    model: str = ""
    name: str = ""

    @property
    def requested(self) -> str:
        """The model; HttpError if the request names none."""
        if not (self.model or self.name):
            raise HttpError(400, _("model is required"))
        return self.model or self.name


class _ReplyRequest(_Request, kw_only=True):
    """A request for a reply of the model, as a stream unless `stream` is false."""

    stream: bool | None = None
    format: Raw = Raw(_NULL)  # "json", or a JSON schema
    options: dict[str, Raw] | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    @property
    def is_stream(self) -> bool:
        """Whether the reply is a stream."""
        return self.stream is not False


class ChatRequest(_ReplyRequest, kw_only=True):
    """A request of /api/chat."""

    messages: list[Message] | None = None
    tools: list[Raw] | None = None


class GenerateRequest(_ReplyRequest, kw_only=True):
    """A request of /api/generate: for a reply to a prompt, or for the text between `prompt` and `suffix`."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    images: list[str] | None = None
    raw: bool | None = None

    @property
    def is_completion(self) -> bool:
        """Whether the prompt is to be continued rather than answered."""
        return bool(self.raw or self.suffix)


class EmbedRequest(_Request, kw_only=True):
    """A request of /api/embed."""

    input: str | list[str] | None = None
    dimensions: int | None = None


class EmbeddingsRequest(_Request, kw_only=True):
    """A request of /api/embeddings, the predecessor of /api/embed."""

    prompt: str | None = None


class ShowRequest(_Request, kw_only=True):
    """A request of /api/show."""


_Type = TypeVar("_Type", bound=_Request)


def decode_request(body: bytes, kind: type[_Type]) -> _Type:
    """Decode a request; HttpError (400) if it is not valid. The error contains types and paths, but no content."""
    try:
        body.decode()  # msgspec does not look at what it keeps as it was written
        return json.decode(body, type=kind)
    except ValidationError as error:
        raise HttpError(400, _("invalid request: {problem}").format(problem=error)) from None
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        raise HttpError(400, _("the body is not valid JSON")) from None


def chat_body(request: ChatRequest, model: str) -> bytes:
    """The body for ``chat/completions``; HttpError if the request is not valid."""
    body = _reply_fields(request, model)
    body["messages"] = openai_messages(request.messages or ())
    if request.tools:
        body["tools"] = request.tools
    return json.encode(body)


def generate_body(request: GenerateRequest, model: str) -> bytes:
    """The body for ``completions`` if it `is_completion`, else for ``chat/completions``."""
    body = _reply_fields(request, model)
    prompt = request.prompt or ""
    if request.is_completion:
        body["prompt"] = prompt
        if request.suffix:
            body["suffix"] = request.suffix
    else:
        system = [{"role": "system", "content": request.system}] if request.system else []
        body["messages"] = [*system, {"role": "user", "content": content_with(prompt, request.images or ())}]
    return json.encode(body)


def embed_body(inputs: list[str], model: str, dimensions: int | None = None) -> bytes:
    """The body for ``embeddings``."""
    body: dict[str, Any] = {"model": model, "input": inputs, "encoding_format": "float"}
    if dimensions:
        body["dimensions"] = dimensions
    return json.encode(body)


def _reply_fields(request: _ReplyRequest, model: str) -> dict[str, Any]:
    """The fields that do not depend on the kind of request."""
    body: dict[str, Any] = {"model": model, "stream": request.is_stream}
    if request.is_stream:
        body["stream_options"] = {"include_usage": True}
    options = request.options or {}
    body |= {name: options[name] for name in _OPTIONS if bytes(options.get(name, _NULL)) != _NULL}
    max_tokens = _max_tokens(options.get("num_predict"))
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    response_format = _response_format(bytes(request.format))
    if response_format is not None:
        body["response_format"] = response_format
    if request.think is False:
        body["reasoning_effort"] = "none"
    elif isinstance(request.think, str) and request.think:
        body["reasoning_effort"] = request.think
    if request.logprobs:
        body["logprobs"] = True
        body["top_logprobs"] = request.top_logprobs or 0
    return body


def _max_tokens(limit: Raw | None) -> int | None:
    """The maximum length of a reply; None if there is none, which Ollama writes as 0 or less."""
    try:
        number = json.decode(limit or _NULL, type=int | float | None)
    except ValidationError:
        raise HttpError(400, _("invalid request: {problem}").format(problem="num_predict")) from None
    return int(number) if number is not None and number >= 1 else None


def _response_format(written: bytes) -> dict[str, Any] | None:
    """The format of a reply, from Ollama's `format`."""
    if written in (_NULL, b'""'):
        return None
    if written == b'"json"':
        return {"type": "json_object"}
    if written.startswith(b"{"):
        return {"type": "json_schema", "json_schema": {"name": "reply", "schema": Raw(written)}}
    raise HttpError(400, _('invalid format: expected "json" or a JSON schema'))

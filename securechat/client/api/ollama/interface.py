"""Ollama's own interface: requests become OpenAI's, and responses become Ollama's."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from msgspec import Raw, json

from securechat.client.api.errors import HttpError
from securechat.client.api.interface import Answer, Forward
from securechat.client.api.model_list import ModelList
from securechat.client.api.ollama.dialects import WholeDialect, format_error, reply_dialect
from securechat.client.api.ollama.lines import Lines
from securechat.client.api.ollama.models import show, tags
from securechat.client.api.ollama.reply import Reply
from securechat.client.api.ollama.requests import (
    ChatRequest,
    EmbeddingsRequest,
    EmbedRequest,
    GenerateRequest,
    ShowRequest,
    chat_body,
    decode_request,
    embed_body,
    generate_body,
)
from securechat.client.api.ollama.responses import Embeddings, decode_response, invalid_response
from securechat.i18n import _

FOLDER: Final = "api"

# The version of Ollama that this corresponds to. Editors require at least 0.6.4, codex 0.13.4; 0.14 adds interfaces.
VERSION: Final = "0.13.5"

_GET: Final = ("GET", "HEAD")
_POST: Final = ("POST",)
_REFUSED: Final = frozenset({"create", "pull", "push", "copy", "delete", "blobs"})  # they change the server's models


class OllamaInterface:
    """The paths of Ollama's interface that use models. Those that change models are refused."""

    def __init__(self, models: ModelList, now: Callable[[], float] = time.time) -> None:
        """`now` is in seconds since 1970."""
        self._models = models
        self._now = now
        self._paths: Final[dict[str, tuple[tuple[str, ...], Callable[[bytes], Forward | Answer]]]] = {
            "version": (_GET, self._version),
            "tags": (_GET, self._tags),
            "ps": (_GET, self._ps),
            "show": (_POST, self._show),
            "chat": (_POST, self._chat),
            "generate": (_POST, self._generate),
            "embed": (_POST, self._embed),
            "embeddings": (_POST, self._embeddings),
        }

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods of a path; HttpError (403) for those that change the server's models."""
        if path.partition("/")[0] in _REFUSED:
            raise HttpError(403, _("securechat does not change the server's models; ask the server's operator"))
        return self._paths[path][0] if path in self._paths else ()

    def respond(self, method: str, path: str, body: bytes) -> Forward | Answer:
        """How to respond; HttpError if the request is not valid."""
        return self._paths[path][1](body)

    def format_error(self, error: HttpError) -> bytes:
        """An error in Ollama's format."""
        return format_error(error)

    def _version(self, body: bytes) -> Answer:
        return Answer(json.encode({"version": VERSION}))

    def _ps(self, body: bytes) -> Answer:
        """The models in memory. OpenAI's interface does not list them."""
        return Answer(json.encode({"models": []}))

    def _tags(self, body: bytes) -> Forward | Answer:
        return self._models.respond(WholeDialect(tags))

    def _show(self, body: bytes) -> Forward | Answer:
        requested = decode_request(body, ShowRequest).requested
        return self._models.respond(
            WholeDialect(lambda models: show(models, self._models.name_of(requested), requested))
        )

    def _chat(self, body: bytes) -> Forward | Answer:
        request = decode_request(body, ChatRequest)
        lines = Lines(request.requested, is_chat=True, now=self._now)
        if not request.messages:
            return Answer(lines.loaded())
        dialect = reply_dialect(Reply(shows_thinking=request.think is not False), lines, is_stream=request.is_stream)
        return Forward("chat/completions", chat_body(request, self._models.name_of(request.requested)), dialect)

    def _generate(self, body: bytes) -> Forward | Answer:
        request = decode_request(body, GenerateRequest)
        lines = Lines(request.requested, is_chat=False, now=self._now)
        if not (request.prompt or request.images):
            return Answer(lines.loaded())
        dialect = reply_dialect(Reply(shows_thinking=request.think is not False), lines, is_stream=request.is_stream)
        path = "completions" if request.is_completion else "chat/completions"
        return Forward(path, generate_body(request, self._models.name_of(request.requested)), dialect)

    def _embed(self, body: bytes) -> Forward | Answer:
        request = decode_request(body, EmbedRequest)
        inputs = [request.input] if request.input and isinstance(request.input, str) else request.input
        written = partial(_embed_response, request.requested)
        if not inputs:
            return Answer(written(Embeddings([])))
        model = self._models.name_of(request.requested)
        dialect = WholeDialect(lambda response: written(decode_response(response, Embeddings)))
        return Forward("embeddings", embed_body(inputs, model, request.dimensions), dialect)

    def _embeddings(self, body: bytes) -> Forward | Answer:
        request = decode_request(body, EmbeddingsRequest)
        model = self._models.name_of(request.requested)
        if not request.prompt:
            return Answer(json.encode({"embedding": []}))
        return Forward("embeddings", embed_body([request.prompt], model), WholeDialect(_embeddings_response))


def _embed_response(model: str, response: Embeddings) -> bytes:
    written: dict[str, object] = {"model": model, "embeddings": _vectors(response)}
    if response.usage is not None and response.usage.prompt_tokens is not None:
        written["prompt_eval_count"] = response.usage.prompt_tokens
    return json.encode(written)


def _embeddings_response(body: bytes) -> bytes:
    vectors = _vectors(decode_response(body, Embeddings))
    return json.encode({"embedding": vectors[0] if vectors else []})


def _vectors(response: Embeddings) -> list[Raw]:
    """The embeddings in the order of the inputs, as the server wrote them; HttpError if they are not lists."""
    data = sorted(response.data, key=lambda embedding: embedding.index or 0)
    if not all(bytes(embedding.embedding).startswith(b"[") for embedding in data):
        raise invalid_response()
    return [embedding.embedding for embedding in data]

"""Descriptions of models in Ollama's format. Most servers publish no more than the names."""

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from msgspec import json

from securechat.client.api.errors import HttpError
from securechat.client.api.model_list import Model, models_in
from securechat.i18n import _

_ARCHITECTURE: Final = "unknown"
_CONTEXT: Final = 32_768  # tokens, if the server does not say; editors subtract some thousand for the reply
_CONTEXT_FIELDS: Final = ("context_length", "max_model_len", "context_window", "max_context_length")
_CAPABILITIES: Final = frozenset({"completion", "tools", "insert", "vision", "embedding", "thinking", "audio"})
# If the server does not say: tools offer nothing else to their users. The server refuses what a model cannot do.
_UNKNOWN: Final = ("completion", "tools", "vision")
_MAX_NAME: Final = 256  # characters of a name in an error
_EMBEDS: Final = re.compile(r"embed|minilm|\b(?:bge|gte|e5)\b", re.IGNORECASE)


def tags(body: bytes) -> bytes:
    """The response of /api/tags to a list of models; HttpError if it is none."""
    return json.encode({"models": [_entry(model) for model in models_in(body)]})


def show(body: bytes, name: str, requested: str) -> bytes:
    """The response of /api/show about a model in a list; HttpError if it is not in it. `requested` is its name."""
    model = next((model for model in models_in(body) if model["id"] == name), None)
    if model is None:
        raise HttpError(404, _("model '{name}' not found").format(name=requested[:_MAX_NAME]))
    return json.encode(
        {
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _details(),
            "model_info": {
                "general.architecture": _ARCHITECTURE,
                "general.basename": requested,
                f"{_ARCHITECTURE}.context_length": _context_length(model),
            },
            "capabilities": _capabilities(model),
            "modified_at": _modified_at(model),
        }
    )


def _entry(model: Model) -> dict[str, Any]:
    name = model["id"]
    return {
        "name": name,
        "model": name,
        "modified_at": _modified_at(model),
        "size": 0,
        "digest": sha256(name.encode()).hexdigest(),  # models with equal digests are the same to tools
        "details": _details(),
        "capabilities": _capabilities(model),
    }


def _details() -> dict[str, Any]:
    """Tools rely on all of these fields."""
    return {
        "parent_model": "",
        "format": "",
        "family": _ARCHITECTURE,
        "families": [_ARCHITECTURE],
        "parameter_size": "",
        "quantization_level": "",
    }


def _capabilities(model: Model) -> list[str]:
    given = model.get("capabilities")
    if isinstance(given, list):
        known = [name for name in given if isinstance(name, str) and name in _CAPABILITIES]
        if known:
            return known
    if _EMBEDS.search(model["id"]):
        return ["embedding"]
    return [name for name in _UNKNOWN if name != "vision" or _may_see(model)]


def _may_see(model: Model) -> bool:
    """Whether a model accepts images, as far as is known: llama.cpp and OpenRouter publish it."""
    architecture = model.get("architecture")
    modalities = architecture.get("input_modalities") if isinstance(architecture, dict) else None
    return not isinstance(modalities, list) or "image" in modalities


def _context_length(model: Model) -> int:
    """In tokens."""
    meta = model.get("meta")  # llama.cpp's
    values = [model.get(field) for field in _CONTEXT_FIELDS]
    if isinstance(meta, dict):
        values += [meta.get("n_ctx"), meta.get("n_ctx_train")]
    return next((value for value in values if type(value) is int and value > 0), _CONTEXT)


def _modified_at(model: Model) -> datetime:
    created = model.get("created")
    try:
        return datetime.fromtimestamp(created if type(created) is int else 0, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)

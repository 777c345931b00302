"""Lists of models, and the choice of one that chats."""

import re
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from securechat.errors import Fault, RobotError
from securechat.robots.openai.json_text import parse_json

# The fields in which lists say what a model is for, in lower case and without underscores.
_CAPABILITIES: Final = frozenset(
    {
        *("capabilities", "type", "modeltype", "kind", "mode", "task", "tasks", "endpoints", "supportedendpoints"),
        *("supportedgenerationmethods", "supportschat", "architecture", "modality", "outputmodalities"),
        *("supportedoutputmodalities", "name"),  # the last one within one of the others
    }
)
_CHATS: Final = re.compile(
    r"chat|complet|\bllm\b|\bvlm\b|language|text.?(?:2|to.?)?text|text.?generation|generate|->text|^text$",
    re.IGNORECASE,
)
_DOES_NOT_CHAT: Final = re.compile(
    r"embed|rank|image|audio|speech|tts|transcri|moderat|video|classif|feature|similarity", re.IGNORECASE
)
# Families of models that do not chat, for lists with names only.
_OTHER_FAMILIES: Final = re.compile(
    r"embed|rerank|minilm|bert\b|labse|\b(?:bge|gte|e5|uae|voyage|jina|sentence|paraphrase|distiluse|ms-marco)[-_]"
    r"|whisper|\btts|speech|transcri|moderation|guard[0-9]*\b|shieldgemma|realtime|kokoro"
    r"|dall-?e|gpt-image|\bimagen|stable-?diffusion|sdxl|\bflux|\bclip\b|\bsora\b|\bveo\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Model:
    """A model in a list; `chats` is None if the list does not say what it is for."""

    name: str
    chats: bool | None


_LISTS: Final = ("data", "models", "result")  # the names of lists of models
_NAMES: Final = ("id", "name", "model")  # of a model in a list


def models_in(data: bytes) -> list[Model]:
    """The models in a list. RobotError (broken answer) if it is invalid."""
    try:
        found = parse_json(data)
    except RobotError:
        found = None
    if isinstance(found, dict):
        found = next((found[key] for key in _LISTS if isinstance(found.get(key), list)), None)
    if not isinstance(found, list):
        raise RobotError(Fault.BROKEN_ANSWER, "the response is not a list of models; set one with -R model=NAME")
    return [model for item in found if (model := _model(item)) is not None]


def only(data: bytes, allowed: Set[str]) -> bytes:
    """A list of models without those that are not allowed; the others, and other fields, stay as they were written.

    RobotError (broken answer) if it is invalid.
    """
    try:
        data.decode()  # what stays as it was written is not looked at otherwise
        whole: Any = msgspec.json.decode(data, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
        if isinstance(whole, list):
            return msgspec.json.encode(_allowed(whole, allowed))
        lists = {key: msgspec.json.decode(whole[key], type=list[msgspec.Raw]) for key in _LISTS if key in whole}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        lists = {}
    if not lists:
        raise RobotError(Fault.BROKEN_ANSWER, "the response is not a list of models")
    return msgspec.json.encode(whole | {key: _allowed(items, allowed) for key, items in lists.items()})


def _allowed(items: list[msgspec.Raw], allowed: Set[str]) -> list[msgspec.Raw]:
    return [item for item in items if not allowed.isdisjoint(_names_in(item))]


def _names_in(item: msgspec.Raw) -> list[str]:
    value = msgspec.json.decode(item)
    if isinstance(value, dict):
        return [value[key] for key in _NAMES if isinstance(value.get(key), str)]
    return [value] if isinstance(value, str) else []


def choose(models: Collection[Model], unsuitable: Collection[str]) -> str | None:
    """The name of the first model that chats, as far as is known; one of `unsuitable` only if there is no other."""
    chatting = [model.name for model in models if model.chats]
    unknown = [model.name for model in models if model.chats is None]
    names = chatting or [name for name in unknown if not _OTHER_FAMILIES.search(name)] or unknown
    return next((name for name in names if name not in unsuitable), names[0] if names else None)


def _model(item: Any) -> Model | None:
    if isinstance(item, str) and item:
        return Model(item, None)
    if not isinstance(item, dict):
        return None
    names = [item[key] for key in _NAMES if isinstance(item.get(key), str) and item[key]]
    if not names:
        return None
    name = next((name for name in names if "://" not in name), names[0])
    said = [(word, is_true) for key, value in item.items() if key != "name" for word, is_true in _said(key, value)]
    if any(is_true and _CHATS.search(word) for word, is_true in said):
        return Model(name, True)
    denied = any(bool(_DOES_NOT_CHAT.search(word)) if is_true else _CHATS.search(word) for word, is_true in said)
    return Model(name, False if denied else None)


def _said(key: str, value: Any) -> Iterator[tuple[str, bool]]:
    """The words in a field that describe a model, and whether they are true of it."""
    if isinstance(value, bool):
        if _CHATS.search(key) or "embed" in key.lower():  # others say what it can do besides, such as read images
            yield key, value
    elif key.lower().replace("_", "") not in _CAPABILITIES:
        return
    elif isinstance(value, str):
        yield value, True
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, str):
                yield item, True
    elif isinstance(value, dict):
        for inner_key, inner in value.items():
            yield from _said(inner_key, inner)

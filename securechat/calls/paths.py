"""The paths of API requests (protocol, section 8, "API requests")."""

import re
from typing import Final, NamedTuple
from urllib.parse import quote

_POST: Final = frozenset({"chat/completions", "completions", "embeddings", "responses"})
_MODELS: Final = "models"
_MODEL_ID: Final = re.compile(r"[A-Za-z0-9._:@+~/-]{1,256}")


class Route(NamedTuple):
    """A request that the API has."""

    method: str
    path: str  # in the address of an upstream server, relative to its base
    model: str | None  # the ID in the path


def find_route(path: str) -> Route | None:
    """The route of a CALL's path; None if the API has none (FAULT 10)."""
    if path in _POST:
        return Route("POST", path, None)
    if path == _MODELS:
        return Route("GET", path, None)
    folder, _slash, model = path.partition("/")
    if folder != _MODELS or not _MODEL_ID.fullmatch(model):
        return None
    segments = model.split("/")
    if not {"", ".", ".."}.isdisjoint(segments):
        return None
    return Route("GET", "/".join((_MODELS, *(quote(segment, safe="") for segment in segments))), model)

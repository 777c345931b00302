"""The server's list of models. Tools request it often, so it is kept for a minute."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import MsgspecError, json

from securechat.client.api.errors import HttpError
from securechat.client.api.interface import Answer, Dialect, Forward
from securechat.i18n import _
from securechat.wire.items import Head, Piece, ServerEvent

MODELS_PATH: Final = "models"

_KEPT_SECONDS: Final = 60
_MAX_KEPT: Final = 2**21  # bytes of a list; the longest, of services with some thousand models, have half as many

Model = dict[str, Any]  # as the server describes it; `id` is a string


def models_in(body: bytes) -> list[Model]:
    """The models in a response; HttpError if it is not a list of models. Models without a name are left out."""
    try:
        found = json.decode(body)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        found = None
    if isinstance(found, dict):
        found = found.get("data", found.get("models"))
    if not isinstance(found, list):
        raise HttpError(502, _("the server's response is not a list of models"))
    models = []
    for item in found:
        model = item if isinstance(item, dict) else {"id": item}
        name = model.get("id", model.get("name"))
        if isinstance(name, str) and name:
            models.append({**model, "id": name})
    return models


class ModelList:
    """Responds to requests for the list. `seconds` returns the time of a monotonic clock."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._kept: tuple[Head, bytes, float] | None = None  # the list, and the time at which it expires
        self._names: frozenset[str] | None = None  # of the models in it, found when first needed

    def respond(self, dialect: Dialect) -> Forward | Answer:
        """The kept list in this dialect, or a request for the list. HttpError if the dialect raises it."""
        if self._kept is None or self._seconds() >= self._kept[2]:
            return Forward(MODELS_PATH, b"", _Keeping(dialect, self))
        head, body, _until = self._kept
        content_type, written = head.content_type, bytearray()
        for part in (*dialect.items([head, Piece(body)]), *dialect.end()):
            if isinstance(part, Head):
                content_type = part.content_type
            else:
                written += part
        return Answer(bytes(written), content_type)

    def keep(self, head: Head, body: bytes) -> None:
        """Keep the list of a response."""
        self._kept = (head, body, self._seconds() + _KEPT_SECONDS)
        self._names = None

    def name_of(self, model: str) -> str:
        """The name by which the last list has a model that is requested with or without the tag ``latest``.

        Both mean the same to Ollama, so some tools add the tag or remove it. Other names are returned as they are.
        """
        names = self._known_names()
        bare = model.removesuffix(":latest")
        return next((name for name in (model, bare, f"{bare}:latest") if name in names), model)

    def _known_names(self) -> frozenset[str]:
        if self._names is None:
            try:
                self._names = (
                    frozenset(model["id"] for model in models_in(self._kept[1])) if self._kept else frozenset()
                )
            except HttpError:
                self._names = frozenset()
        return self._names


class _Keeping:
    """Writes in another dialect, and keeps a successful response that is not too long."""

    def __init__(self, dialect: Dialect, models: ModelList) -> None:
        self._dialect = dialect
        self._models = models
        self._head: Head | None = None
        self._body = bytearray()

    @property
    def comment(self) -> bytes:
        """As in the other dialect."""
        return self._dialect.comment

    def head_without_status(self) -> Head | None:
        """As in the other dialect."""
        return self._dialect.head_without_status()

    def items(self, items: list[Head | Piece | ServerEvent]) -> Iterable[Head | bytes]:
        """As in the other dialect."""
        for item in items:
            if isinstance(item, Head):
                self._head = item
            elif isinstance(item, Piece) and len(self._body) <= _MAX_KEPT:
                self._body += item.data
        return self._dialect.items(items)

    def end(self) -> Iterable[Head | bytes]:
        """As in the other dialect."""
        if self._head is not None and self._head.status == 200 and 0 < len(self._body) <= _MAX_KEPT:
            self._models.keep(self._head, bytes(self._body))
        return self._dialect.end()

    def error(self, error: HttpError) -> bytes | None:
        """As in the other dialect."""
        return self._dialect.error(error)

"""What an OpenAI-compatible server is asked, and what it answers (``/v1/chat/completions``, ``/v1/models``).

There are many such servers, and no two send the same. What is missing, null or of another type here is taken for
nothing said; what cannot be an answer is a broken one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from securechat.errors import Fault, RobotError
from securechat.i18n import _
from securechat.robots.interface import Conversation, Speaker

MAX_MODELS: Final = 10  # names of models that a log line lists

# Reasons to finish that say that the reply is not what it would have been; all others are a good end.
CUT_BY_LIMIT: Final = "length"
_FILTERED: Final = frozenset({"content_filter"})
_ABORTED: Final = frozenset({"abort", "error", "cancelled"})

_TOO_LONG: Final = re.compile(r"context|too.?long|maximum.*tokens|token.*limit", re.IGNORECASE)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MODEL: Final = re.compile(r"[A-Za-z0-9_.:/@+-]{1,80}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

_ROLES: Final = {Speaker.USER: "user", Speaker.ROBOT: "assistant"}


@dataclass(frozen=True, slots=True, repr=False)
class Delta:
    """What one chunk, or a whole answer, says."""

    text: str
    finish: str | None  # why the reply is over, if it is
    is_progress: bool  # whether the model did something, if only think


def request(conversation: Conversation, system: str, options: Mapping[str, object]) -> bytes:
    """The JSON of a question. Nothing is in it that was not asked for: strict servers refuse what they do not know."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": _ROLES[turn.speaker], "content": turn.text} for turn in conversation.turns]
    return json.dumps({"messages": messages, **options}, ensure_ascii=False).encode(errors="replace")


def parse(text: str | bytes) -> Delta:
    """A chunk or a whole answer; RobotError if it is an error or nothing of the kind."""
    answer = _object(text)
    _raise_if_error(answer)
    choice = _first_choice(answer)
    said = choice.get("delta")
    if not isinstance(said, dict):
        said = choice.get("message")
    if not isinstance(said, dict):
        said = {}
    content = "".join(_texts(said.get("content"))) or "".join(_texts(said.get("refusal")))
    thought = said.get("reasoning_content") or said.get("reasoning")
    finish = choice.get("finish_reason")
    return Delta(content, finish if isinstance(finish, str) and finish else None, is_progress=bool(content or thought))


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        raise RobotError(Fault.BROKEN_ANSWER, _("the answer is not JSON")) from None
    if not isinstance(answer, dict):
        raise RobotError(Fault.BROKEN_ANSWER, _("the answer is not a JSON object"))
    return answer


def _first_choice(answer: dict[str, Any]) -> dict[str, Any]:
    choices = answer.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("index", 0) in (0, None):
                return choice
    return {}


def _texts(content: object) -> Iterator[str]:
    """A text, or the texts of a list of parts."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]


def _raise_if_error(answer: dict[str, Any]) -> None:
    if answer.get("error"):
        raise upstream_error(answer["error"])
    if "choices" not in answer and (answer.get("detail") or answer.get("message")):
        raise upstream_error(answer)


def upstream_error(error: object, status: int = 200, retry_after: float | None = None) -> RobotError:
    """What a server says went wrong, a text or an object, with its HTTP status.

    For the log it is its code and type alone: the message may quote what the user said.
    """
    words: list[str] = []
    message = error if isinstance(error, str) else ""
    if isinstance(error, dict):
        message = " ".join(str(error.get(field)) for field in ("code", "type", "message", "detail"))
        words = [str(error[field]) for field in ("code", "type") if error.get(field) is not None]
    detail = f"status {status}" + "".join(f", {word}" for word in words if _TOKEN.fullmatch(word))
    if status in (401, 403):
        return RobotError(Fault.REFUSED, _("{detail}: the key was not accepted").format(detail=detail))
    if status in (429, 503):
        return RobotError(Fault.BUSY, detail, retry_after)
    if status == 413 or (status in (200, 400, 422, 500) and _TOO_LONG.search(message)):
        return RobotError(Fault.TOO_LONG, _("{detail}: more than the model takes").format(detail=detail))
    if 400 <= status < 500:
        return RobotError(Fault.REFUSED, detail)
    return RobotError(Fault.BROKEN_ANSWER, detail)


def check_finish(finish: str) -> None:
    """RobotError if that is no good end of a reply."""
    if finish in _FILTERED:
        raise RobotError(Fault.REFUSED, _("the server's filter took the reply"))
    if finish in _ABORTED:
        raise RobotError(Fault.BROKEN_ANSWER, _("the server broke the reply off"))


def error_in(body: bytes) -> object:
    """The error object of a body that comes with a status of its own; None if it has none, like a proxy's HTML."""
    try:
        answer = _object(body)
    except RobotError:
        return None
    return answer.get("error") or answer


def models_in(body: bytes) -> list[str]:
    """The names of a server's models, those that can be shown."""
    models = _object(body).get("data")
    if not isinstance(models, list):
        return []
    names = [model.get("id") for model in models if isinstance(model, dict)]
    return [name for name in names if isinstance(name, str) and _MODEL.fullmatch(name)][:MAX_MODELS]


class Joiner:
    """Puts together characters that were cut into surrogates, one at a chunk's end, one at the next one's start."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        text = self._held + text
        self._held = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        if _SURROGATE.search(text):
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text

"""What the server changes in the bodies of API requests, and what it refuses."""

import json
import re
from typing import Final

from msgspec import Raw

from securechat.calls.bodies import Body
from securechat.calls.requests import ApiCall
from securechat.i18n import _
from securechat.robots.openai.settings import OpenAISettings

_USER: Final = ("user", "safety_identifier")
_OLD_LIMIT: Final = "max_tokens"
_NEW_LIMIT: Final = "max_completion_tokens"  # the only one that OpenAI's reasoning models accept
# The fields in which one server or another looks for the maximum length of a reply; n_predict is llama.cpp's.
_LIMITS: Final = (_OLD_LIMIT, _NEW_LIMIT, "max_output_tokens", "n_predict", "max_new_tokens", "num_predict")
_NEEDED_LIMIT: Final = {"chat/completions": _OLD_LIMIT, "completions": _OLD_LIMIT, "responses": "max_output_tokens"}
_NUMBER: Final = re.compile("[1-9][0-9]{0,8}")
# Servers written in Go understand these in any case, so that a check of one spelling would not be enough.
_CHECKED: Final = frozenset({"model", "models", "fallbacks", "messages", "instructions", *_USER, *_LIMITS})
_NAME: Final = re.compile("[a-z_]{1,64}")
_MAX_LEARNED: Final = 1000  # names of models


class PolicyError(Exception):
    """A request that the server refuses (status 400); the text says why, and `field` is the key it is about."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


class Policy:
    """The settings of a robot, as far as they are about API requests."""

    def __init__(self, settings: OpenAISettings) -> None:
        self._max_tokens = settings.max_tokens
        self._system = settings.system if settings.system_for_api else None
        self._restricts_models = settings.allowed_models is not None
        self._with_new_limit: set[str] = set()  # models whose servers refuse max_tokens

    def changes(self, call: ApiCall) -> list[dict[str, object]]:
        """The new values in the body that is sent; then those of another, for a server that refuses max_tokens.

        PolicyError if the request is refused.
        """
        path, body = call.request.route.path, call.request.body
        if body is None:
            return [{}]
        self._check(body)
        values: dict[str, object] = {key: call.user_id for key in _USER if _is_given(body, key)}
        if self._system:
            values |= _with_system(path, body, self._system)
        if self._max_tokens is None or path not in _NEEDED_LIMIT:
            return [values]
        names = [_NEEDED_LIMIT[path]]
        if names == [_OLD_LIMIT] and not _is_given(body, _OLD_LIMIT):
            names = [_NEW_LIMIT] if body.model in self._with_new_limit else [_OLD_LIMIT, _NEW_LIMIT]
        return [values | _limited(body, self._max_tokens, name) for name in names]

    def learn(self, call: ApiCall) -> None:
        """The server has accepted the second of two bodies."""
        body = call.request.body
        if body is not None and body.model is not None and len(self._with_new_limit) < _MAX_LEARNED:
            self._with_new_limit.add(body.model)

    def _check(self, body: Body) -> None:
        for key in body.keys:
            folded = key.casefold()
            if folded in _CHECKED and key != folded:
                raise PolicyError(key, _("the field {field} has to be written in lower case").format(field=folded))
            # OpenRouter's `models` and LiteLLM's `fallbacks`, `context_window_fallbacks` and so on name further models.
            names_models = folded == "models" or folded.endswith("fallbacks")
            if self._restricts_models and names_models and _is_given(body, key):
                text = _("this server restricts models, and does not accept the field {field}")
                # A key may be long, or contain half of a surrogate pair, which cannot be encoded.
                field = folded if _NAME.fullmatch(folded) else "fallbacks"
                raise PolicyError(field, text.format(field=field))


def _is_given(body: Body, key: str) -> bool:
    return body.written(key) not in (None, "null")


def _limited(body: Body, most: int, needed: str) -> dict[str, object]:
    """The limits that exceed `most`, or are no numbers, and the one that is needed, with their new values."""
    values: dict[str, object] = {}
    least = most
    for key in _LIMITS:
        if _is_given(body, key):
            written = body.written(key) or ""
            # Servers take 0 and negative numbers for no limit at all.
            if _NUMBER.fullmatch(written) and int(written) <= most:
                least = min(least, int(written))
            else:
                values[key] = most
    if not _is_given(body, needed):
        values[needed] = least
    return values


def _with_system(path: str, body: Body, system: str) -> dict[str, object]:
    """The messages, or the instructions, with the system prompt before them."""
    if path == "chat/completions":
        messages = body.written("messages") or ""
        if messages.startswith("["):
            rest = messages[1:]
            comma = "" if rest.lstrip().startswith("]") else ","
            first = json.dumps({"role": "system", "content": system})
            return {"messages": Raw(f"[{first}{comma}{rest}".encode())}
    elif path == "responses":
        instructions = body.written("instructions")
        if instructions in (None, "null"):
            return {"instructions": system}
        if instructions.startswith('"'):
            return {"instructions": f"{system}\n\n{json.loads(instructions)}"}
    return {}

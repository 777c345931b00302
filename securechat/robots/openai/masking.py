"""Hiding the key and the values of headers, which a server could send back."""

import json
from collections.abc import Iterable
from typing import Final

from securechat.errors import RobotError

MIN_SECRET: Final = 4  # characters; anything shorter is none, and removing it would garble the text
MIN_VALUE: Final = 8  # characters of one in JSON: anything shorter may be a number, or a word such as true or ollama

_MASK: Final = "…"


class Mask:
    """Replaces secrets in texts for the log, and in responses for users."""

    def __init__(self, key: str | None, header_values: Iterable[str]) -> None:
        values = list(header_values)
        self._texts = _longest_first(text for text in (key or "", *values) if len(text) >= MIN_SECRET)
        # A value is masked as a whole, and so is each of its words: "Bearer" and a key, a cookie and the next one.
        words = [word for value in values for word in (value, *value.split()) if len(word) >= MIN_VALUE]
        secrets = [text for text in (key or "",) if len(text) >= MIN_VALUE] + words
        self._data = [text.encode() for text in _longest_first(form for text in secrets for form in _forms(text))]

    def error(self, error: RobotError) -> RobotError:
        """The error with a text for the log that contains no secret."""
        text = str(error)
        for secret in self._texts:
            text = text.replace(secret, _MASK)
        return error if text == str(error) else RobotError(error.fault, text, error.retry_after)

    def data(self, data: bytes) -> bytes:
        """A text without secrets."""
        for secret in self._data:
            if secret in data:
                data = data.replace(secret, _MASK.encode())
        return data


def _forms(text: str) -> tuple[str, ...]:
    """The text, and as a string in JSON has it."""
    escaped = json.dumps(text)[1:-1]
    return text, escaped, escaped.replace("/", "\\/")


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted(set(texts), key=lambda text: (-len(text), text))

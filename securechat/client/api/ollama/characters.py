"""Characters that a server splits between two chunks, as the halves of a surrogate pair."""

import re
from typing import Final

_HALF: Final = re.compile("[\ud800-\udfff]")
_FIRST_HALF: Final = re.compile("[\ud800-\udbff]")


def whole_characters(text: str) -> str:
    """The text with halves joined. A single half cannot be encoded and becomes U+FFFD."""
    if text.isascii() or _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Characters:
    """Text that arrives in pieces."""

    def __init__(self) -> None:
        self._half = ""  # the first half of a character at the end of the last piece

    def feed(self, text: str) -> str:
        """The whole characters."""
        if text and self._half:
            text, self._half = self._half + text, ""
        if _FIRST_HALF.match(text[-1:]):
            text, self._half = text[:-1], text[-1]
        return whole_characters(text)

    def end(self) -> str:
        """The rest: a half that was not joined, as U+FFFD."""
        half, self._half = self._half, ""
        return whole_characters(half)

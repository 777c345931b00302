"""The visible part of a model's text: whole characters, without the reasoning at its beginning."""

import re
from typing import Final

OPEN: Final = "<think>"
CLOSE: Final = "</think>"

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HIGH: Final = re.compile("[\ud800-\udbff]")


class VisibleText:
    """Filters text that arrives in pieces.

    ``<think>…</think>`` is removed at the beginning only, where models put it: later, it is part of a reply about such
    tags. White space before the visible text is removed as well.
    """

    def __init__(self) -> None:
        self._half = ""  # the first half of a surrogate pair, if the second is in the next piece
        self._held = ""  # possibly the beginning of a tag
        self._is_thinking = False
        self._has_begun = False

    def feed(self, text: str) -> str:
        """The text that can be shown now."""
        text = self._whole_characters(text)
        if self._has_begun:
            return text
        self._held += text
        return self._take_held()

    def end(self) -> str:
        """The rest of the text, which is not the beginning of a tag after all."""
        text = self._held + ("\ufffd" if self._half else "")
        self._held = self._half = ""
        return "" if self._is_thinking else text

    def _whole_characters(self, text: str) -> str:
        if self._half or _SURROGATE.search(text):
            text, self._half = self._half + text, ""
            if _HIGH.match(text[-1:]):
                text, self._half = text[:-1], text[-1:]
            # Joins the halves of pairs, and replaces single halves, which UTF-8 cannot encode.
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text

    def _take_held(self) -> str:
        while True:
            if self._is_thinking:
                before, found, after = self._held.partition(CLOSE)
                if not found:
                    self._held = before[-len(CLOSE) + 1 :]
                    return ""
                self._is_thinking, self._held = False, after
            self._held = self._held.lstrip()
            if self._held.startswith(OPEN):
                self._is_thinking, self._held = True, self._held[len(OPEN) :]
            elif OPEN.startswith(self._held):
                return ""
            else:
                self._has_begun = True
                text, self._held = self._held, ""
                return text

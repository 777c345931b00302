"""Of what a model says, what the user is to see: whole characters, and no thoughts."""

import re
from typing import Final

OPEN: Final = "<think>"
CLOSE: Final = "</think>"

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HIGH: Final = re.compile("[\ud800-\udbff]")


class VisibleText:
    """Text in pieces, as they come.

    A model's thoughts are left out if they stand at the beginning, where models put them: further on, a tag is a word
    like any other, in a reply about tags. Blanks before the first word go with them.
    """

    def __init__(self) -> None:
        self._half = ""  # the first half of a surrogate pair, whose other half is in the next piece
        self._held = ""  # what may be the beginning of a tag
        self._is_thinking = False
        self._has_begun = False

    def feed(self, text: str) -> str:
        """What can be shown now."""
        text = self._whole_characters(text)
        if self._has_begun:
            return text
        self._held += text
        return self._take_held()

    def end(self) -> str:
        """What is left: it is no tag, after all."""
        text = self._held + ("\ufffd" if self._half else "")
        self._held = self._half = ""
        return "" if self._is_thinking else text

    def _whole_characters(self, text: str) -> str:
        if self._half or _SURROGATE.search(text):
            text, self._half = self._half + text, ""
            if _HIGH.match(text[-1:]):
                text, self._half = text[:-1], text[-1:]
            # Pairs become characters; halves that stand alone cannot be sent, nor shown.
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

"""The visible part of a text in OpenAI's "harmony" format, if a server does not parse it.

``<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…<|return|>``: each message has a
header with a channel, and only those for the user are shown.
"""

import re
from typing import Final

OPENINGS: Final = ("<|start|>", "<|channel|>", "<|message|>")

_TOKEN: Final = re.compile(r"<\|(start|channel|constrain|message|end|return|call)\|>")
_PARTIAL_TOKEN: Final = re.compile(r"<(?:\|[a-z]{0,9}\|?)?$")
_HIDDEN: Final = re.compile("analysis|commentary")
_MAX_HEADER: Final = 256  # characters


class HarmonyText:
    """Filters text that arrives in pieces."""

    def __init__(self) -> None:
        self._held = ""  # possibly the beginning of a token
        self._header: str | None = ""  # of the present message, as far as it arrived; None within its text
        self._is_visible = True

    def feed(self, text: str) -> str:
        """The text that can be shown now."""
        text = self._held + text
        shown, position = [], 0
        for token in _TOKEN.finditer(text):
            shown.append(self._part(text[position : token.start()]))
            position = token.end()
            if token[1] == "message":
                self._is_visible, self._header = _HIDDEN.search(self._header or "") is None, None
            elif self._header is None or token[1] == "start":
                self._header = ""
        partial = _PARTIAL_TOKEN.search(text, position)
        end = partial.start() if partial is not None else len(text)
        shown.append(self._part(text[position:end]))
        self._held = text[end:]
        return "".join(shown)

    def end(self) -> str:
        """The rest of the text, which is not the beginning of a token after all."""
        held, self._held = self._held, ""
        return self._part(held)

    def _part(self, text: str) -> str:
        if self._header is None:
            return text if self._is_visible else ""
        self._header = (self._header + text)[:_MAX_HEADER]
        return ""

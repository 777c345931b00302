"""The visible part of a model's text: whole characters, without the reasoning at its beginning."""

import re
from string import ascii_lowercase
from typing import Final

from securechat.robots.openai import harmony
from securechat.robots.openai.harmony import HarmonyText

_NAMES: Final = (
    *("think", "thinking", "thought", "thoughts", "reasoning", "reflection", "scratchpad", "inner_monologue"),
    *("seed:think", "longcat_think", "mm:think", "antml:thinking"),
)
# The marks around reasoning, by the families of models that use them.
_REASONING: Final = {
    **{f"<{name}>": f"</{name}>" for name in _NAMES},
    "[think]": "[/think]",  # Magistral
    "◁think▷": "◁/think▷",  # Kimi
    "<|think|>": "<|/think|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",  # OpenThinker, Sky-T1
    "<|start_thinking|>": "<|end_thinking|>",  # Command A
    "<|inner_prefix|>": "<|inner_suffix|>",  # Apertus
    "<|channel>": "<channel|>",  # Gemma
    # gpt-oss, by a server that removes the special tokens of its format
    **{f"analysis{letter}": "assistantfinal" for letter in ascii_lowercase},
}
# The marks around the reply, which some models write after their reasoning.
_REPLY: Final = {
    "<answer>": "</answer>",
    "<response>": "</response>",
    "<output>": "</output>",
    "<|begin_of_solution|>": "<|end_of_solution|>",
    "<|start_response|>": "<|end_response|>",
}
_MARKS: Final = (*_REASONING, *_REPLY, *harmony.OPENINGS)
_MAX_MARK: Final = max(map(len, _MARKS))

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HIGH: Final = re.compile("[\ud800-\udbff]")


class VisibleText:
    """Filters text that arrives in pieces.

    Reasoning is removed at the beginning only, where models put it: later, its marks are part of a reply about them.
    White space before the visible text is removed as well.
    """

    def __init__(self) -> None:
        self.has_reasoning = False
        self._half = ""  # the first half of a surrogate pair, if the second is in the next piece
        self._held = ""  # possibly the beginning of a mark
        self._close: re.Pattern[str] | None = None  # the mark at the end of the present reasoning
        self._has_begun = False
        self._reply: HarmonyText | _ReplyUntil | None = None  # filters the text after the beginning

    def feed(self, text: str) -> str:
        """The text that can be shown now."""
        text = self._whole_characters(text)
        if self._has_begun:
            return text if self._reply is None else self._reply.feed(text)
        self._held += text
        return self._take_held()

    def end(self) -> str:
        """The rest of the text, which is not the beginning of a mark after all."""
        text = self._held + ("\ufffd" if self._half else "")
        self._held = self._half = ""
        if self._close is not None:
            return ""
        return text if self._reply is None else self._reply.feed(text) + self._reply.end()

    def _whole_characters(self, text: str) -> str:
        if self._half or not (text.isascii() or _SURROGATE.search(text) is None):
            text, self._half = self._half + text, ""
            if _HIGH.match(text[-1:]):
                text, self._half = text[:-1], text[-1:]
            # Joins the halves of pairs, and replaces single halves, which UTF-8 cannot encode.
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text

    def _take_held(self) -> str:
        while True:
            if self._close is not None:
                found = self._close.search(self._held)
                if found is None:
                    self._held = self._held[-_MAX_MARK:]
                    return ""
                self._close, self._held = None, self._held[found.end() :]
            self._held = self._held.lstrip()
            if self._reply is None and self._remove_mark():
                continue
            if not self._held or (self._reply is None and _may_be_mark(self._held)):
                return ""
            self._has_begun = True
            text, self._held = self._held, ""
            return text if self._reply is None else self._reply.feed(text)

    def _remove_mark(self) -> bool:
        """Remove the mark at the beginning of the held text, if there is one."""
        start = self._held[:_MAX_MARK].lower()
        mark = next((mark for mark in _MARKS if start.startswith(mark)), None)
        if mark in _REASONING:
            self._close = re.compile(re.escape(_REASONING[mark]), re.IGNORECASE)
        elif mark in harmony.OPENINGS:
            self._reply = HarmonyText()
            mark = ""
        elif mark in _REPLY and self.has_reasoning:
            self._reply = _ReplyUntil(_REPLY[mark])
        else:
            return False
        self.has_reasoning = True
        self._held = self._held[len(mark) :]
        return True


def _may_be_mark(text: str) -> bool:
    start = text[:_MAX_MARK].lower()
    return any(mark.startswith(start) for mark in _MARKS)


class _ReplyUntil:
    """Removes the mark at the end of a reply."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._pattern = re.compile(re.escape(mark), re.IGNORECASE)
        self._held = ""  # possibly the beginning of the mark

    def feed(self, text: str) -> str:
        text = self._pattern.sub("", self._held + text)
        sizes = range(min(len(self._mark), len(text)), 0, -1)
        size = next((size for size in sizes if self._mark.startswith(text[-size:].lower())), 0)
        self._held = text[len(text) - size :]
        return text[: len(text) - size]

    def end(self) -> str:
        held, self._held = self._held, ""
        return held

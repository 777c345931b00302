"""Why a server ended a reply: `finish_reason`, whose values differ between servers."""

import re
from enum import Enum
from typing import Final


class Ending(Enum):
    """What a finish reason means."""

    COMPLETE = "complete"
    LENGTH = "length"  # the maximum length was reached
    FILTERED = "filtered"
    FAILED = "failed"
    OVERLOADED = "overloaded"
    UNKNOWN = "unknown"


# Some servers send these in chunks that are not the last one.
_NONE: Final = frozenset({"", "null", "none", "nil", "undefined", "unspecified"})

_COMPLETE: Final = frozenset(
    {
        *("stop", "stopped", "end", "ended", "endturn", "eos", "eostoken", "eot", "eottoken", "eog"),
        *("stopsequence", "stopsequences", "stoptoken", "stopword", "stopwords", "stopstr", "stopstring"),
        *("complete", "completed", "completion", "finish", "finished", "done", "success", "succeeded", "ok", "normal"),
        *("toolcalls", "toolcall", "tooluse", "functioncall"),  # of the server's own tools; securechat offers none
    }
)
# Otherwise, the first of these that is a part of it. "MAX_TOKENS" and "SAFETY" are Gemini's, "sensitive" is Zhipu's,
# "insufficient_system_resource" DeepSeek's, "ERROR_TOXIC" Cohere's, "model_context_window_exceeded" Anthropic's.
_PARTS: Final = (
    (Ending.OVERLOADED, re.compile("resource|overload|capacity|ratelimit|quota|busy|unavailable")),
    (
        Ending.FILTERED,
        re.compile(
            "filter|safety|sensitive|polic|guard|block|prohibit|recitation|spii|refus|moderat|toxic|harm|unsafe"
        ),
    ),
    (Ending.LENGTH, re.compile("length|max.*token|tokenlimit|limittoken|context|maxlen")),
    (
        Ending.FAILED,
        re.compile("error|fail|abort|cancel|timeout|timelimit|interrupt|disconnect|malformed|exception|kill|reset"),
    ),
)
_MAX_REASON: Final = 64  # characters
_NO_LETTERS: Final = re.compile(r"[\W_]+")


def is_reason(value: object) -> bool:
    """Whether the value of `finish_reason` is one."""
    return isinstance(value, str) and _letters(value) not in _NONE


def ending(reason: str) -> Ending:
    """The meaning of a finish reason. Upper case and separators do not matter."""
    letters = _letters(reason)
    if letters in _COMPLETE:
        return Ending.COMPLETE
    return next((meant for meant, pattern in _PARTS if pattern.search(letters)), Ending.UNKNOWN)


def printable(reason: str) -> str:
    """A finish reason as it can be shown."""
    return "".join(filter(str.isprintable, reason[:_MAX_REASON]))


def _letters(reason: str) -> str:
    return _NO_LETTERS.sub("", reason[:_MAX_REASON].casefold()).removeprefix("finishreason")

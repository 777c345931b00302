"""Recognizes the errors of servers whose context is too short for a conversation.

There are almost as many texts as servers, and few have a code. What they have in common are words for the input, for
its length and for a limit that is exceeded, beside a number.
"""

import re
from typing import Final


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_CODES: Final = _any(
    r"context_length_exceeded|context_?window_?exceeded|exceed_context_size|prompt_tokens_exceeded|tokens_limit_reached",
    r"(?:string|array)_above_max_length|string_too_long|request_too_large|prompt_too_long|input_too_long",
    r"request too large",  # for the rate of tokens: it will be too large later as well
)
# Rates, quotas, credentials and the memory of the machine have limits, too.
_OTHER_LIMITS: Final = _any(
    r"rate.?limit|quota|budget\b|billing|credit|balance|too.?many.?requests|resource.?exhausted|try again in [0-9]",
    r"\bper.(?:second|minute|min|hour|day|month|user)\b|\b[rt]p[smd]\b|hourly|daily|weekly|monthly|concurren",
    r"memory|\bvram\b|failed to load|vocab|api.?key|access token",
)
# Limits of parameters, as opposed to those of the input.
_PARAMETERS: Final = _any(
    r"\bmax_\w*tokens\w*|\bmaxOutputTokens|\bbudget_tokens|(?:completion|output) tokens|input should be"
)

_PHRASES: Final = _any(
    r"\b(?:prompt|inputs?|messages?|conversation|context|request)\b.{0,40}\btoo (?:long|large to process|large for)\b",
    r"\btoo many (?:(?:input|prompt) )?tokens\b|\b(?:input|prompt) tokens? exceed",
    r"maximum (?:context|prompt|input) length",
    r"\bcontext (?:size|window|length|limit)\b[^.]{0,60}(?:exceed|overflow|too small)",
    r"(?:exceed|overflow|greater than|longer than|larger than)[^.]{0,60}\b(?:context|(?:input|prompt|sequence) length)",
    r"reduce the length|shorter (?:input|prompt)|shorten (?:the|your) (?:input|prompt|messages?|conversation)",
    r"(?:输入|提示|上下文|消息|对话|prompt|长度|tokens?).{0,20}(?:超长|过长|太长|超出|超过|超限)|超(?:出|过).{0,20}(?:上下文|长度)",
)
_INPUT: Final = _any(
    r"context|prompt|\binputs?\b|input_|messages?\b|conversation|sequence|\brequest|question|max_seq_len|session_len"
)
_LENGTH: Final = _any(r"token|length|context (?:size|window|limit)|max_seq_len|session_len|\bmaximum model\b")
_EXCESS: Final = _any(
    r"exceed|overflow|surpass|too (?:long|large|big|many)|(?:long|larg|great|bigg|high)er than(?! or equal)|more than",
    r"beyond|over the|at most|(?:must|should) (?:be|have) (?:<|less|fewer|small|short)|range of|reduc|not enough",
    r"not fit|maximum|\bmax\b|limit|> ?[0-9]{3}",
)
_NUMBER: Final = re.compile(r"[0-9]{3}|[0-9][.,][0-9]{3}")
# Some servers subtract the length of the prompt and complain about what is left for the reply.
_NOTHING_LEFT: Final = _any(r"max_\w*tokens\b.{0,60}(?:at least|greater than).{0,60}-[0-9]", r"max_\w*tokens \(?-[0-9]")


def is_overflow(words: str) -> bool:
    """Whether an error's codes and message say that the conversation is too long."""
    if _CODES.search(words):
        return True
    if _OTHER_LIMITS.search(words):
        return False
    if _NOTHING_LEFT.search(words):
        return True
    words = _PARAMETERS.sub("", words)
    if _PHRASES.search(words):
        return True
    return all(pattern.search(words) for pattern in (_NUMBER, _INPUT, _LENGTH, _EXCESS))

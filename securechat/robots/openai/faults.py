"""The meaning of an error's words: servers put it into a code, a type or only the message."""

import re
from typing import Final

from securechat.errors import Fault
from securechat.robots.openai.context_overflow import is_overflow


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_FILTER: Final = _any(
    r"content.?filter|content.?policy|content management policy|ResponsibleAIPolicy|moderation_blocked"
)
_QUOTA: Final = _any(
    r"insufficient.{0,10}(?:quota|balance|credit|funds)|payment.?required|(?:余额|额度)不足|欠费",
    r"(?:quota|credits?|balance).{0,40}(?:exceed|exhaust|too low|used up)",
    r"(?:exceed|exhaust|out of|not enough).{0,40}(?:quota|credit|balance)",
)
_BUSY: Final = _any(
    r"rate.?limit|too.?many.?requests|resource.?exhausted|throttl|overload|at capacity|server is busy|try again later",
    r"unavailable_error|(?:service|temporarily|provider).?unavailable|insufficient_system_resource",
    r"loading model|model is (?:currently |still )?loading|no models? (?:is |are )?(?:currently )?loaded",
    r"model.{0,80} not loaded",
)
_TIMED_OUT: Final = _any(r"timeout_error|gateway.?time.?out|request timed out|deadline.?exceeded")
_REFUSED: Final = _any(r"invalid_api_key|authentication|permission|not_found|invalid_request")
_MEANINGS: Final = (
    (Fault.REFUSED, _FILTER),
    (Fault.BUSY, _QUOTA),
    (Fault.BUSY, _BUSY),
    (Fault.TIMED_OUT, _TIMED_OUT),
    (Fault.REFUSED, _REFUSED),
)
_STATUSES: Final = {
    401: Fault.REFUSED,
    402: Fault.BUSY,  # Payment Required: the quota is used up
    408: Fault.TIMED_OUT,
    413: Fault.TOO_LONG,
    429: Fault.BUSY,
    503: Fault.BUSY,
    504: Fault.TIMED_OUT,
    524: Fault.TIMED_OUT,  # Cloudflare's
    529: Fault.BUSY,  # Anthropic's
}
_KEY: Final = _any(r"\bkeys?\b|api.?key|token|credential|authenti|authori[sz]|permission|unauthori[sz]ed")
_MODEL: Final = _any(
    r"model_not|\bmodels?\b.{0,80}(?:not|n't|unknown|invalid|unsupported|missing|deprecated|decommissioned|retired)\b",
    r"(?:\bno|not|n't|unknown|invalid|unsupported|missing|specify a)\b.{0,60}\bmodels?\b",
    r"does not support (?:chat|completion|generat)|模型.{0,20}不|(?:不|无效).{0,20}模型",
)


def fault_of(status: int | None, words: str) -> Fault:
    """The fault that an error with this HTTP status and these words means; `status` is None if it was a success."""
    if status in (401, 402):
        return _STATUSES[status]
    if not _FILTER.search(words) and status != 403 and is_overflow(words):
        return Fault.TOO_LONG
    if status in _STATUSES:
        return _STATUSES[status]
    for fault, pattern in _MEANINGS:
        if pattern.search(words):
            return fault
    return Fault.REFUSED if status is not None and 400 <= status < 500 else Fault.BROKEN_ANSWER


def is_about_key(words: str) -> bool:
    """Whether an error's words say that the API key is missing, wrong or lacks a permission."""
    return _KEY.search(words) is not None


def is_about_model(words: str) -> bool:
    """Whether an error's words say that the model does not exist, does not chat, or something similar."""
    return _MODEL.search(words) is not None

"""Deciding whether a user may be answered: which limit is reached, and when it ends. No clock, no files, no Twisted."""

import math
from datetime import date
from enum import Enum
from typing import Final, NamedTuple

from msgspec import Struct

from securechat.i18n import _, ngettext
from securechat.server.limits import UserLimits

MINUTE: Final = 60.0  # seconds
DAY: Final = 86400  # seconds: the clock of UTC in POSIX has no leap seconds

_EPOCH: Final = date(1970, 1, 1).toordinal()


class Kind(Enum):
    """What a user asks for."""

    MESSAGE = "message"
    CALL = "call"  # an API request


class Counts(Struct):
    """What one user has used on one day."""

    messages: int = 0
    calls: int = 0
    prompt_tokens: int = 0  # of everything that the robot read
    completion_tokens: int = 0  # of everything that it wrote
    estimated_tokens: int = 0  # of both, those that no server has counted

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def count(self, kind: Kind) -> None:
        if kind is Kind.MESSAGE:
            self.messages += 1
        else:
            self.calls += 1

    def of(self, kind: Kind) -> int:
        return self.messages if kind is Kind.MESSAGE else self.calls

    def add(self, other: "Counts") -> None:
        self.messages += other.messages
        self.calls += other.calls
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.estimated_tokens += other.estimated_tokens


class Minute:
    """The number of messages and API requests in a minute, which begins with the first of them."""

    __slots__ = ("_counts", "_ends")

    def __init__(self) -> None:
        self._counts = Counts()
        self._ends = -math.inf

    def count(self, kind: Kind, now: float) -> None:
        """`now` is in seconds of a monotonic clock."""
        if now >= self._ends:
            self._counts, self._ends = Counts(), now + MINUTE
        self._counts.count(kind)

    def of(self, kind: Kind, now: float) -> int:
        return self._counts.of(kind) if now < self._ends else 0

    def left(self, now: float) -> float:
        """Seconds until it ends."""
        return self._ends - now


class Measure(Enum):
    """What a limit counts."""

    MESSAGES_PER_MINUTE = "messages-per-minute"
    MESSAGES_PER_DAY = "messages-per-day"
    CALLS_PER_MINUTE = "calls-per-minute"
    CALLS_PER_DAY = "calls-per-day"
    TOKENS_PER_DAY = "tokens-per-day"
    REPLIES = "max-replies"


_PER_MINUTE: Final = {Kind.MESSAGE: Measure.MESSAGES_PER_MINUTE, Kind.CALL: Measure.CALLS_PER_MINUTE}
_PER_DAY: Final = {Kind.MESSAGE: Measure.MESSAGES_PER_DAY, Kind.CALL: Measure.CALLS_PER_DAY}


class LimitReached(NamedTuple):
    """A limit that the user has reached."""

    measure: Measure
    limit: int
    seconds: int  # until the limit ends; 0 if that is not known, because it ends with another reply

    def __str__(self) -> str:
        """The text for the user."""
        limit = self._limit.format(limit=self.limit)
        if not self.seconds:
            return _("You have reached your limit of {limit}; try again when a reply has ended.").format(limit=limit)
        text = _("You have reached your limit of {limit}; try again in {time}.")
        return text.format(limit=limit, time=_duration(self.seconds))

    @property
    def _limit(self) -> str:
        match self.measure:
            case Measure.MESSAGES_PER_MINUTE:
                return ngettext("{limit} message a minute", "{limit} messages a minute", self.limit)
            case Measure.MESSAGES_PER_DAY:
                return ngettext("{limit} message a day (UTC)", "{limit} messages a day (UTC)", self.limit)
            case Measure.CALLS_PER_MINUTE:
                return ngettext("{limit} API request a minute", "{limit} API requests a minute", self.limit)
            case Measure.CALLS_PER_DAY:
                return ngettext("{limit} API request a day (UTC)", "{limit} API requests a day (UTC)", self.limit)
            case Measure.TOKENS_PER_DAY:
                return ngettext("{limit} token a day (UTC)", "{limit} tokens a day (UTC)", self.limit)
            case Measure.REPLIES:
                return ngettext("{limit} reply at a time", "{limit} replies at a time", self.limit)


def _duration(seconds: int) -> str:
    """Hours and minutes, or seconds if it is less than a minute; rounded up."""
    if seconds < MINUTE:
        return _("{seconds} s").format(seconds=seconds)
    hours, minutes = divmod(-(-seconds // 60), 60)
    if not hours:
        return _("{minutes} min").format(minutes=minutes)
    return _("{hours} h {minutes} min").format(hours=hours, minutes=minutes)


class Use(NamedTuple):
    """What an account has used when a message is about to be answered."""

    today: Counts
    minute: Minute
    replies: int  # in progress
    wall: float  # seconds since 1970
    now: float  # monotonic seconds


def check(limits: UserLimits, kind: Kind, use: Use, factor: int = 1) -> LimitReached | None:
    """The limit that the next message would exceed, if there is one; of several, the one that ends last.

    `factor`: this many users share the account.
    """
    is_message = kind is Kind.MESSAGE
    per_day = limits.messages_per_day if is_message else limits.calls_per_day
    if per_day and use.today.of(kind) >= per_day * factor:
        return LimitReached(_PER_DAY[kind], per_day, seconds_left(use.wall))
    per_day = limits.tokens_per_day
    if per_day and use.today.tokens >= per_day * factor:
        return LimitReached(Measure.TOKENS_PER_DAY, per_day, seconds_left(use.wall))
    per_minute = limits.messages_per_minute if is_message else limits.calls_per_minute
    if per_minute and use.minute.of(kind, use.now) >= per_minute * factor:
        return LimitReached(_PER_MINUTE[kind], per_minute, math.ceil(max(1.0, use.minute.left(use.now))))
    if limits.max_replies and use.replies >= limits.max_replies * factor:
        return LimitReached(Measure.REPLIES, limits.max_replies, 0)
    return None


def day_of(wall: float) -> date:
    """The day in UTC."""
    return date.fromordinal(_EPOCH + int(wall // DAY))


def seconds_left(wall: float) -> int:
    """Whole seconds until the next day begins in UTC, at least 1."""
    return math.ceil(DAY - wall % DAY)

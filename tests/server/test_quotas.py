"""Which limit a user has reached, and when it ends."""

from datetime import UTC, date, datetime
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from securechat.server.limits import UserLimits
from securechat.server.quotas import Counts, Kind, LimitReached, Measure, Minute, Use, check, day_of, seconds_left

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def use(*, replies: int = 0, now: float = 0.0, minute: Minute | None = None, **today: int) -> Use:
    return Use(Counts(**today), minute or Minute(), replies, NOON, now)


def used(name: str, number: int) -> Use:
    return Use(Counts(**{name: number}), Minute(), 0, NOON, 0.0)


class CheckTests(SynchronousTestCase):
    """The decision about one message."""

    def check(
        self, limits: dict[str, Any], kind: Kind, by_now: Use, factor: int = 1
    ) -> tuple[Measure, int, int] | None:
        reached = check(UserLimits(**limits), kind, by_now, factor)
        return None if reached is None else (reached.measure, reached.limit, reached.seconds)

    def test_noLimits(self) -> None:
        """By default there are no limits."""
        much = use(replies=1000, messages=10**9, calls=10**9, prompt_tokens=10**12)
        for kind in Kind:
            self.assertIsNone(self.check({}, kind, much))

    def test_perDay(self) -> None:
        """The last message that a day allows is answered, and the next one only after midnight UTC."""
        for kind, name, measure in (
            (Kind.MESSAGE, "messages", Measure.MESSAGES_PER_DAY),
            (Kind.CALL, "calls", Measure.CALLS_PER_DAY),
        ):
            limits = {f"{name}_per_day": 3}
            self.assertIsNone(self.check(limits, kind, used(name, 2)))
            self.assertEqual(self.check(limits, kind, used(name, 3)), (measure, 3, 12 * 3600))

    def test_kinds(self) -> None:
        """Messages do not count for the limits of API requests, nor the other way round."""
        limits = {"messages_per_day": 1, "calls_per_day": 1, "messages_per_minute": 1, "calls_per_minute": 1}
        minute = Minute()
        minute.count(Kind.MESSAGE, 0.0)
        self.assertIsNone(self.check(limits, Kind.CALL, use(minute=minute, messages=9)))
        self.assertIsNotNone(self.check(limits, Kind.MESSAGE, use(minute=minute)))
        self.assertIsNone(self.check(limits, Kind.MESSAGE, use(calls=9)))

    def test_perMinute(self) -> None:
        """A minute begins with its first message; what is left of it is rounded up."""
        minute = Minute()
        limits = {"messages_per_minute": 2}
        for now in (100.0, 100.5):
            self.assertIsNone(self.check(limits, Kind.MESSAGE, use(now=now, minute=minute)))
            minute.count(Kind.MESSAGE, now)
        for now, seconds in ((100.5, 60), (110.5, 50), (159.9, 1)):
            found = self.check(limits, Kind.MESSAGE, use(now=now, minute=minute))
            self.assertEqual(found, (Measure.MESSAGES_PER_MINUTE, 2, seconds))
        self.assertIsNone(self.check(limits, Kind.MESSAGE, use(now=160.0, minute=minute)))

    def test_tokens(self) -> None:
        """Tokens of prompts and replies count together, for messages and API requests."""
        for kind in Kind:
            self.assertIsNone(self.check({"tokens_per_day": 10}, kind, use(prompt_tokens=8, completion_tokens=1)))
            found = self.check({"tokens_per_day": 10}, kind, use(prompt_tokens=8, completion_tokens=2))
            self.assertEqual(found, (Measure.TOKENS_PER_DAY, 10, 12 * 3600))

    def test_replies(self) -> None:
        """When a limit on concurrent replies ends is not known."""
        self.assertIsNone(self.check({"max_replies": 2}, Kind.CALL, use(replies=1)))
        self.assertEqual(self.check({"max_replies": 2}, Kind.CALL, use(replies=2)), (Measure.REPLIES, 2, 0))

    def test_longest(self) -> None:
        """Of several limits, a user reads the one that ends last."""
        minute = Minute()
        minute.count(Kind.MESSAGE, 0.0)
        limits = {"messages_per_minute": 1, "messages_per_day": 1, "max_replies": 1}
        found = self.check(limits, Kind.MESSAGE, use(replies=1, minute=minute, messages=1))
        self.assertEqual(found, (Measure.MESSAGES_PER_DAY, 1, 12 * 3600))

    def test_factor(self) -> None:
        """An account that is shared may use more."""
        self.assertIsNone(self.check({"messages_per_day": 1}, Kind.MESSAGE, use(messages=3), 4))
        self.assertIsNotNone(self.check({"messages_per_day": 1}, Kind.MESSAGE, use(messages=4), 4))


class DayTests(SynchronousTestCase):
    """Days are those of UTC."""

    def test_days(self) -> None:
        """A day ends at midnight UTC, whatever the time zone of the server."""
        self.assertEqual(day_of(NOON), date(2026, 3, 1))
        self.assertEqual(day_of(NOON + 12 * 3600 - 0.001), date(2026, 3, 1))
        self.assertEqual(day_of(NOON + 12 * 3600), date(2026, 3, 2))

    def test_secondsLeft(self) -> None:
        """The end of the day is never now."""
        for wall, seconds in ((NOON, 12 * 3600), (NOON + 12 * 3600 - 0.2, 1), (NOON + 12 * 3600, 24 * 3600)):
            self.assertEqual(seconds_left(wall), seconds)


class TextTests(SynchronousTestCase):
    """What a user reads."""

    def test_texts(self) -> None:
        """The text says which limit was reached, and when it ends."""
        for reached, text in (
            ((Measure.MESSAGES_PER_DAY, 200, 12345), "limit of 200 messages a day (UTC); try again in 3 h 26 min."),
            ((Measure.CALLS_PER_DAY, 1, 3600), "limit of 1 API request a day (UTC); try again in 1 h 0 min."),
            ((Measure.MESSAGES_PER_MINUTE, 1, 59), "limit of 1 message a minute; try again in 59 s."),
            ((Measure.CALLS_PER_MINUTE, 2, 60), "limit of 2 API requests a minute; try again in 1 min."),
            ((Measure.TOKENS_PER_DAY, 5000, 61), "limit of 5000 tokens a day (UTC); try again in 2 min."),
            ((Measure.REPLIES, 2, 0), "limit of 2 replies at a time; try again when a reply has ended."),
        ):
            self.assertEqual(str(LimitReached(*reached)), f"You have reached your {text}")

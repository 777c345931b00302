"""What users have used today, and whether they may use more.

An authorized user is known by name: all keys with that name share an account. Any other client counts for its source,
as everywhere (protocol, section 13). Accounts of sources are in memory only, so that no address is saved; the ledger
has the sum of all of them.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from types import TracebackType
from typing import Final

from twisted.internet.defer import CancelledError

from securechat.conversation import Usage
from securechat.server.admission import SITE_FACTOR, Holder
from securechat.server.estimates import Estimate
from securechat.server.ledger.interface import ANONYMOUS, Entry
from securechat.server.limits import UserLimits
from securechat.server.quotas import DAY, Counts, Kind, LimitReached, Minute, Use, check, day_of

MAX_SOURCES: Final = 4096  # with accounts of their own; the one that was not used for the longest time is dropped first


class _Counters:
    """The counters of one user, source or site."""

    __slots__ = ("_day", "factor", "minute", "replies", "today")

    def __init__(self, factor: int = 1) -> None:
        """`factor`: the account may use this many times the limits of a user."""
        self._day = date.min
        self.factor = factor
        self.today = Counts()  # of the day for which `begin_day` was called last
        self.minute = Minute()
        self.replies = 0  # in progress

    def begin_day(self, day: date) -> None:
        """Reset the counters if the day has changed."""
        if day != self._day:
            self._day, self.today = day, Counts()


class UserAccount:
    """The counters to which the messages of one client are added: its user's, or those of its source and site."""

    __slots__ = ("_accounts", "_of", "_user")

    def __init__(self, accounts: "Accounts", user: str, of: Sequence[_Counters]) -> None:
        """`user` is the name in the ledger."""
        self._accounts = accounts
        self._user = user
        self._of = of

    def begin(self, kind: Kind) -> LimitReached | None:
        """Count a message that is about to be answered, and its reply as a concurrent one until `end`.

        If that would exceed a limit, nothing is counted, and the limit is returned.
        """
        return self._accounts.begin(self._user, self._of, kind)

    def end(self, usage: Usage, estimate: Estimate) -> None:
        """A reply has ended. The estimate is used if no server has counted its tokens.

        It is also used if the reply was cancelled and the estimate is higher: servers report their numbers at the end,
        and what looks like them before may be part of the user's own request, which the server has sent back.
        """
        prompt, completion, estimated = usage.prompt, usage.completion, 0
        if estimate.is_cancelled or not (prompt or completion):
            read, written = estimate.tokens
            estimated = max(0, read - prompt) + max(0, written - completion)
            prompt, completion = max(prompt, read), max(completion, written)
        counts = Counts(prompt_tokens=prompt, completion_tokens=completion, estimated_tokens=estimated)
        self._accounts.end(self._user, self._of, counts)


class Counted:
    """Counts the tokens of an answer at the end of a `with` block, and ends it in its account, if it has one."""

    __slots__ = ("_account", "_estimate", "_total", "_usage")

    def __init__(self, total: Usage, usage: Usage, estimate: Estimate, account: UserAccount | None) -> None:
        """`usage` is that of this answer, and is added to `total`."""
        self._total = total
        self._usage = usage
        self._estimate = estimate
        self._account = account

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        self._estimate.is_cancelled = kind is not None and issubclass(kind, CancelledError)
        self._total.add(self._usage.prompt, self._usage.completion)
        if self._account is not None:
            self._account.end(self._usage, self._estimate)


class Accounts:
    """The accounts of all users of this daemon, and the changes that no ledger has yet."""

    def __init__(
        self,
        default: UserLimits,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`default` are the limits of users without limits of their own; `wall` is in seconds since 1970."""
        self.default = default
        self.limits: Mapping[str, UserLimits] = {}  # of users with limits of their own, by name
        self.problem = ""  # why the ledger could not be used when it was last tried; empty if it could
        self._monotonic = monotonic
        self._wall = wall
        self._users: dict[str, _Counters] = {}
        self._sources: dict[str, _Counters] = {}  # the least recently used comes first
        self._day = date.min
        self._day_ends = 0.0  # seconds since 1970
        self._changes: dict[tuple[date, str], Counts] = {}
        self._unread: set[str] = set()  # users whose counters in the ledger may have changed

    def of_user(self, name: str) -> UserAccount:
        """The account of an authorized user, who has begun a session."""
        self._unread.add(name)
        return UserAccount(self, name, (self._users.setdefault(name, _Counters()),))

    def of_source(self, source: Holder) -> UserAccount:
        """The account of any other client."""
        of = [self._source(source.name, 1)]
        if source.site:
            of.append(self._source(source.site, SITE_FACTOR))
        return UserAccount(self, ANONYMOUS, of)

    def _source(self, name: str, factor: int) -> _Counters:
        account = self._sources.pop(name, None) or _Counters(factor)
        self._sources[name] = account
        if len(self._sources) > MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
        return account

    def begin(self, user: str, of: Sequence[_Counters], kind: Kind) -> LimitReached | None:
        """As in UserAccount."""
        wall, now = self._look_at_day(), self._monotonic()
        limits = self.limits.get(user, self.default)
        for account in of:
            account.begin_day(self._day)
            use = Use(account.today, account.minute, account.replies, wall, now)
            reached = check(limits, kind, use, account.factor)
            if reached is not None:
                return reached
        for account in of:
            account.today.count(kind)
            account.minute.count(kind, now)
            account.replies += 1
        self._change(self._day, user).count(kind)
        return None

    def end(self, user: str, of: Sequence[_Counters], counts: Counts) -> None:
        """A reply has ended; `counts` are its tokens. They belong to the day on which it ends."""
        self._look_at_day()
        for account in of:
            account.begin_day(self._day)
            account.today.add(counts)
            account.replies -= 1
        self._change(self._day, user).add(counts)

    def _change(self, day: date, user: str) -> Counts:
        return self._changes.setdefault((day, user), Counts())

    def _look_at_day(self) -> float:
        """The time. If it is another day's, change the day; the new one may be earlier, if the clock was wrong."""
        now = self._wall()
        if not 0 < self._day_ends - now <= DAY:
            self._day = day_of(now)
            self._day_ends = now // DAY * DAY + DAY
            self._unread.update(self._users)
        return now

    # For the ledger

    @property
    def day(self) -> date:
        """Today in UTC."""
        self._look_at_day()
        return self._day

    @property
    def has_news(self) -> bool:
        """Whether there are changes that no ledger has, or counters in the ledger that may have changed."""
        return bool(self._changes or self._unread)

    def take_changes(self) -> list[Entry]:
        """The changes, which the caller saves, or returns with `give_back`."""
        changes, self._changes = self._changes, {}
        return [Entry(day, user, counts) for (day, user), counts in changes.items()]

    def give_back(self, changes: Iterable[Entry]) -> None:
        """These changes could not be saved."""
        for day, user, counts in changes:
            self._change(day, user).add(counts)

    @property
    def unread(self) -> list[str]:
        """The users whose counters in the ledger may have changed."""
        return [*self._unread]

    def look_again(self, users: Iterable[str]) -> None:
        """Other daemons may have changed the counters of these users in the ledger."""
        self._unread.update(users)

    def read(self, day: date, counted: Mapping[str, Counts]) -> None:
        """The counters of users in the ledger, which has all changes that were taken."""
        self._look_at_day()
        if day != self._day:
            return
        for user, counts in counted.items():
            self._unread.discard(user)
            today = Counts()
            for part in (counts, self._changes.get((day, user))):
                if part is not None:
                    today.add(part)
            if user != ANONYMOUS:
                account = self._users.setdefault(user, _Counters())
                account.begin_day(day)
                account.today = today

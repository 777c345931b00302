"""A ledger in memory that can fail or keep its callers waiting."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed

from securechat.server.ledger.interface import Entry, LedgerError
from securechat.server.quotas import Counts


class MemoryLedger:
    """`counted` has the counters by day and user, `problem` is why every call fails, if it does."""

    def __init__(self) -> None:
        self.counted: dict[tuple[date, str], Counts] = {}
        self.problem = ""
        self.bug: Exception | None = None  # that exchanges raise
        self.exchanges = 0
        self.is_closed = False
        self.waiting: Deferred[None] | None = None  # exchanges wait for it

    def exchange(self, changes: Sequence[Entry], day: date, users: Collection[str]) -> Deferred[Mapping[str, Counts]]:
        self.exchanges += 1
        if self.bug is not None:
            raise self.bug
        return Deferred.fromCoroutine(self._exchange(changes, day, users))

    async def _exchange(self, changes: Sequence[Entry], day: date, users: Collection[str]) -> Mapping[str, Counts]:
        if self.waiting is not None:
            await self.waiting
        if self.problem:
            raise LedgerError(self.problem)
        for entry in changes:
            self.counted.setdefault((entry.day, entry.user), Counts()).add(entry.counts)
        return {user: replace(self.counted[day, user]) for user in users if (day, user) in self.counted}

    def usage(self, since: date) -> Deferred[Sequence[Entry]]:
        if self.problem:
            return fail(LedgerError(self.problem))
        first = min((day for day, _user in self.counted if day >= since), default=None)
        return succeed(
            [Entry(*key, replace(counts)) for key, counts in sorted(self.counted.items()) if key[0] == first]
        )

    def close(self) -> Deferred[None]:
        self.is_closed = True
        return succeed(None)

"""The ledger in a PostgreSQL database, which several daemons share.

Changes are added exactly once. If a connection is lost while a transaction is being committed, the daemon cannot know
whether it was. So each transaction also saves the number of its batch in a row of this daemon. The next one reads that
number first, and leaves out what was saved already. The row is locked from the first statement on, so that the next
transaction waits for that of a lost connection if it is still in progress.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from operator import sub
from typing import Any, Final
from uuid import UUID, uuid4

from msgspec.structs import astuple
from psycopg import Connection
from twisted.internet.defer import Deferred, succeed

from securechat.server.ledger.interface import Entry
from securechat.server.ledger.postgresql.database import Database
from securechat.server.quotas import Counts

# Days without an exchange after which the row of a daemon is removed, and with it the outcome of its last batch.
DAEMON_DAYS: Final = 30

# Adds the row of this daemon, or locks it after other transactions have ended; returns the number of the last batch.
_BEGIN: Final = """
INSERT INTO daemon (id, batch, seen) VALUES (%s, 0, current_date)
ON CONFLICT (id) DO UPDATE SET seen = excluded.seen RETURNING batch
"""
_END: Final = "UPDATE daemon SET batch = %s WHERE id = %s"
_ADD: Final = """
INSERT INTO usage AS before (day, name, messages, calls, prompt_tokens, completion_tokens, estimated_tokens)
SELECT * FROM unnest(
    %s::date[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]
)
ON CONFLICT (day, name) DO UPDATE SET
    messages = before.messages + excluded.messages,
    calls = before.calls + excluded.calls,
    prompt_tokens = before.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = before.completion_tokens + excluded.completion_tokens,
    estimated_tokens = before.estimated_tokens + excluded.estimated_tokens
"""
_OF_USERS: Final = """
SELECT name, messages, calls, prompt_tokens, completion_tokens, estimated_tokens
FROM unnest(%s::text[]) AS connected (name) JOIN usage USING (name) WHERE day = %s
"""
_SINCE: Final = """
SELECT day, name, messages, calls, prompt_tokens, completion_tokens, estimated_tokens FROM usage
WHERE day = (SELECT min(day) FROM usage WHERE day >= %s) ORDER BY name COLLATE "C"
"""
# The latest days that there are, not the last days before today: a clock that is wrong for a while removes little.
# They are found one by one in the index, because a scan of the table might take longer than a statement may.
_PRUNE: Final = """
WITH RECURSIVE latest (day, number) AS (
    SELECT max(day), 1 FROM usage
    UNION ALL
    SELECT (SELECT max(usage.day) FROM usage WHERE usage.day < latest.day), number + 1 FROM latest
    WHERE latest.day IS NOT NULL AND number < %(days)s
)
DELETE FROM usage WHERE day < (SELECT day FROM latest WHERE number = %(days)s)
"""
_PRUNE_DAEMONS: Final = "DELETE FROM daemon WHERE seen < current_date - %s"


class PostgresLedger:
    """Reads and writes the tables. There is one exchange at a time; if it fails, the next one has its changes."""

    def __init__(self, database: Database, max_days: int) -> None:
        """The counters of the latest `max_days` days are kept, of those on which something was counted."""
        self._database = database
        self._max_days = max_days
        self._daemon: UUID = uuid4()
        self._number = 0  # of the last batch that was sent
        self._sent: dict[int, Sequence[Entry]] = {}  # what is saved if the last saved batch has this number
        self._pruned: date | None = None  # the day on which old days were removed last

    def exchange(self, changes: Sequence[Entry], day: date, users: Collection[str]) -> Deferred[Mapping[str, Counts]]:
        """As in Ledger."""
        return self._database.run(lambda connection: self._exchange(connection, changes, day, users)).addCallback(
            self._exchanged
        )

    def _exchanged(self, counted: Mapping[str, Counts]) -> Mapping[str, Counts]:
        self._sent = {}
        return counted

    def usage(self, since: date) -> Deferred[Sequence[Entry]]:
        """As in Ledger."""
        return self._database.run(lambda connection: _usage(connection, since))

    def close(self) -> Deferred[None]:
        """As in Ledger."""
        self._database.close()
        return succeed(None)

    # In a thread

    def _exchange(
        self, connection: Connection[Any], changes: Sequence[Entry], day: date, users: Collection[str]
    ) -> dict[str, Counts]:
        if changes:
            self._add(connection, changes)
            self._prune(connection, day)
        rows = connection.execute(_OF_USERS, (list(users), day))
        return {name: Counts(*counts) for name, *counts in rows}

    def _add(self, connection: Connection[Any], changes: Sequence[Entry]) -> None:
        row = connection.execute(_BEGIN, (self._daemon,)).fetchone()
        assert row is not None
        (last,) = row
        saved = self._sent.get(last, ())
        self._number += 1
        self._sent = {last: saved, self._number: changes}
        # Sorted, so that daemons that change the same rows cannot deadlock
        rows = sorted((entry.day, entry.user, *astuple(entry.counts)) for entry in without(changes, saved))
        connection.execute(_ADD, [list(column) for column in zip(*rows, strict=True)] or [[]] * 7)
        connection.execute(_END, (self._number, self._daemon))

    def _prune(self, connection: Connection[Any], day: date) -> None:
        if self._pruned != day:
            connection.execute(_PRUNE, {"days": self._max_days})
            connection.execute(_PRUNE_DAEMONS, (DAEMON_DAYS,))
            self._pruned = day


def without(changes: Sequence[Entry], saved: Sequence[Entry]) -> list[Entry]:
    """The part of the changes that is not saved yet."""
    before = {(entry.day, entry.user): entry.counts for entry in saved}
    left = []
    for day, user, counts in changes:
        rest = Counts(*map(sub, astuple(counts), astuple(before.get((day, user), Counts()))))
        if rest != Counts():
            left.append(Entry(day, user, rest))
    return left


def _usage(connection: Connection[Any], since: date) -> list[Entry]:
    return [Entry(day, name, Counts(*counts)) for day, name, *counts in connection.execute(_SINCE, (since,))]

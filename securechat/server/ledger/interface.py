"""Where the counters of users are kept: a database, possibly one that several daemons share."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from securechat.errors import SecureChatError
from securechat.server.quotas import Counts

ANONYMOUS = ""  # the user in whose name all clients count that are no authorized users


class Entry(NamedTuple):
    """What one user has used on one day."""

    day: date
    user: str
    counts: Counts


class LedgerError(SecureChatError):
    """The database cannot be read or written; the text says why, for the log."""


class Ledger(Protocol):
    """Counters by user and day, and nothing else. Every method fails with LedgerError, and never blocks."""

    def exchange(self, changes: Sequence[Entry], day: date, users: Collection[str]) -> Deferred[Mapping[str, Counts]]:
        """Add changes, all or none of them, and fire with the counters of these users on a day.

        Users who have used nothing on that day are left out. Another daemon may have added to the same counters.
        """

    def usage(self, since: date) -> Deferred[Sequence[Entry]]:
        """The counters of the first day from `since` on that has any, by user; empty if there is no such day."""

    def close(self) -> Deferred[None]:
        """Fires when everything is written."""

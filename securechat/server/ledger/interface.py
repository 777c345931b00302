"""Where the counters of users are kept: a database, possibly one that several daemons share."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple, Protocol

from twisted.internet.defer import Deferred

from securechat.errors import SecureChatError
from securechat.server.quotas import Counts

ANONYMOUS = ""  # the name under which all clients other than authorized users are counted

KICK: Final = "kick"  # a notice: end the sessions of a user
RELOAD: Final = "reload"  # a notice: do what SIGHUP does


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
        """The counters, by user, of the first day from `since` on that has any; empty if there is no such day."""

    def close(self) -> Deferred[None]:
        """Fires when everything is written."""


class Notices(Protocol):
    """Notices between the daemons that share a ledger."""

    def start(self, act: Callable[[str, str], None]) -> None:
        """From now on, call `act` with the action and the name of each notice of another daemon."""

    def send(self, action: str, name: str) -> Deferred[None]:
        """Send a notice, which reaches the other daemons within a second. It fails with LedgerError."""

    def stop(self) -> None:
        """Ignore further notices."""

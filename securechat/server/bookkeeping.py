"""Saving what users have used in a ledger, every few seconds.

If the ledger fails, the log says so once, and users are still answered: limits use the counters that are known, and
changes are kept until they can be saved. Nothing is saved twice.
"""

from collections.abc import AsyncIterator, Callable, Collection
from datetime import date, timedelta
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from securechat.server.accounts import Accounts
from securechat.server.ledger.interface import Entry, Ledger, LedgerError
from securechat.server.quotas import Counts

log = Logger()

INTERVAL: Final = 3.0  # seconds from one exchange to the next; a crash loses the usage since the last one
SHARED_INTERVAL: Final = 1.0  # the same for a shared ledger: other daemons know of a change after two of these
STOP_TIMEOUT: Final = 5.0  # seconds to save the last changes; a disk that hangs must not keep the daemon from ending
ONE_DAY: Final = timedelta(days=1)


class Bookkeeping:
    """Exchanges the changes of all accounts for what the ledger knows."""

    def __init__(
        self,
        accounts: Accounts,
        ledger: Ledger,
        clock: IReactorTime,
        connected: Callable[[], Collection[str]] | None = None,
    ) -> None:
        """`connected` returns the users with a session, if other daemons may change their counters in the ledger."""
        self._accounts = accounts
        self._ledger = ledger
        self._clock = clock
        self._lock = DeferredLock()  # one exchange at a time
        self._loop = LoopingCall(self._save_news)
        self._loop.clock = clock
        self._connected = connected

    def start(self) -> None:
        """Read what was used today, and save changes from now on."""
        self._loop.start(INTERVAL if self._connected is None else SHARED_INTERVAL, now=False)
        Deferred.fromCoroutine(self._read())

    def stop(self) -> Deferred[None]:
        """Save the last changes; fires when the ledger is closed."""
        if self._loop.running:
            self._loop.stop()
        stopped = Deferred.fromCoroutine(self._close())
        stopped.addTimeout(STOP_TIMEOUT, self._clock)
        return stopped.addErrback(self._stop_timed_out)

    def _stop_timed_out(self, failure: Failure) -> None:
        failure.trap(TimeoutError)
        self._note("timed out")

    async def usage(self, since: date | None) -> AsyncIterator[Entry]:
        """The usage of users up to now, by day and user: from a day on, or today.

        LedgerError, at the end if the ledger can be read but not written, so that the latest changes are not included.
        """
        await self._saved()
        day = since or self._accounts.day
        while entries := await self._ledger.usage(day):
            for entry in entries:
                yield entry
            if entries[0].day == date.max:
                break
            day = entries[0].day + ONE_DAY
        if self._accounts.problem:
            raise LedgerError(f"the latest usage is not saved: {self._accounts.problem}")

    def _saved(self) -> Deferred[None]:
        """As `_save`. Cancelling it does not cancel the exchange, whose changes would be lost if it failed."""
        saved: Deferred[None] = Deferred()
        Deferred.fromCoroutine(self._save()).chainDeferred(saved)
        return saved

    async def _close(self) -> None:
        await self._save()
        await self._ledger.close()

    async def _read(self) -> None:
        day = self._accounts.day
        try:
            entries = await self._ledger.usage(day)
        except CancelledError:
            raise
        except Exception as error:
            self._note(_problem(error))
        else:
            self._accounts.read(day, {entry.user: entry.counts for entry in entries if entry.day == day})

    async def _save_news(self) -> None:
        if self._connected is not None:
            self._accounts.look_again(self._connected())
        if self._accounts.has_news or self._accounts.problem:
            await self._save()

    async def _save(self) -> None:
        """Save all changes, and read the counters of users that may have changed."""
        await self._lock.acquire()
        try:
            accounts = self._accounts
            day, changes = accounts.day, accounts.take_changes()
            users = {*accounts.unread, *(entry.user for entry in changes)}
            try:
                counted = await self._ledger.exchange(changes, day, users)
            except CancelledError:
                raise
            except Exception as error:  # whatever it is, it must not stop the next attempt
                accounts.give_back(changes)
                self._note(_problem(error))
            else:
                accounts.read(day, {**dict.fromkeys(users, Counts()), **counted})
                self._note("")
        finally:
            self._lock.release()

    def _note(self, problem: str) -> None:
        """Log when the ledger begins to fail, and when it works again."""
        previous, self._accounts.problem = self._accounts.problem, problem
        if bool(problem) is bool(previous):
            return
        if problem:
            log.error(
                "usage cannot be saved: {problem}; users are not affected, limits use the last known counters",
                problem=problem,
            )
        else:
            log.info("usage is saved again")


def _problem(error: Exception) -> str:
    return str(error) if isinstance(error, LedgerError) else f"{type(error).__name__}: {error}"

"""Counting what users have used, and saving it in a ledger that may fail, with a clock that may be wrong."""

from datetime import UTC, date, datetime
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from securechat.conversation import Usage
from securechat.server.accounts import MAX_SOURCES, Accounts, UserAccount
from securechat.server.admission import source_of
from securechat.server.bookkeeping import INTERVAL, SHARED_INTERVAL, STOP_TIMEOUT, Bookkeeping
from securechat.server.ledger.interface import ANONYMOUS, Entry, LedgerError
from securechat.server.limits import UserLimits
from securechat.server.quotas import Counts, Kind, Measure
from tests.harness.ledger import MemoryLedger

DAY = 24 * 3600
TODAY = date(2026, 3, 1)
TOMORROW = date(2026, 3, 2)


class Known:
    """An estimate that is known."""

    def __init__(self, read: int, written: int, *, is_cancelled: bool = False) -> None:
        self.tokens = read, written
        self.is_cancelled = is_cancelled


class AccountsTestCase(SynchronousTestCase):
    """Accounts with two messages a day, and a ledger."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.now = datetime(2026, 3, 1, 23, tzinfo=UTC).timestamp()  # of the wall clock
        self.ledger = MemoryLedger()
        self.logged: list[tuple[Any, str]] = []
        observer = cast(ILogObserver, lambda event: self.logged.append((event["log_level"], formatEvent(event))))
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.accounts, self.books = self.start(messages_per_day=2)

    def start(self, **limits: int) -> tuple[Accounts, Bookkeeping]:
        """A daemon."""
        accounts = Accounts(UserLimits(**limits), self.clock.seconds, lambda: self.now)
        books = Bookkeeping(accounts, self.ledger, self.clock)
        books.start()
        return accounts, books

    def ask(self, account: UserAccount, kind: Kind = Kind.MESSAGE, tokens: tuple[int, int] = (1, 1)) -> Measure | None:
        """Have a message answered; the limit if one was reached."""
        reached = account.begin(kind)
        if reached is None:
            account.end(Usage(*tokens), Known(0, 0))
            return None
        return reached.measure

    def messages(self) -> dict[tuple[date, str], int]:
        """The messages in the ledger."""
        return {key: counts.messages for key, counts in self.ledger.counted.items()}


class AccountTests(AccountsTestCase):
    """Counting."""

    def test_sessionsOfAUser(self) -> None:
        """The sessions of a user count together, those of others do not."""
        first, second, other = (self.accounts.of_user(name) for name in ("ann", "ann", "bob"))
        self.assertEqual([self.ask(account) for account in (first, second, other)], [None] * 3)
        self.assertEqual(self.ask(first), Measure.MESSAGES_PER_DAY)
        self.assertIsNone(self.ask(other))

    def test_ownLimits(self) -> None:
        """A user may have limits of their own, and they may change."""
        account = self.accounts.of_user("ann")
        self.accounts.limits = {"ann": UserLimits(messages_per_day=3)}
        self.assertEqual([self.ask(account) for _ in range(4)], [None, None, None, Measure.MESSAGES_PER_DAY])
        self.accounts.limits = {"ann": UserLimits()}
        self.assertIsNone(self.ask(account))

    def test_refusedIsNotCounted(self) -> None:
        """A message that is refused does not count."""
        account = self.accounts.of_user("ann")
        for _ in range(9):
            self.ask(account)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.messages(), {(TODAY, "ann"): 2})

    def test_concurrentReplies(self) -> None:
        """Replies count until they end."""
        accounts, _books = self.start(max_replies=1)
        account = accounts.of_user("ann")
        self.assertIsNone(account.begin(Kind.MESSAGE))
        self.assertEqual(self.ask(account, Kind.CALL), Measure.REPLIES)
        account.end(Usage(), Known(0, 0))
        self.assertIsNone(self.ask(account, Kind.CALL))

    def test_tokens(self) -> None:
        """Tokens are those that a server counted, or else an estimate that is marked as such."""
        account = self.accounts.of_user("ann")
        account.begin(Kind.CALL)
        account.end(Usage(10, 5), Known(100, 100))
        account.begin(Kind.CALL)
        account.end(Usage(), Known(3, 4))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.ledger.counted, {(TODAY, "ann"): Counts(0, 2, 13, 9, 7)})

    def test_cancelled(self) -> None:
        """Of a cancelled reply, the larger numbers count."""
        account = self.accounts.of_user("ann")
        account.begin(Kind.CALL)
        account.end(Usage(10, 1), Known(4, 6, is_cancelled=True))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.ledger.counted, {(TODAY, "ann"): Counts(0, 1, 10, 6, 5)})

    def test_sources(self) -> None:
        """Clients that are no authorized users count for their address or /64 network; a /48 has four times that."""
        self.assertEqual(
            [self.ask(self.accounts.of_source(source_of("192.0.2.1"))) for _ in range(3)],
            [None, None, Measure.MESSAGES_PER_DAY],
        )
        self.assertIsNone(self.ask(self.accounts.of_source(source_of("192.0.2.2"))))
        found = [self.ask(self.accounts.of_source(source_of(f"2001:db8:1:{number}::1"))) for number in range(9)]
        self.assertEqual(found, [None] * 8 + [Measure.MESSAGES_PER_DAY])

    def test_noAddressIsSaved(self) -> None:
        """The ledger has the sum of all sources, and no address."""
        for host in ("192.0.2.1", "2001:db8::1"):
            self.ask(self.accounts.of_source(source_of(host)))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.messages(), {(TODAY, ANONYMOUS): 2})

    def test_manySources(self) -> None:
        """The number of sources with an account is bounded; the least recently used is forgotten."""
        first = source_of("192.0.2.1")
        for _ in range(2):
            self.ask(self.accounts.of_source(first))
        for number in range(MAX_SOURCES - 1):
            self.accounts.of_source(source_of(f"10.0.{number >> 8}.{number & 255}"))
        self.assertIsNotNone(self.ask(self.accounts.of_source(first)))
        for number in range(MAX_SOURCES):
            self.accounts.of_source(source_of(f"10.1.{number >> 8}.{number & 255}"))
        self.assertIsNone(self.ask(self.accounts.of_source(first)))

    def test_forgottenSource(self) -> None:
        """A session whose source was forgotten meanwhile has limits that end, like any other."""
        account = self.accounts.of_source(source_of("192.0.2.1"))
        for _ in range(2):
            self.ask(account)
        for number in range(MAX_SOURCES):
            self.accounts.of_source(source_of(f"10.0.{number >> 8}.{number & 255}"))
        self.assertEqual(self.ask(account), Measure.MESSAGES_PER_DAY)
        self.now += DAY
        self.assertIsNone(self.ask(account))


class DayTests(AccountsTestCase):
    """The end of a day, and clocks that jump."""

    def test_rollover(self) -> None:
        """At midnight UTC the limits begin anew, and what was not saved yet counts for the day before."""
        account = self.accounts.of_user("ann")
        for _ in range(2):
            self.ask(account)
        self.now += 3600
        self.assertIsNone(self.ask(account))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.messages(), {(TODAY, "ann"): 2, (TOMORROW, "ann"): 1})

    def test_replyOverMidnight(self) -> None:
        """A reply that began before midnight ends after it; its tokens belong to the new day."""
        account = self.accounts.of_user("ann")
        account.begin(Kind.MESSAGE)
        self.now += 3600
        account.end(Usage(5, 5), Known(0, 0))
        self.clock.advance(INTERVAL)
        self.assertEqual(
            self.ledger.counted, {(TODAY, "ann"): Counts(1, 0, 0, 0), (TOMORROW, "ann"): Counts(0, 0, 5, 5)}
        )

    def test_clockJumps(self) -> None:
        """After a clock was wrong by days in either direction, the limits of the right day hold again."""
        account = self.accounts.of_user("ann")
        for _ in range(2):
            self.ask(account)
        self.clock.advance(INTERVAL)
        for jump in (400 * DAY, -400 * DAY, DAY, -DAY):
            self.now += jump
            self.assertIsNone(self.ask(account))
            self.clock.advance(INTERVAL)
            self.now -= jump
            self.accounts.day  # noqa: B018 - it is another day again
            self.clock.advance(INTERVAL)
            self.assertEqual(self.ask(account), Measure.MESSAGES_PER_DAY)
        self.assertEqual(sorted(self.messages().values()), [1, 1, 1, 1, 2])

    def test_wallClockAndMinutes(self) -> None:
        """A jump of the wall clock does not move the end of a minute."""
        accounts, _books = self.start(messages_per_minute=1)
        account = accounts.of_user("ann")
        self.ask(account)
        self.now -= 1000
        self.clock.advance(59)
        self.assertEqual(self.ask(account), Measure.MESSAGES_PER_MINUTE)
        self.clock.advance(1)
        self.assertIsNone(self.ask(account))


class LedgerTests(AccountsTestCase):
    """Saving."""

    def test_savedEveryFewSeconds(self) -> None:
        """Changes are saved together, and nothing is done if there are none."""
        account = self.accounts.of_user("ann")
        self.clock.advance(INTERVAL)
        before = self.ledger.exchanges
        for _ in range(2):
            self.ask(account)
        self.assertEqual(self.messages(), {})
        self.clock.advance(INTERVAL)
        self.assertEqual(self.messages(), {(TODAY, "ann"): 2})
        self.clock.pump([INTERVAL] * 5)
        self.assertEqual(self.ledger.exchanges, before + 1)

    def test_restart(self) -> None:
        """A daemon that starts knows what was used before, on the same day."""
        account = self.accounts.of_user("ann")
        for _ in range(2):
            self.ask(account)
        self.successResultOf(self.books.stop())
        self.assertTrue(self.ledger.is_closed)
        accounts, _books = self.start(messages_per_day=2)
        self.assertEqual(self.ask(accounts.of_user("ann")), Measure.MESSAGES_PER_DAY)
        self.assertIsNone(self.ask(accounts.of_user("bob")))

    def test_severalDaemons(self) -> None:
        """What a user has used at one daemon is known to the other a few seconds later."""
        others, _books = self.start(messages_per_day=2)
        there = others.of_user("ann")
        here = self.accounts.of_user("ann")
        self.assertEqual([self.ask(here), self.ask(there)], [None, None])
        self.clock.advance(INTERVAL)
        self.assertEqual(self.ask(there), Measure.MESSAGES_PER_DAY)
        self.assertEqual(self.messages(), {(TODAY, "ann"): 2})

    def test_sharedLedger(self) -> None:
        """What a connected user has used elsewhere is known every second, also if this daemon has nothing to save."""
        accounts = Accounts(UserLimits(messages_per_day=2), self.clock.seconds, lambda: self.now)
        books = Bookkeeping(accounts, self.ledger, self.clock, lambda: {"ann"})
        books.start()
        account = accounts.of_user("ann")
        self.clock.advance(SHARED_INTERVAL)
        self.ledger.counted[TODAY, "ann"] = Counts(messages=2)
        self.clock.advance(SHARED_INTERVAL)
        self.assertEqual(self.ask(account), Measure.MESSAGES_PER_DAY)

    def test_failure(self) -> None:
        """If the ledger fails, users are answered, and the log says so once. Later all changes are saved once."""
        account = self.accounts.of_user("ann")
        self.ledger.problem = "disk full"
        for _ in range(4):
            self.ask(account)
            self.clock.advance(INTERVAL)
        self.assertEqual(self.ask(account), Measure.MESSAGES_PER_DAY)
        self.assertIsNone(self.ask(self.accounts.of_user("bob")))
        errors = [text for level, text in self.logged if level is LogLevel.error]
        self.assertEqual(len(errors), 1)
        self.assertIn("usage cannot be saved: disk full", errors[0])
        self.assertEqual(self.accounts.problem, "disk full")
        self.ledger.problem = ""
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(self.messages(), {(TODAY, "ann"): 2, (TODAY, "bob"): 1})
        self.assertEqual(self.logged[-1][1], "usage is saved again")
        self.assertEqual(self.accounts.problem, "")

    def test_bug(self) -> None:
        """An unexpected error of the ledger loses nothing either, and does not end the saving."""
        self.ledger.bug = ZeroDivisionError("x")
        self.ask(self.accounts.of_user("ann"))
        self.clock.pump([INTERVAL] * 2)
        self.assertIn("usage cannot be saved: ZeroDivisionError: x", self.logged[-1][1])
        self.ledger.bug = None
        self.clock.advance(INTERVAL)
        self.assertEqual(self.messages(), {(TODAY, "ann"): 1})

    def test_stopDuringAnExchange(self) -> None:
        """What an exchange that is under way at the end cannot save is saved by the last one."""
        self.ask(self.accounts.of_user("ann"))
        slow: Deferred[None] = Deferred()
        self.ledger.waiting = slow
        self.clock.advance(INTERVAL)
        self.ask(self.accounts.of_user("ann"))
        stopped = self.books.stop()
        self.ledger.waiting = None
        slow.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.messages(), {(TODAY, "ann"): 2})

    def test_failureAtTheStart(self) -> None:
        """A daemon whose ledger cannot be read starts, and learns later what was used before."""
        self.ask(self.accounts.of_user("ann"))
        self.successResultOf(self.books.stop())
        self.ledger.problem = "locked"
        accounts, _books = self.start(messages_per_day=2)
        account = accounts.of_user("ann")
        self.assertIsNone(self.ask(account))
        self.ledger.problem = ""
        self.clock.advance(INTERVAL)
        self.assertEqual(self.ask(account), Measure.MESSAGES_PER_DAY)

    def test_noUsers(self) -> None:
        """A daemon that nobody uses notices, too, that its ledger works again."""
        self.ledger.problem = "locked"
        accounts, _books = self.start()
        self.assertEqual(accounts.problem, "locked")
        self.ledger.problem = ""
        self.clock.advance(INTERVAL)
        self.assertEqual(accounts.problem, "")

    def test_changesDuringAnExchange(self) -> None:
        """What is used while the ledger is slow is neither lost nor counted twice."""
        account = self.accounts.of_user("ann")
        self.accounts.default = UserLimits(messages_per_day=4)
        self.ask(account)
        slow: Deferred[None] = Deferred()
        self.ledger.waiting = slow
        self.clock.advance(INTERVAL)
        self.ask(account)
        self.clock.advance(10 * INTERVAL)
        self.ledger.waiting = None
        slow.callback(None)
        self.assertEqual([self.ask(account) for _ in range(3)], [None, None, Measure.MESSAGES_PER_DAY])
        self.clock.pump([INTERVAL] * 2)
        self.assertEqual(self.messages(), {(TODAY, "ann"): 4})

    def test_usage(self) -> None:
        """A query returns what was used up to now, from a day on."""
        self.ask(self.accounts.of_user("ann"))
        self.now += DAY
        self.ask(self.accounts.of_user("bob"))
        used = Counts(1, 0, 1, 1)
        all_of_it = [Entry(TODAY, "ann", used), Entry(TOMORROW, "bob", used)]
        self.assertEqual(self.usage(TODAY), all_of_it)
        self.assertEqual(self.usage(TOMORROW), all_of_it[1:])
        self.assertEqual(self.usage(None), all_of_it[1:])
        self.assertEqual(self.usage(date.max), [])
        self.ledger.counted[date.max, "ann"] = used
        self.assertEqual(self.usage(date.max), [Entry(date.max, "ann", used)])

    def test_usageThatCannotBeRead(self) -> None:
        """A query fails if the ledger does, and also if only the latest usage cannot be saved."""
        self.ask(self.accounts.of_user("ann"))
        self.ledger.problem = "disk full"
        self.failureResultOf(self.query(TODAY), LedgerError)
        self.ledger.problem = ""
        self.ledger.bug = ZeroDivisionError("x")
        error = self.failureResultOf(self.query(TODAY), LedgerError).value
        self.assertEqual(str(error), "the latest usage is not saved: ZeroDivisionError: x")

    def test_cancelledQuery(self) -> None:
        """A query that is cancelled while it has changes saved loses none of them, even if that fails."""
        self.ask(self.accounts.of_user("ann"))
        slow: Deferred[None] = Deferred()
        self.ledger.waiting = slow
        query = self.query(TODAY)
        query.cancel()
        self.failureResultOf(query, CancelledError)
        self.ledger.problem = "disk full"
        self.ledger.waiting = None
        slow.callback(None)
        self.ledger.problem = ""
        self.clock.pump([INTERVAL] * 2)
        self.assertEqual(self.messages(), {(TODAY, "ann"): 1})

    def query(self, since: date | None) -> Deferred[list[Entry]]:
        async def all_entries() -> list[Entry]:
            return [entry async for entry in self.books.usage(since)]

        return Deferred.fromCoroutine(all_entries())

    def usage(self, since: date | None) -> list[Entry]:
        """The result of a query."""
        return self.successResultOf(self.query(since))

    def test_stopWithASlowLedger(self) -> None:
        """A ledger that hangs does not keep the daemon from ending."""
        self.ask(self.accounts.of_user("ann"))
        self.ledger.waiting = Deferred()
        stopped = self.books.stop()
        self.assertNoResult(stopped)
        self.clock.advance(STOP_TIMEOUT)
        self.successResultOf(stopped)

"""The ledger in a real PostgreSQL: several daemons, lost connections, a server that is stopped and started."""

from datetime import timedelta
from threading import Barrier
from typing import Any, cast

import psycopg
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, globalLogPublisher

from securechat.server.ledger.interface import Entry, LedgerError
from securechat.server.ledger.postgresql.database import Database
from securechat.server.ledger.postgresql.ledger import PostgresLedger
from securechat.server.ledger.postgresql.notices import INTERVAL, PostgresNotices
from securechat.server.quotas import Counts
from tests.harness import ledger_tests
from tests.harness.ledger_tests import DAY, TWICE, USED
from tests.harness.postgresql import PostgreSQL, why_not
from tests.harness.postgresql_proxy import Fate, Proxy

reactor: Any = installed


class PostgresTestCase(ledger_tests.LedgerTestCase):
    """A server with an empty database."""

    skip = why_not()
    timeout = 120

    def setUp(self) -> None:
        self.server = PostgreSQL()
        self.addCleanup(self.server.remove)
        self.ledger = self.open()

    def open(self, uri: str = "", max_days: int = 400) -> PostgresLedger:
        """The ledger of another daemon."""
        ledger = PostgresLedger(Database(uri or self.server.uri, None, reactor), max_days)
        self.addCleanup(ledger.close)
        return ledger

    async def assertFails(self, problem: str) -> None:
        with self.assertRaisesRegex(LedgerError, f"^postgresql://securechat@/securechat: {problem}") as caught:
            await self.add(users=("ann",))
        self.assertEqual(len(str(caught.exception).splitlines()), 1)


class PostgresLedgerTests(PostgresTestCase, ledger_tests.CommonTests):
    """One daemon."""

    async def test_otherDays(self) -> None:
        """A day is read by itself; a query returns the first day with any usage."""
        later = DAY + timedelta(3)
        await self.add(Entry(DAY, "ann", USED), Entry(later, "ann", TWICE))
        self.assertEqual(await self.add(day=later, users=("ann",)), {"ann": TWICE})
        self.assertEqual(list(await self.ledger.usage(DAY)), [Entry(DAY, "ann", USED)])
        self.assertEqual(list(await self.ledger.usage(DAY + timedelta(1))), [Entry(later, "ann", TWICE)])
        self.assertEqual(list(await self.ledger.usage(later + timedelta(1))), [])

    async def test_oldDays(self) -> None:
        """Only the latest days are kept, also if the clock was wrong by years for a while."""
        self.ledger = self.open(max_days=3)
        for number in (0, 1, 2, 3, 1000):
            await self.add(Entry(DAY + timedelta(number), "ann", USED), day=DAY + timedelta(number))
        kept = self.server.query("SELECT day FROM usage ORDER BY day")
        self.assertEqual(kept, [(DAY + timedelta(number),) for number in (2, 3, 1000)])

    async def test_fewDays(self) -> None:
        """Nothing is removed as long as there are not more days than are kept."""
        self.ledger = self.open(max_days=3)
        for number in (0, 1, 2):
            await self.add(Entry(DAY + timedelta(number), "ann", USED), day=DAY + timedelta(number))
        self.assertEqual(self.server.messages(), {"ann": 3})

    async def test_oldDaemons(self) -> None:
        """The rows of daemons that have not been seen for a month are removed."""
        await self.add(Entry(DAY, "ann", USED))
        self.server.query("UPDATE daemon SET seen = current_date - 31")
        self.ledger = self.open()
        await self.add(Entry(DAY, "ann", USED))
        self.assertEqual(len(self.server.query("SELECT * FROM daemon")), 1)

    async def test_nothingButCounters(self) -> None:
        """There are days, users and numbers."""
        await self.add(Entry(DAY, "ann", USED))
        self.assertEqual(self.server.query("SELECT * FROM usage"), [(DAY, "ann", 1, 2, 3, 4, 5)])

    async def test_readsWithoutWriting(self) -> None:
        """An exchange without changes writes nothing."""
        await self.add(users=("ann",))
        self.assertEqual(self.server.query("SELECT * FROM daemon"), [])


class MigrationTests(PostgresTestCase):
    """Creating the tables."""

    async def test_manyDaemons(self) -> None:
        """Daemons that start at the same time do not get in each other's way."""
        ledgers = [self.open() for _ in range(8)]
        changes = [Entry(DAY, "ann", USED)]
        await gatherResults([ledger.exchange(changes, DAY, ()) for ledger in ledgers], consumeErrors=True)
        self.assertEqual(self.server.messages(), {"ann": 8})

    async def test_newerTables(self) -> None:
        """Tables of a newer version are left alone."""
        await self.add()
        self.server.query("INSERT INTO migration (number) VALUES (1000)")
        self.ledger = self.open()
        await self.assertFails("the tables were made by a newer version of securechat")

    async def test_withoutRights(self) -> None:
        """A role that may not create tables gets one line; with tables, it needs no such right."""
        admin = ("admin", "securechat")
        self.server.query("ALTER DATABASE securechat OWNER TO admin", "admin", "postgres")
        await self.assertFails("permission denied for schema public")
        self.server.query("GRANT CREATE ON SCHEMA public TO securechat", *admin)
        await self.add(Entry(DAY, "ann", USED))
        self.server.query("REVOKE CREATE ON SCHEMA public FROM securechat", *admin)
        self.ledger = self.open()
        await self.add(Entry(DAY, "ann", USED))
        self.assertEqual(self.server.messages(), {"ann": 2})


class FailureTests(PostgresTestCase):
    """A server or a connection that fails."""

    def setUp(self) -> None:
        super().setUp()
        directory = self.server.directory / "proxy"
        directory.mkdir()
        self.proxy = Proxy(directory, self.server.socket)
        self.addCleanup(self.proxy.close)
        self.ledger = self.open(self.server.uri_at(directory))
        self.logged: list[Any] = []
        observer = cast(ILogObserver, self.logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    async def test_commitNotConfirmed(self) -> None:
        """Changes are added once, whether or not the COMMIT that nobody has confirmed was carried out."""
        await self.add(Entry(DAY, "ann", USED))
        expected = 1
        for fate in (Fate.DONE, Fate.LOST, Fate.DONE):
            with self.subTest(fate=fate):
                self.proxy.fate = fate
                with self.assertRaises(LedgerError):
                    await self.add(Entry(DAY, "ann", USED))
                found = await self.add(Entry(DAY, "ann", TWICE), users=("ann",))
                expected += 2
                self.assertEqual(found["ann"].messages, expected)
        self.assertEqual(self.server.messages(), {"ann": expected})

    @staticmethod
    def so_far(number: int) -> list[Entry]:
        """The changes of an exchange after others have failed, in each of which ann and another user had one more."""
        others = [Entry(DAY, f"user {other}", Counts(1)) for other in range(1, number + 1)]
        return [Entry(DAY, "ann", Counts(number)), *others]

    async def test_commitsNotConfirmed(self) -> None:
        """The same holds if the next COMMITs are not confirmed either, in any order of their outcomes."""
        expected = 0
        await self.add(users=("ann",))
        for first in Fate.DONE, Fate.LOST:
            for second in Fate.DONE, Fate.LOST:
                for third in Fate.DONE, Fate.LOST:
                    for number, fate in enumerate((first, second, third), 1):
                        self.proxy.fate = fate
                        with self.assertRaises(LedgerError):
                            await self.add(*self.so_far(number))
                    await self.add(*self.so_far(4))
                    expected += 1
                    found = self.server.messages()
                    users = {f"user {number}": expected for number in (1, 2, 3, 4)}
                    self.assertEqual(found, {"ann": 4 * expected, **users})

    async def test_lateCommit(self) -> None:
        """A transaction whose COMMIT is still on its way is waited for."""
        await self.add(Entry(DAY, "ann", USED))
        self.proxy.fate = Fate.LATE
        with self.assertRaises(LedgerError):
            await self.add(Entry(DAY, "ann", USED))
        again = self.ledger.exchange([Entry(DAY, "ann", USED)], DAY, ("ann",))
        while not again.called and not self.server.query("SELECT * FROM pg_locks WHERE NOT granted"):
            await soon()
        self.proxy.release.set()
        self.assertEqual(dict(await again), {"ann": TWICE})
        self.assertEqual(self.server.messages(), {"ann": 2})

    async def test_restart(self) -> None:
        """A server that is stopped, or crashes, and is started again is used again; the log is left to the caller."""
        for mode in ("fast", "immediate"):
            await self.add(Entry(DAY, "ann", USED))
            self.server.stop(mode)
            for _ in range(2):
                with self.assertRaises(LedgerError):
                    await self.add(Entry(DAY, "ann", TWICE))
            self.server.start()
            await self.add(Entry(DAY, "ann", TWICE))
        self.assertEqual(self.server.messages(), {"ann": 6})
        self.assertEqual([event for event in self.logged if event.get("log_failure")], [])

    async def test_idleConnections(self) -> None:
        """Connections that the server has closed while nobody used them are replaced before a transaction."""
        database = Database(self.server.uri, None, reactor)
        self.addCleanup(database.close)

        together = Barrier(3)

        def use(connection: psycopg.Connection[Any]) -> None:
            connection.execute("SELECT")
            together.wait(30)  # so that each of the threads uses its connection

        for mode in ("fast", "immediate"):
            await gatherResults([database.run(use) for _ in range(3)])
            self.server.stop(mode)
            self.server.start()
        await gatherResults([database.run(use) for _ in range(3)])

    async def test_unreachable(self) -> None:
        """A server that does not run is reported in one line."""
        self.ledger = self.open(self.server.uri)
        self.server.stop()
        await self.assertFails("connection to server on socket .* failed: No such file or directory")

    async def test_locked(self) -> None:
        """A statement that waits for a lock for too long fails, and nothing is added."""
        await self.add(Entry(DAY, "ann", USED))
        with psycopg.connect(self.server.uri) as other:
            other.execute("LOCK TABLE usage")
            await self.assertFails("canceling statement due to statement timeout")
        self.assertEqual(await self.add(Entry(DAY, "ann", USED), users=("ann",)), {"ann": TWICE})

    async def test_ownTimeouts(self) -> None:
        """A daemon that stops within a transaction does not keep its locks for ever."""
        database = Database(self.server.uri, None, reactor)
        self.addCleanup(database.close)
        shown = await database.run(
            lambda connection: connection.execute("SHOW idle_in_transaction_session_timeout").fetchone()
        )
        self.assertEqual(shown, ("10s",))


def soon() -> Deferred[None]:
    """Fires in the next turns of the reactor."""
    later: Deferred[None] = Deferred()
    reactor.callLater(0.01, later.callback, None)
    return later


class SharedTests(PostgresTestCase):
    """Several daemons."""

    async def test_together(self) -> None:
        """What daemons add at the same time adds up, in whatever order their users come."""
        ledgers = [self.open() for _ in range(4)]
        names = [f"user {number}" for number in range(50)]
        for turn in range(5):
            orders = (names, names[::-1], names[turn:] + names[:turn], names)
            await gatherResults(
                [
                    ledger.exchange([Entry(DAY, name, USED) for name in order], DAY, ())
                    for ledger, order in zip(ledgers, orders, strict=True)
                ],
                consumeErrors=True,
            )
        self.assertEqual(self.server.messages(), dict.fromkeys(names, 20))

    async def test_eachOthers(self) -> None:
        """A daemon reads what another one has added."""
        await self.add(Entry(DAY, "ann", USED))
        found = await self.open().exchange([], DAY, ("ann", "bob"))
        self.assertEqual(dict(found), {"ann": USED})


class NoticeTests(PostgresTestCase):
    """What daemons tell each other."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.here, self.there = self.notices(), self.notices()
        self.received: list[tuple[str, str]] = []
        self.arrived: Deferred[None] = Deferred()

    def notices(self) -> PostgresNotices:
        database = Database(self.server.uri, None, reactor)
        self.addCleanup(database.close)
        notices = PostgresNotices(database, reactor, self.clock)
        self.addCleanup(notices.stop)
        return notices

    def act(self, action: str, name: str) -> None:
        self.received.append((action, name))
        arrived, self.arrived = self.arrived, Deferred()
        arrived.callback(None)

    def listeners(self) -> int:
        """The number of connections that listen."""
        return len(self.server.query("SELECT * FROM pg_stat_activity WHERE query LIKE 'LISTEN%'", "admin"))

    async def listening(self, number: int) -> None:
        """Wait until so many connections listen."""
        while self.listeners() != number:
            await soon()

    async def test_notified(self) -> None:
        """The others are told at once, without their clocks, in order; the one that has sent it is not."""
        self.here.start(lambda action, name: self.fail("told itself"))
        self.there.start(self.act)
        await self.listening(2)
        for name in ("ann", "bob"):
            arrived = self.arrived
            await self.here.send("kick", name)
            await arrived
        self.assertEqual(self.received, [("kick", "ann"), ("kick", "bob")])

    async def test_connectionLost(self) -> None:
        """What is sent while a daemon's connection is lost arrives when it looks, and then it listens again."""
        self.there.start(self.act)
        await self.listening(1)
        self.server.stop()
        self.server.start()
        arrived = self.arrived
        await self.here.send("kick", "ann")
        while not (arrived.called and self.listeners() == 1):
            self.clock.advance(INTERVAL)
            await soon()
        arrived = self.arrived
        await self.here.send("kick", "bob")
        await arrived
        self.assertEqual(self.received, [("kick", "ann"), ("kick", "bob")])

    async def test_beforeTheStart(self) -> None:
        """A daemon ignores what was sent before it was started."""
        await self.here.send("kick", "ann")
        self.server.query("UPDATE notice SET made = made - interval '1 minute'")
        self.there.start(self.act)
        await self.listening(1)
        arrived = self.arrived
        await self.here.send("kick", "bob")
        await arrived
        self.assertEqual(self.received, [("kick", "bob")])

    async def test_old(self) -> None:
        """Notices are removed after a day."""
        await self.here.send("kick", "ann")
        self.server.query("UPDATE notice SET made = made - interval '25 hours'")
        await self.here.send("kick", "bob")
        self.assertEqual(self.server.query("SELECT name FROM notice"), [("bob",)])

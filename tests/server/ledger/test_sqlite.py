"""The ledger in a real file of SQLite's: locked, corrupt, on a full disk, and shared by two daemons."""

import os
import resource
import sqlite3
import stat
import tempfile
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.threads import deferToThread

from securechat.server.ledger.interface import Entry, LedgerError
from securechat.server.ledger.sqlite import VERSION, SqliteLedger
from tests.harness import ledger_tests
from tests.harness.ledger_tests import DAY, TWICE, USED

reactor: Any = installed

NOBODY = 65534  # a user without privileges
FILE_LIMIT = 256 * 1024  # bytes of a file


class SqliteLedgerTests(ledger_tests.CommonTests):
    """One file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp(), "state", "usage.sqlite")
        self.ledger = self.open()

    def open(self, max_days: int = 400) -> SqliteLedger:
        ledger = SqliteLedger(self.path, reactor, max_days, lock_timeout=0.05)
        self.addCleanup(ledger.close)
        return ledger

    async def days(self) -> list[date]:
        """The days with any usage."""
        days: list[date] = []
        since = date.min
        while found := await self.ledger.usage(since):
            days.append(found[0].day)
            since = found[0].day + timedelta(days=1)
        return days

    async def assertFails(self, problem: str) -> None:
        with self.assertRaisesRegex(LedgerError, problem) as caught:
            await self.add(Entry(DAY, "ann", USED))
        self.assertIn(str(self.path), str(caught.exception))

    async def test_reopened(self) -> None:
        """The file keeps what was saved, and belongs to its user only."""
        await self.add(Entry(DAY, "ann", USED))
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.path.parent.stat().st_mode), 0o700)
        await self.ledger.close()
        self.assertEqual(os.listdir(self.path.parent), [self.path.name])
        self.ledger = self.open()
        self.assertEqual(await self.add(users=("ann",)), {"ann": USED})

    async def test_nothingButCounters(self) -> None:
        """There is one table, of days, users and numbers."""
        await self.add(Entry(DAY, "ann", USED))
        with closing(sqlite3.connect(self.path)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
            rows = connection.execute("SELECT * FROM usage").fetchall()
        self.assertEqual(tables, [("usage",)])
        self.assertEqual(rows, [("2026-03-01", "ann", 1, 2, 3, 4, 5)])

    async def test_twoDaemons(self) -> None:
        """Two daemons that use the same file add to the same counters."""
        other = self.open()
        for ledger in (self.ledger, other):
            found = await ledger.exchange([Entry(DAY, "ann", USED)], DAY, ("ann",))
        self.assertEqual(dict(found), {"ann": TWICE})

    async def test_since(self) -> None:
        """A query returns the first day with any usage from one on, by user."""
        days = [DAY + timedelta(days=number) for number in (0, 2)]
        entries = [Entry(day, user, USED) for day in days for user in ("", "ann", "bob")]
        await self.add(*reversed(entries))
        for since, found in ((date.min, entries[:3]), (DAY, entries[:3]), (days[1], entries[3:]), (date.max, [])):
            self.assertEqual(list(await self.ledger.usage(since)), found)
        self.assertEqual(list(await self.ledger.usage(DAY + timedelta(days=1))), entries[3:])

    async def test_pruned(self) -> None:
        """The latest days are kept. A clock that is wrong by years removes no more than one."""
        self.ledger = self.open(max_days=3)
        days = [DAY + timedelta(days=number) for number in range(5)]
        for day in days:
            await self.add(Entry(day, "ann", USED), Entry(day, "bob", USED), day=day)
        self.assertEqual(await self.days(), days[2:])
        wrong = DAY + timedelta(days=9999)
        await self.add(Entry(wrong, "ann", USED), day=wrong)
        self.assertEqual(await self.days(), [*days[3:], wrong])

    async def test_locked(self) -> None:
        """While another program holds the file, nothing is added; afterwards it is added once."""
        await self.add(Entry(DAY, "ann", USED))
        with closing(sqlite3.connect(self.path)) as other:
            other.execute("BEGIN IMMEDIATE")
            await self.assertFails("database is locked")
            other.rollback()
        self.assertEqual(await self.add(Entry(DAY, "ann", USED), users=("ann",)), {"ann": TWICE})

    async def test_corrupt(self) -> None:
        """A file that is no database is left alone; when it is moved away, a new one is made."""
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(b"no database " * 1000)
        for _ in range(2):
            await self.assertFails("file is not a database")
        self.assertTrue(self.path.read_bytes().startswith(b"no database"))
        self.path.rename(self.path.with_suffix(".bad"))
        self.assertEqual(await self.add(Entry(DAY, "ann", USED), users=("ann",)), {"ann": USED})

    async def test_oddRows(self) -> None:
        """Rows that another program has written, with no numbers or days in them, are an error like any other."""
        await self.add(Entry(DAY, "ann", USED))
        for column, value, problem in (
            ("messages", "", "Expected `int`, got `str`"),
            ("messages", 1e19, "Expected `int`, got `float`"),
            ("day", "2026-03-99", "Invalid RFC3339"),
            ("user", b"\xff", "Expected `str`, got `bytes`"),
        ):
            with closing(sqlite3.connect(self.path)) as connection, connection:
                connection.execute("DELETE FROM usage")
                connection.execute("INSERT INTO usage VALUES (?, 'ann', 1, 2, 3, 4, 5)", (DAY.isoformat(),))
                connection.execute(f"UPDATE usage SET {column} = ?", (value,))
            with self.assertRaisesRegex(LedgerError, f"{self.path}: {problem}"):
                await self.ledger.usage(DAY)
            if column == "messages":
                with self.assertRaisesRegex(LedgerError, problem):
                    await self.add(users=("ann",))

    async def test_newer(self) -> None:
        """A file of a newer version is not written to."""
        await self.add(Entry(DAY, "ann", USED))
        await self.ledger.close()
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        self.ledger = self.open()
        await self.assertFails("made by a newer version of securechat")

    async def test_noDirectory(self) -> None:
        """A directory that cannot be made is an error like any other."""
        self.path.parent.parent.mkdir(parents=True)
        self.path.parent.write_bytes(b"")
        await self.assertFails("File exists|Not a directory")

    async def test_readOnly(self) -> None:
        """In a directory where nothing can be written, nothing is added; when that is possible, everything is."""
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(rmtree, directory)
        if os.geteuid() == 0:  # who could write all the same
            os.chown(directory, NOBODY, NOBODY)
            os.seteuid(NOBODY)
            self.addCleanup(os.seteuid, 0)
        self.path = directory / "usage.sqlite"
        self.ledger = self.open()
        await self.add(Entry(DAY, "ann", USED))
        await self.ledger.close()
        self.ledger = self.open()
        for mode, problem in ((0o600, "attempt to write a readonly database"), (0o400, "Permission denied")):
            self.path.chmod(mode)
            directory.chmod(0o500)
            await self.assertFails(problem)
        directory.chmod(0o700)
        self.path.chmod(0o600)
        self.assertEqual(await self.add(Entry(DAY, "ann", USED), users=("ann",)), {"ann": TWICE})

    async def test_fullDisk(self) -> None:
        """On a full disk nothing is added, not even a part; when there is space, everything is."""
        await self.add(Entry(DAY, "ann", USED))
        many = [Entry(DAY, f"{number:060}", USED) for number in range(20_000)]  # some 2 MB
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, limits[1]))
        try:
            with self.assertRaisesRegex(LedgerError, "full|disk I/O error"):
                await self.add(*many, Entry(DAY, "ann", USED))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.assertEqual(list(await self.ledger.usage(DAY)), [Entry(DAY, "ann", USED)])
        await self.add(*many, Entry(DAY, "ann", USED))
        found = await self.ledger.usage(DAY)
        self.assertEqual((len(found), found[-1]), (20_001, Entry(DAY, "ann", TWICE)))

    async def test_reactorGoesOn(self) -> None:
        """The reactor is not blocked while the file is locked."""
        await self.add(Entry(DAY, "ann", USED))
        with closing(sqlite3.connect(self.path)) as other:
            other.execute("BEGIN IMMEDIATE")
            adding = self.ledger.exchange([Entry(DAY, "ann", USED)], DAY, ())
            self.assertNoResult(adding)
            await deferToThread(lambda: None)
            self.assertNoResult(adding)
            other.rollback()
        await adding

    async def test_closeUnused(self) -> None:
        """A ledger that was never used can be closed, and leaves no file."""
        await self.open().close()
        self.assertFalse(self.path.exists())

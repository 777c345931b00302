"""What the tests of each ledger have in common."""

from collections.abc import Collection
from datetime import date
from typing import Final

from twisted.trial.unittest import TestCase

from securechat.server.ledger.interface import Entry, Ledger
from securechat.server.quotas import Counts

DAY: Final = date(2026, 3, 1)
USED: Final = Counts(1, 2, 3, 4, 5)
TWICE: Final = Counts(2, 4, 6, 8, 10)


class LedgerTestCase(TestCase):
    """`ledger` is set by a subclass."""

    ledger: Ledger

    async def add(self, *entries: Entry, day: date = DAY, users: Collection[str] = ()) -> dict[str, Counts]:
        return dict(await self.ledger.exchange(entries, day, users))


class CommonTests(LedgerTestCase):
    """What every ledger does. Import the module, not this class: trial runs each test case in a module's namespace."""

    async def test_adds(self) -> None:
        """Changes are added to what is there, and users who have used nothing are left out."""
        for expected in (USED, TWICE):
            found = await self.add(Entry(DAY, "ann", USED), Entry(DAY, "bob", USED), users=("ann", "eve"))
            self.assertEqual(found, {"ann": expected})
        self.assertEqual(list(await self.ledger.usage(DAY)), [Entry(DAY, name, TWICE) for name in ("ann", "bob")])

    async def test_names(self) -> None:
        """A user's name may be any text."""
        name = "Robert'); DROP TABLE usage;-- 汉字 %s"
        self.assertEqual(await self.add(Entry(DAY, name, USED), users=(name,)), {name: USED})

"""Changes of which a part is saved already, and the files of SQL."""

from datetime import date

from twisted.trial.unittest import SynchronousTestCase

from securechat.server.ledger.interface import Entry
from securechat.server.ledger.postgresql.ledger import without
from securechat.server.ledger.postgresql.migrations import migrations
from securechat.server.quotas import Counts

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)


class BatchTests(SynchronousTestCase):
    """What is left of a batch."""

    def test_rest(self) -> None:
        """What is saved is subtracted by day and user; users without a rest are left out."""
        saved = [Entry(DAY, "ann", Counts(1, 2, 3, 4, 5)), Entry(DAY, "bob", Counts(1))]
        changes = [
            Entry(DAY, "ann", Counts(2, 4, 6, 8, 10)),
            Entry(DAY, "bob", Counts(1)),
            Entry(NEXT, "ann", Counts(7)),
        ]
        self.assertEqual(without(changes, saved), [Entry(DAY, "ann", Counts(1, 2, 3, 4, 5)), changes[2]])
        self.assertEqual(without(changes, []), changes)


class MigrationTests(SynchronousTestCase):
    """The files."""

    def test_numbers(self) -> None:
        """They are numbered from 1 on, without a gap."""
        numbers = [migration.number for migration in migrations()]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

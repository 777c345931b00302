"""Choosing a ledger, without a database."""

import sys
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.server.ledger.opening import open_ledger
from securechat.server.ledger.sqlite import SqliteLedger
from securechat.server.ledger.uri import without_parameters
from securechat.server.settings import ServerSettings

URI = "postgresql://ann@db.example.org/chat?sslmode=verify-full"
PSYCOPG = "securechat.server.ledger.postgresql.database"


class OpeningTests(SynchronousTestCase):
    """The option --ledger."""

    def open(self, **settings: Any) -> Any:
        return open_ledger(ServerSettings(**settings), Clock())

    def test_default(self) -> None:
        """Without the option the ledger is a file."""
        ledger, notices = self.open()
        self.assertIsInstance(ledger, SqliteLedger)
        self.assertIsNone(notices)

    def test_wrongParameters(self) -> None:
        """What libpq does not understand is refused before the daemon starts."""
        error = self.assertRaises(ConfigurationError, self.open, ledger="postgresql://a/b?colour=red")
        self.assertEqual(str(error), '--ledger: invalid URI query parameter: "colour"')

    def test_passwordFile(self) -> None:
        """The password is taken from a file that others cannot read, and is not shown."""
        from securechat.server.ledger.postgresql.database import Database

        path = Path(self.mktemp())
        path.write_text("correct horse\n")
        path.chmod(0o644)
        error = self.assertRaises(ConfigurationError, self.open, ledger=URI, ledger_password_file=path)
        self.assertIn("permissions 0644 are too open", str(error))
        database = Database(URI, "correct horse", Clock())
        self.assertEqual(database.parameters["password"], "correct horse")
        self.assertNotIn("horse", repr(database))

    def test_withoutPsycopg(self) -> None:
        """If psycopg is not installed, one line says how to install it."""
        modules = {name: None for name in sys.modules if name.startswith(("psycopg", PSYCOPG.rpartition(".")[0]))}
        with mock.patch.dict(sys.modules, {**modules, "psycopg": None, PSYCOPG: None}):
            error = self.assertRaises(ConfigurationError, self.open, ledger=URI)
        self.assertIn("--ledger needs the package psycopg", str(error))
        self.assertIn("run: pip install 'securechat[postgresql]'", str(error))
        self.assertEqual(len(str(error).splitlines()), 1)

    def test_shown(self) -> None:
        """Log lines name the database, and none of its parameters."""
        self.assertEqual(without_parameters(URI), "postgresql://ann@db.example.org/chat")

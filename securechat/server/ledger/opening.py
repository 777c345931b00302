"""The ledger that the settings choose."""

from typing import Any, Final, NamedTuple

from securechat.errors import ConfigurationError
from securechat.files import read_secret
from securechat.i18n import _
from securechat.server.ledger.interface import Ledger, Notices
from securechat.server.ledger.sqlite import SqliteLedger
from securechat.server.settings import ServerSettings

LEDGER_NAME: Final = "usage.sqlite"  # in the state directory


class Shared(NamedTuple):
    """A ledger, and the notices between the daemons that share it."""

    ledger: Ledger
    notices: Notices | None  # None if the ledger belongs to this machine


def open_ledger(settings: ServerSettings, reactor: Any) -> Shared:
    """The database is not opened before it is first used; ConfigurationError if that is bound to fail."""
    if settings.ledger is None:
        return Shared(SqliteLedger(settings.state_dir / LEDGER_NAME, reactor, settings.usage_days), None)
    password = read_secret(settings.ledger_password_file) if settings.ledger_password_file is not None else None
    try:  # psycopg is an optional dependency
        from securechat.server.ledger.postgresql.database import Database
        from securechat.server.ledger.postgresql.ledger import PostgresLedger
        from securechat.server.ledger.postgresql.notices import PostgresNotices
    except ImportError as error:
        text = _("--ledger needs the package psycopg, which cannot be loaded ({problem}); run: {command}")
        command = "pip install 'securechat[postgresql]'"
        raise ConfigurationError(text.format(problem=str(error).splitlines()[0], command=command)) from None
    database = Database(settings.ledger, password, reactor)
    return Shared(PostgresLedger(database, settings.usage_days), PostgresNotices(database, reactor, reactor))

"""The ledger that the settings choose."""

from typing import Any, Final

from securechat.errors import ConfigurationError
from securechat.files import read_secret
from securechat.i18n import _
from securechat.server.ledger.interface import Ledger
from securechat.server.ledger.sqlite import SqliteLedger
from securechat.server.settings import ServerSettings

LEDGER_NAME: Final = "usage.sqlite"  # in the state directory


def open_ledger(settings: ServerSettings, reactor: Any) -> Ledger:
    """The database is not opened before it is first used; ConfigurationError if that is bound to fail."""
    if settings.ledger is None:
        return SqliteLedger(settings.state_dir / LEDGER_NAME, reactor, settings.usage_days)
    password = read_secret(settings.ledger_password_file) if settings.ledger_password_file is not None else None
    try:  # psycopg is an optional dependency
        from securechat.server.ledger.postgresql.database import Database
        from securechat.server.ledger.postgresql.ledger import PostgresLedger
    except ImportError as error:
        text = _("--ledger needs the package psycopg, which cannot be loaded ({problem}); run: {command}")
        command = "pip install 'securechat[postgresql]'"
        raise ConfigurationError(text.format(problem=str(error).splitlines()[0], command=command)) from None
    return PostgresLedger(Database(settings.ledger, password, reactor), settings.usage_days)

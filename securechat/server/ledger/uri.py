"""The address of a database, as operators write it."""

from typing import Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from securechat.i18n import _

SCHEMES: Final = frozenset({"postgresql", "postgres"})
_PASSWORDS: Final = frozenset({"password", "sslpassword"})  # parameters of libpq


def parse_uri(text: str) -> str:
    """The URI unchanged; ValueError("expected …") if it is not one of PostgreSQL, or contains a password.

    Command lines can be read by every user of a machine, and configuration files are often copied.
    """
    try:
        uri = urlsplit(text)
        parameters = parse_qsl(uri.query, keep_blank_values=True)
    except ValueError:
        uri, parameters = urlsplit(""), []
    if uri.scheme not in SCHEMES or not text.startswith(f"{uri.scheme}://"):
        raise ValueError(_("expected a URI such as postgresql://USER@HOST/DATABASE"))
    user = uri.netloc.rpartition("@")[0]
    if ":" in user or not _PASSWORDS.isdisjoint(name for name, _value in parameters):
        raise ValueError(_("expected a URI without a password; use --ledger-password-file or passfile=FILE"))
    return text


def without_parameters(uri: str) -> str:
    """The URI for log lines."""
    return urlunsplit(urlsplit(uri)._replace(query="", fragment=""))

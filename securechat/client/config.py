"""The configuration file: options by their names, for all servers or for one server, in TOML.

identity = "~/.ssh/chat"

[host.work]
address = "chat.example.org:8080"
host-key = "SHA256:…"
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs

from securechat.client.settings import ClientSettings
from securechat.config_file import ConfigFile, Table
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.settings import default_path, options_of

HOSTS: Final = "host"  # the table with a table for each server
ADDRESS: Final = "address"  # the name that `destination` has there

_NO_FILE: Final = Path(os.devnull)
[_DESTINATION] = (option for option in options_of(ClientSettings) if option.extra.positional)


@dataclass(frozen=True)
class Config:
    """What is set in a file, by the attributes of `ClientSettings`."""

    destination: str = ""  # the server if none is named: an address or the name of a host
    defaults: Mapping[str, Any] = field(default_factory=dict)
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def settings(self, destination: str | None) -> dict[str, Any]:
        """The settings for a server, which is named as on the command line; ConfigurationError."""
        name = self.destination if destination is None else destination
        if name in self.hosts:
            return {**self.defaults, **self.hosts[name]}
        return {**self.defaults, "destination": _DESTINATION.read(name, "{value}")} if name else {**self.defaults}


def load(path: Path | None) -> Config:
    """The configuration in a file, or in the default file, which need not exist; ConfigurationError.

    With /dev/null there is none, as with ssh.
    """
    path = path or _default_path()
    return Config() if path in (None, _NO_FILE) else read(ConfigFile.load(path))


def _default_path() -> Path | None:
    """The default file; None if it does not exist."""
    try:
        path = default_path(platformdirs.user_config_path, "config") / "client.toml"
        path.stat()
    except (ConfigurationError, FileNotFoundError, NotADirectoryError, PermissionError):
        return None  # or in a directory that cannot be searched, as another user's home directory
    except OSError:
        return path  # reading it says why it cannot be found
    return path


def read(file: ConfigFile) -> Config:
    """The configuration in a file; ConfigurationError."""
    destination = file.root.values.get(_DESTINATION.name, "")
    if not isinstance(destination, str):
        raise file.root.error(_("expected a string"), _DESTINATION.name)
    defaults = file.root.read(ClientSettings, HOSTS, _DESTINATION.name)
    return Config(destination, defaults, {table.names[-1]: _host(table) for table in file.tables(HOSTS)})


def _host(table: Table) -> dict[str, Any]:
    """The settings for a host, whose address is its name if there is no other."""
    values = table.read(ClientSettings, ADDRESS)
    try:
        values["destination"] = _DESTINATION.read_value(table.values.get(ADDRESS, table.names[-1]), Path())
    except ValueError as error:
        if ADDRESS in table.values:
            raise table.error(error, ADDRESS) from None
        raise table.error(_("no address")) from None
    return values

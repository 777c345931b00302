"""Authorized users, and the names by which the server knows them.

A user has a key, and perhaps a certificate for it, of which only authority, times and addresses remain to be checked.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from securechat.server.keys_command import IProgramReactor, KeysCommand
from securechat.server.settings import ServerSettings
from securechat.server.watched_file import WatchedFile
from securechat.ssh import keys
from securechat.ssh.authorized_keys import AuthorizedKeys, Entry
from securechat.ssh.certificates import Certificate
from securechat.ssh.revoked_keys import RevokedKeys
from securechat.wire.messages import MAX_ABOUT, ClientAuth

_parse_authorized = partial(AuthorizedKeys.parse, max_name=MAX_ABOUT)


class Users(Protocol):
    """Decides about user keys, which are SSH wire blobs."""

    client_auth: ClientAuth
    has_list: bool  # whether there are authorized users, rather than keys that anyone can make
    command: KeysCommand | None  # which looks up the keys that are not listed

    @property
    def problem(self) -> str:
        """Why a file cannot be used at present; empty if all can."""

    @property
    def names(self) -> Mapping[bytes, str]:
        """The names of the users that are listed, by their keys."""

    @property
    def has_unlisted(self) -> bool:
        """Whether a command or a certificate authority may authorize users who are not listed."""

    def is_authorized(self, blob: bytes, certificate: Certificate | None = None) -> bool:
        """Whether the handshake of a client with this key succeeds.

        The files are read. Its address, and what the command prints for a key that is not in a file, count later.
        """

    def is_listed(
        self, blob: bytes, host: str = "", found: Entry | None = None, certificate: Certificate | None = None
    ) -> bool:
        """Whether a client with this key, which may be empty, is an authorized user, by what was read last.

        `host` is its address, empty at a UNIX socket, and `found` what the command has printed for the key.
        """

    def entry_of(self, blob: bytes, certificate: Certificate | None = None) -> Entry | None:
        """The entry for a user in a file; None if there is none."""

    def name_of(self, blob: bytes) -> str: ...

    def load(self) -> None:
        """Read the files; ConfigurationError if one is unusable."""

    def reload(self) -> None:
        """Read the files because the operator asked for it, and log the result."""


class Anyone:
    """Everyone is admitted. A key is optional, and its fingerprint is the user's name."""

    client_auth = ClientAuth.OPTIONAL
    has_list = False
    command: KeysCommand | None = None
    problem = ""
    names: Mapping[bytes, str] = MappingProxyType({})
    has_unlisted = False

    def is_authorized(self, blob: bytes, certificate: Certificate | None = None) -> bool:
        return True

    def is_listed(
        self, blob: bytes, host: str = "", found: Entry | None = None, certificate: Certificate | None = None
    ) -> bool:
        return False

    def entry_of(self, blob: bytes, certificate: Certificate | None = None) -> Entry | None:
        return None

    def name_of(self, blob: bytes) -> str:
        return keys.fingerprint(blob)

    def load(self) -> None:
        """There is no file."""

    reload = load


class AuthorizedUsers:
    """Only users are admitted whose key is in a file in the format of OpenSSH's authorized_keys.

    While the file is unusable, the keys of its last usable version stay in force.
    """

    client_auth = ClientAuth.REQUIRED
    has_list = True
    command: KeysCommand | None = None

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        """ConfigurationError if the file is unusable."""
        self._wall_clock = wall_clock
        self._file = WatchedFile(path, _parse_authorized, "keeping the previous keys", clock)

    @property
    def problem(self) -> str:
        return self._file.problem

    def is_authorized(self, blob: bytes, certificate: Certificate | None = None) -> bool:
        self._file.look()
        return self.entry_of(blob, certificate) is not None

    def is_listed(
        self, blob: bytes, host: str = "", found: Entry | None = None, certificate: Certificate | None = None
    ) -> bool:
        entry = self.entry_of(blob, certificate)
        return entry is not None and entry.allow(host, self._wall_clock())

    def entry_of(self, blob: bytes, certificate: Certificate | None = None) -> Entry | None:
        return self._file.content.entry_of(blob, certificate)

    def name_of(self, blob: bytes) -> str:
        entry = self.entry_of(blob)
        return entry.user if entry is not None else keys.fingerprint(blob)

    def load(self) -> None:
        self._file.load()

    @property
    def names(self) -> Mapping[bytes, str]:
        return self._file.content.names

    @property
    def has_unlisted(self) -> bool:
        return self._file.content.has_authorities

    def reload(self) -> None:
        self._file.reload()


class CommandUsers:
    """Users whose key is in a file, if there is one, or is printed by a command."""

    client_auth = ClientAuth.REQUIRED
    has_list = True
    has_unlisted = True

    def __init__(
        self, command: KeysCommand, file: AuthorizedUsers | None, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self.command: KeysCommand | None = command
        self._file: Users = file or Anyone()  # which lists no keys
        self._wall_clock = wall_clock

    @property
    def problem(self) -> str:
        return self._file.problem

    def is_authorized(self, blob: bytes, certificate: Certificate | None = None) -> bool:
        self._file.is_authorized(blob)  # reads it
        return True

    def is_listed(
        self, blob: bytes, host: str = "", found: Entry | None = None, certificate: Certificate | None = None
    ) -> bool:
        if found is not None and found.allow(host, self._wall_clock()):
            return True
        return self._file.is_listed(blob, host, None, certificate)

    def entry_of(self, blob: bytes, certificate: Certificate | None = None) -> Entry | None:
        return self._file.entry_of(blob, certificate)

    @property
    def names(self) -> Mapping[bytes, str]:
        return self._file.names

    def name_of(self, blob: bytes) -> str:
        return self._file.name_of(blob)

    def load(self) -> None:
        self._file.load()

    def reload(self) -> None:
        self._file.reload()


class UnlessRevoked:
    """The users of another object, except for those whose key, or whose certificate's authority, has been revoked.

    While the file is unusable, no key is admitted, as with sshd; open sessions continue.
    """

    def __init__(self, users: Users, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """ConfigurationError if the file is unusable."""
        self.client_auth = users.client_auth
        self.has_list = users.has_list
        self.command = users.command
        self.name_of = users.name_of
        self.entry_of = users.entry_of
        self._users = users
        self._file = WatchedFile(path, RevokedKeys.parse, "refusing all keys", clock)

    @property
    def problem(self) -> str:
        return self._file.problem or self._users.problem

    @property
    def names(self) -> Mapping[bytes, str]:
        return {blob: name for blob, name in self._users.names.items() if blob not in self._file.content}

    @property
    def has_unlisted(self) -> bool:
        return self._users.has_unlisted

    def is_authorized(self, blob: bytes, certificate: Certificate | None = None) -> bool:
        self._file.look()
        if self._file.problem or self._is_revoked(blob, certificate):
            return False
        return self._users.is_authorized(blob, certificate)

    def is_listed(
        self, blob: bytes, host: str = "", found: Entry | None = None, certificate: Certificate | None = None
    ) -> bool:
        return not self._is_revoked(blob, certificate) and self._users.is_listed(blob, host, found, certificate)

    def _is_revoked(self, blob: bytes, certificate: Certificate | None) -> bool:
        revoked = self._file.content
        return blob in revoked or (certificate is not None and certificate.ca in revoked)

    def load(self) -> None:
        self._file.load()
        self._users.load()

    def reload(self) -> None:
        self._file.reload()
        self._users.reload()


def make_users(settings: ServerSettings, reactor: IProgramReactor) -> Users:
    """The users that the settings admit; ConfigurationError if a file or the command cannot be used."""
    if not settings.has_users:
        return Anyone()
    file = AuthorizedUsers(settings.authorized_keys) if settings.authorized_keys is not None else None
    if settings.authorized_keys_command is not None:
        command = KeysCommand(settings.authorized_keys_command, reactor)
        users: AuthorizedUsers | CommandUsers = CommandUsers(command, file)
    else:
        assert file is not None
        users = file
    return users if settings.revoked_keys is None else UnlessRevoked(users, settings.revoked_keys)

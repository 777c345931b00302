"""Authorized users, and the names by which the server knows them."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from securechat.server.keys_command import KeysCommand
from securechat.server.watched_file import WatchedFile
from securechat.ssh import keys
from securechat.ssh.authorized_keys import AuthorizedKeys, Entry
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

    def is_authorized(self, blob: bytes) -> bool:
        """Whether the handshake of a client with this key succeeds.

        The files are read. Its address, and what the command prints for a key that is not in a file, count later.
        """

    def is_listed(self, blob: bytes, host: str = "", found: Entry | None = None) -> bool:
        """Whether a client with this key, which may be empty, is an authorized user, by what was read last.

        `host` is its address, empty at a UNIX socket, and `found` what the command has printed for the key.
        """

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

    def is_authorized(self, blob: bytes) -> bool:
        return True

    def is_listed(self, blob: bytes, host: str = "", found: Entry | None = None) -> bool:
        return False

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

    def is_authorized(self, blob: bytes) -> bool:
        self._file.look()
        return self._file.content.entry_of(blob) is not None

    def is_listed(self, blob: bytes, host: str = "", found: Entry | None = None) -> bool:
        return self._file.content.allow(blob, host, self._wall_clock())

    def name_of(self, blob: bytes) -> str:
        return self._file.content.user_of(blob) or keys.fingerprint(blob)

    def load(self) -> None:
        self._file.load()

    @property
    def names(self) -> Mapping[bytes, str]:
        return self._file.content.names

    def reload(self) -> None:
        self._file.reload()


class CommandUsers:
    """Users whose key is in a file, if there is one, or is printed by a command."""

    client_auth = ClientAuth.REQUIRED
    has_list = True

    def __init__(
        self, command: KeysCommand, file: AuthorizedUsers | None, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self.command: KeysCommand | None = command
        self._file = file
        self._wall_clock = wall_clock

    @property
    def problem(self) -> str:
        return self._file.problem if self._file is not None else ""

    def is_authorized(self, blob: bytes) -> bool:
        if self._file is not None:
            self._file.is_authorized(blob)
        return True

    def is_listed(self, blob: bytes, host: str = "", found: Entry | None = None) -> bool:
        if found is not None and found.options.allow(host, self._wall_clock()):
            return True
        return self._file is not None and self._file.is_listed(blob, host)

    @property
    def names(self) -> Mapping[bytes, str]:
        return self._file.names if self._file is not None else {}

    def name_of(self, blob: bytes) -> str:
        return self._file.name_of(blob) if self._file is not None else keys.fingerprint(blob)

    def load(self) -> None:
        if self._file is not None:
            self._file.load()

    def reload(self) -> None:
        if self._file is not None:
            self._file.reload()


class UnlessRevoked:
    """The users of another object, except for those whose key is in a file of revoked keys.

    While the file is unusable, no key is admitted, as with sshd; open sessions continue.
    """

    def __init__(self, users: Users, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """ConfigurationError if the file is unusable."""
        self.client_auth = users.client_auth
        self.has_list = users.has_list
        self.command = users.command
        self.name_of = users.name_of
        self._users = users
        self._file = WatchedFile(path, RevokedKeys.parse, "admitting nobody", clock)

    @property
    def problem(self) -> str:
        return self._file.problem or self._users.problem

    @property
    def names(self) -> Mapping[bytes, str]:
        return {blob: name for blob, name in self._users.names.items() if blob not in self._file.content}

    def is_authorized(self, blob: bytes) -> bool:
        self._file.look()
        return not self._file.problem and blob not in self._file.content and self._users.is_authorized(blob)

    def is_listed(self, blob: bytes, host: str = "", found: Entry | None = None) -> bool:
        return blob not in self._file.content and self._users.is_listed(blob, host, found)

    def load(self) -> None:
        self._file.load()
        self._users.load()

    def reload(self) -> None:
        self._file.reload()
        self._users.reload()

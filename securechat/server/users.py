"""Authorized users, and the names by which the server knows them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from twisted.logger import Logger

from securechat.errors import ConfigurationError
from securechat.files import MAX_LIST_SIZE, OTHERS_WRITE, read_bytes
from securechat.i18n import in_english
from securechat.ssh import keys
from securechat.ssh.authorized_keys import AuthorizedKeys
from securechat.wire.messages import MAX_ABOUT, ClientAuth

log = Logger()

REMINDER_INTERVAL: Final = 60.0  # seconds between two log lines about a file that remains unusable


class Users(Protocol):
    """Decides about user keys, which are SSH wire blobs."""

    client_auth: ClientAuth
    has_list: bool  # whether there are authorized users, rather than keys that anyone can make

    def is_authorized(self, blob: bytes) -> bool:
        """Whether a client with this key is admitted."""

    def is_listed(self, blob: bytes) -> bool:
        """Whether the key, which may be empty, is that of an authorized user, by what was read last."""

    def name_of(self, blob: bytes) -> str: ...


class Anyone:
    """Everyone is admitted. A key is optional, and its fingerprint is the user's name."""

    client_auth = ClientAuth.OPTIONAL
    has_list = False

    def is_authorized(self, blob: bytes) -> bool:
        return True

    def is_listed(self, blob: bytes) -> bool:
        return False

    def name_of(self, blob: bytes) -> str:
        return keys.fingerprint(blob)


class AuthorizedUsers:
    """Only users are admitted whose key is in a file in the format of OpenSSH's authorized_keys.

    The file is read at each handshake, as sshd does. Its time and size are not relied upon, because a file can be
    replaced by another with the same ones, or become readable without a change of either. While the file is unusable,
    the keys of its last usable version stay in force, and the log says so repeatedly.
    """

    client_auth = ClientAuth.REQUIRED
    has_list = True

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """ConfigurationError if the file is unusable."""
        self._path = path
        self._clock = clock
        self._data: bytes | None = None  # as read last
        self._problem = ""  # with `_data`
        self._keys = AuthorizedKeys({})
        self._has_problem = False  # that was logged
        self._remind_at = 0.0  # when to log it again
        self.load()

    def is_authorized(self, blob: bytes) -> bool:
        try:
            if self._load_in_english() or self._has_problem:
                self._log_reload()
        except ConfigurationError as error:
            if not self._has_problem or self._clock() >= self._remind_at:
                self._log_problem(error)
        return self.is_listed(blob)

    def is_listed(self, blob: bytes) -> bool:
        return self._keys.user_of(blob) is not None

    def name_of(self, blob: bytes) -> str:
        return self._keys.user_of(blob) or keys.fingerprint(blob)

    def reload(self) -> None:
        """Read the file because the operator asked for it, and log the result."""
        try:
            self._load_in_english()
        except ConfigurationError as error:
            self._log_problem(error)
        else:
            self._log_reload()

    def load(self) -> bool:
        """Read the file; whether it has changed. ConfigurationError if it is unusable: the keys remain the same."""
        data = read_bytes(self._path, OTHERS_WRITE, max_size=MAX_LIST_SIZE)
        if data == self._data:
            if self._problem:
                raise ConfigurationError(self._problem)
            return False
        self._data, self._problem = data, ""
        try:
            self._keys = AuthorizedKeys.parse(data, self._path, max_name=MAX_ABOUT)
        except ConfigurationError as error:
            self._problem = str(error)
            raise
        return True

    def _load_in_english(self) -> bool:
        with in_english():
            return self.load()

    def _log_reload(self) -> None:
        self._has_problem = False
        log.info("reloaded {path}", path=str(self._path))

    def _log_problem(self, error: ConfigurationError) -> None:
        self._has_problem = True
        self._remind_at = self._clock() + REMINDER_INTERVAL
        log.error("{error}; keeping the previous keys", error=str(error))

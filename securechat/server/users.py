"""Who may talk to the robot, and by what name the server knows them."""

from pathlib import Path
from typing import Protocol

from twisted.logger import Logger

from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.authorized_keys import AuthorizedKeys
from securechat.wire.messages import MAX_ABOUT, ClientAuth

log = Logger()


class Users(Protocol):
    """What the server asks about a user's key, an SSH wire blob."""

    client_auth: ClientAuth

    def is_authorized(self, blob: bytes) -> bool: ...

    def name_of(self, blob: bytes) -> str: ...


class Anyone:
    """Anyone may talk; a key is welcome, and then its fingerprint is the user's name."""

    client_auth = ClientAuth.OPTIONAL

    def is_authorized(self, blob: bytes) -> bool:
        return True

    def name_of(self, blob: bytes) -> str:
        return keys.fingerprint(blob)


class AuthorizedUsers:
    """Only those whose key is in a file in the format of OpenSSH's authorized_keys.

    The file is read again when it has changed, as sshd does: whoever is removed is out. If what it holds then is not
    right, the keys that were right stay in force, and the log says why.
    """

    client_auth = ClientAuth.REQUIRED

    def __init__(self, path: Path) -> None:
        """ConfigurationError if the file cannot be read or a line of it is wrong."""
        self._path = path
        self._version = self._current_version()
        self._keys = AuthorizedKeys.load(path, max_name=MAX_ABOUT)

    def is_authorized(self, blob: bytes) -> bool:
        self.refresh()
        return self._keys.user_of(blob) is not None

    def name_of(self, blob: bytes) -> str:
        return self._keys.user_of(blob) or keys.fingerprint(blob)

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        version = self._current_version()
        if version == self._version:
            return
        self._version = version
        try:
            self._keys = AuthorizedKeys.load(self._path, max_name=MAX_ABOUT)
        except ConfigurationError as error:
            log.error(_("the keys stay as they were: {error}"), error=str(error))
        else:
            log.info(_("{path} was read again"), path=str(self._path))

    def _current_version(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

"""Whether a client is an authorized user, decided after its handshake.

The handshake accepts each key that might be authorized: it knows neither the client's address nor what the command for
authorized keys prints, and the keys may be reloaded after it.
"""

from twisted.internet.defer import Deferred

from securechat.server.users import Users
from securechat.ssh.authorized_keys import Entry
from securechat.ssh.certificates import Certificate
from securechat.wire.messages import ClientAuth


class Authorization:
    """A client's key, and the user that it belongs to."""

    __slots__ = ("_certificate", "_entry", "_host", "authority", "authorized_key", "key", "user")

    def __init__(self, key: bytes, host: str, certificate: Certificate | None = None) -> None:
        """The client has proved to own `key`, which is empty if it is anonymous. `host` is its address."""
        self.key = key
        self.authorized_key = b""  # the same key, if it is that of an authorized user
        self.user = ""  # empty if anonymous
        self.authority: Certificate | None = None  # the certificate, if it is what authorizes the user
        self._certificate = certificate
        self._host = host
        self._entry: Entry | None = None  # from the command

    def look_up(self, users: Users) -> Deferred[None] | None:
        """Ask the command for authorized keys about a key that is not listed; None if it need not be asked.

        The Deferred may be cancelled.
        """
        if not self.key or users.command is None or users.is_listed(self.key, self._host, None, self._certificate):
            return None
        return users.command.look_up(self.key, self._certificate).addCallback(self._looked_up)

    def _looked_up(self, entry: Entry | None) -> None:
        self._entry = entry

    def decide(self, users: Users) -> bool:
        """Set `authorized_key` and `user`; False if the client must not be admitted."""
        if users.is_listed(self.key, self._host, self._entry, self._certificate):
            self.authorized_key = self.key
        elif users.client_auth is ClientAuth.REQUIRED:
            return False
        entry = self._entry or users.entry_of(self.key, self._certificate)
        if entry is not None:
            self.user = entry.user
            self.authority = entry.certificate
        elif self.key:
            self.user = users.name_of(self.key)
        return True

    @property
    def identity(self) -> bytes:
        """What sessions and messages count for: the key, or with a certificate its authority and the user's name.

        A user whose certificates are for a new key each time, as some authorities issue them, remains the same user.
        """
        return self.key if self.authority is None else self.authority.ca + self.user.encode()

    def still_holds(self, users: Users) -> bool:
        """Whether these users, which may have been reloaded, allow the session to continue."""
        if not self.authorized_key and users.client_auth is not ClientAuth.REQUIRED:
            return True
        return users.is_listed(self.authorized_key, self._host, self._entry, self._certificate)

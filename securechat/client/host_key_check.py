"""Whether the server is the one that is meant: its key against known_hosts, or against a fingerprint (section 7)."""

from collections.abc import Callable
from pathlib import Path

from securechat.errors import AuthenticationError, Category
from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.known_hosts import KnownHosts, Standing


class UnknownHostError(AuthenticationError):
    """The server proved that it has this key, and nobody has said yet that it is the right one."""

    def __init__(self, name: str, blob: bytes) -> None:
        super().__init__(
            Category.HOST_KEY,
            _(
                "{name} is not known; its key is {fingerprint}: if that is right, add --host-key {fingerprint}, "
                "or --accept-new to trust and remember what is shown"
            ).format(name=name, fingerprint=keys.fingerprint(blob)),
        )
        self.blob = blob


class HostKeyCheck:
    """Judges the keys that one host shows. ConfigurationError if known_hosts cannot be read."""

    def __init__(
        self, name: str, path: Path, *, pinned: str | None, accept_new: bool, tell: Callable[[str], None]
    ) -> None:
        """`name` is ``[host]:port``, `pinned` the only fingerprint to accept, `tell` hears what was decided."""
        self._name = name
        self._path = path
        self._pinned = pinned
        self._accept_new = accept_new
        self._tell = tell
        self._known_hosts = KnownHosts.load(path)

    def check(self, blob: bytes) -> None:
        """Return if the key is right; AuthenticationError if not, UnknownHostError if only the user can say."""
        verdict = self._known_hosts.check(self._name, blob)
        if verdict.standing is Standing.REVOKED:
            raise self._refused(
                _("{path}:{line}: the key that {name} shows has been revoked: {fingerprint}; do not talk to it"),
                blob,
                verdict.line,
            )
        if self._pinned is not None:
            if keys.fingerprint(blob) != self._pinned:
                raise self._refused(_("{name} shows the key {fingerprint}, not the one that --host-key asks for"), blob)
            return
        if verdict.standing is Standing.CHANGED:
            raise self._refused(
                _(
                    "{path}:{line}: THE KEY OF {name} HAS CHANGED! Somebody may be listening in. It now shows "
                    "{fingerprint}; only if its operator says that this is right, remove line {line}"
                ),
                blob,
                verdict.line,
            )
        if verdict.standing is Standing.UNKNOWN:
            if not self._accept_new:
                raise UnknownHostError(self._name, blob)
            self.remember(blob)
        else:
            self._tell(_("the key is known: {path}:{line}").format(path=self._path, line=verdict.line))

    def remember(self, blob: bytes) -> None:
        """From now on this is the host's key, and no other; ConfigurationError if it cannot be written down."""
        self._known_hosts.add(self._name, blob)
        self._known_hosts = KnownHosts.load(self._path)
        self._tell(_("{path} now has the key of {name}").format(path=self._path, name=self._name))

    def _refused(self, text: str, blob: bytes, line: int | None = None) -> AuthenticationError:
        fingerprint = keys.fingerprint(blob)
        return AuthenticationError(
            Category.HOST_KEY, text.format(name=self._name, path=self._path, line=line, fingerprint=fingerprint)
        )

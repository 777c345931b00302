"""Verification of the server's host key: with known_hosts, or with a fingerprint (protocol, section 7)."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from securechat.errors import AuthenticationError, Category, ConfigurationError
from securechat.i18n import N_, _
from securechat.ssh import keys
from securechat.ssh.known_hosts import KnownHosts, Standing, is_out_of_reach
from securechat.wire.host_keys import hint_of

MAX_KEYS: Final = 16  # of one host; no more are learned, so that a server cannot make the file grow without bound


class UnknownHostError(AuthenticationError):
    """The server proved possession of a host key that is not in known_hosts."""

    def __init__(self, name: str, blob: bytes) -> None:
        super().__init__(
            Category.HOST_KEY,
            _(
                "no ED25519 host key is known for {name}; verify its fingerprint {fingerprint}, then connect with "
                "--host-key {fingerprint}, or with --accept-new to add the key to the known hosts"
            ).format(name=name, fingerprint=keys.fingerprint(blob)),
        )
        self.blob = blob


class HostKeyCheck:
    """Verifies the keys of one host. ConfigurationError if known_hosts cannot be read."""

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        pinned: str | None,
        accept_new: bool,
        tell: Callable[[str], None],
        step: Callable[[str], None] | None = None,
    ) -> None:
        """`name` is ``[host]:port``, `pinned` the only accepted fingerprint.

        `tell` is called with messages, `step` instead of it with those that the user needs only for debugging.
        """
        self._name = name
        self._path = path
        self._pinned = pinned
        self._accept_new = accept_new
        self._tell = tell
        self._step = step or tell
        self._known_hosts = self._load()
        self._accepted = b""  # a key that could not be added
        self.verdict = ""  # of the last key that was accepted; marked for translation

    def _load(self) -> KnownHosts:
        """The known hosts; none if a new key is to be accepted, and the directory of the file cannot be searched."""
        try:
            return KnownHosts.load(self._path)
        except ConfigurationError as error:
            if not (self._accept_new and is_out_of_reach(self._path)):
                raise
            self._tell(_("the known hosts cannot be read: {problem}").format(problem=error))
            return KnownHosts(self._path, [])

    def check(self, blob: bytes) -> None:
        """Return if the key is accepted; UnknownHostError if the user has to decide, else AuthenticationError."""
        verdict = self._known_hosts.check(self._name, blob)
        if verdict.standing is Standing.CHANGED:
            with suppress(ConfigurationError):  # another client may have learned the key in the meantime
                self._known_hosts = KnownHosts.load(self._path)
            verdict = self._known_hosts.check(self._name, blob)
        if verdict.standing is Standing.REVOKED:
            raise self._refused(
                _("{path}:{line}: REVOKED HOST KEY: the ED25519 host key {fingerprint} of {name} is marked as revoked"),
                blob,
                verdict.line,
            )
        if self._pinned is not None:
            if keys.fingerprint(blob) != self._pinned:
                raise self._refused(_("the ED25519 host key {fingerprint} of {name} does not match --host-key"), blob)
            self.verdict = N_("matches --host-key")
            return
        if verdict.standing is Standing.CHANGED:
            raise self._refused(
                _(
                    "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! Someone could be eavesdropping on you. "
                    "The ED25519 key sent by {name} is {fingerprint}; if its operator confirms that, "
                    "remove the offending key in {path}:{line}"
                ),
                blob,
                verdict.line,
            )
        if verdict.standing is Standing.UNKNOWN:
            self.verdict = N_("new")
            if blob == self._accepted:
                return
            if self._accepted:
                raise self._refused(
                    _(
                        "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! Someone could be eavesdropping on you. "
                        "The ED25519 key sent by {name} is {fingerprint}, and not the one that was accepted before"
                    ),
                    blob,
                )
            if not self._accept_new:
                raise UnknownHostError(self._name, blob)
            self.accept(blob)
        else:
            self.verdict = N_("known")
            self._step(
                _("{name} is known and matches the ED25519 host key in {path}:{line}").format(
                    name=self._name, path=self._path, line=verdict.line
                )
            )

    def accept(self, blob: bytes) -> None:
        """Accept the key from now on, and add it to known_hosts. If that cannot be written, say so, as ssh does.

        AuthenticationError if known_hosts has got another key of this host in the meantime.
        """
        self._accepted = blob
        try:
            self._known_hosts = KnownHosts.load(self._path)
            if self._known_hosts.check(self._name, blob).standing is not Standing.UNKNOWN:
                self.check(blob)
                return
            self._known_hosts.add(self._name, blob)
            self._known_hosts = KnownHosts.load(self._path)
        except ConfigurationError as error:
            self._tell(_("failed to add the host to the list of known hosts: {problem}").format(problem=error))
            return
        self._tell(
            _("permanently added {name} (ED25519) to the list of known hosts: {path}").format(
                path=self._path, name=self._name
            )
        )

    def wants(self, hint: str) -> bool:
        """Whether to request the next host key, which the server has announced with this hint.

        True if the server has at least one known key and fewer than MAX_KEYS, and none of its known and revoked keys
        has the hint.
        """
        if self._pinned is not None:
            return False
        known = self._known_hosts.keys_of(self._name)
        revoked = self._known_hosts.keys_of(self._name, revoked=True)
        return 0 < len(known) < MAX_KEYS and not any(hint_of(blob) == hint for blob in known + revoked)

    def learn(self, present: bytes, successor: bytes) -> None:
        """Add the next host key to known_hosts, beside the present one. A failure is reported to the user.

        The entries of both may have changed in the meantime, by the user or by another client.
        """
        fingerprint = keys.fingerprint(successor)
        try:
            self._known_hosts = known_hosts = KnownHosts.load(self._path)
            standings = [known_hosts.check(self._name, blob).standing for blob in (present, successor)]
            if standings != [Standing.KNOWN, Standing.CHANGED]:  # for a second key, CHANGED means that it is new
                return
            if len(known_hosts.keys_of(self._name)) >= MAX_KEYS:
                return
            known_hosts.add(self._name, successor, beside=present)
            self._known_hosts = KnownHosts.load(self._path)
        except ConfigurationError as error:
            self._step(
                _("failed to add the server's next host key to the known hosts: {problem}").format(problem=error)
            )
            return
        self._step(
            _("added the server's next host key {fingerprint} to the known hosts: {path}").format(
                fingerprint=fingerprint, path=self._path
            )
        )

    def _refused(self, text: str, blob: bytes, line: int | None = None) -> AuthenticationError:
        fingerprint = keys.fingerprint(blob)
        return AuthenticationError(
            Category.HOST_KEY, text.format(name=self._name, path=self._path, line=line, fingerprint=fingerprint)
        )

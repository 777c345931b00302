"""Known host keys, in the format of OpenSSH's known_hosts (see sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

Hashed host names, patterns and ``@revoked`` are supported. ``@cert-authority`` lines and lines for other key types are
ignored. An invalid line is an error, because it may be the entry for the host in question.
"""

import hmac
import re
from base64 import b64decode
from dataclasses import dataclass
from enum import Enum, auto
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from securechat.errors import ConfigurationError
from securechat.files import append_line, read_lines
from securechat.i18n import _
from securechat.ssh import keys

SSH_PORT_SUFFIX: Final = "]:22"  # OpenSSH writes hosts at this port without brackets and port
_HASH_MARK: Final = "|1|"
_LINE: Final = re.compile(r"(?:(@\S+)[ \t]+)?([^@ \t][^ \t]*)[ \t]+([^ \t]+)[ \t]+(.+)")  # marker, hosts, key type, key
_MARKERS: Final = ("", "@revoked", "@cert-authority")


class Standing(Enum):
    """The result of looking up a host and its key."""

    KNOWN = auto()
    UNKNOWN = auto()  # no entry for this host
    CHANGED = auto()  # an entry for this host, with a different key
    REVOKED = auto()  # an @revoked entry with this key


@dataclass(frozen=True, slots=True)
class Verdict:
    """A standing, and the number of the line with the entry."""

    standing: Standing
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line for an Ed25519 host key."""

    number: int
    revoked: bool
    hosts: str
    blob: bytes

    def matches(self, name: str) -> bool:
        if self.hosts.startswith(_HASH_MARK):
            _empty, _one, salt, digest = self.hosts.split("|")
            expected = hmac.digest(b64decode(salt), name.encode(), "sha1")
            return hmac.compare_digest(expected, b64decode(digest))
        patterns = self.hosts.split(",")
        if any(pattern.startswith("!") and _match(name, pattern[1:]) for pattern in patterns):
            return False
        return any(_match(name, pattern) for pattern in patterns)


def _match(name: str, pattern: str) -> bool:
    """Match an OpenSSH pattern: ``*`` and ``?`` are wildcards, the brackets in ``[host]:port`` are not."""
    return fnmatchcase(name, pattern.lower().replace("[", "[[]"))


def _ssh_name(name: str) -> str:
    """The name that OpenSSH looks up for ``[host]:port``: ``host`` alone if the port is 22."""
    return name[1 : -len(SSH_PORT_SUFFIX)] if name.endswith(SSH_PORT_SUFFIX) else name


class KnownHosts:
    """The host keys in a file."""

    def __init__(self, path: Path, entries: list[Entry]) -> None:
        self._path = path
        self._entries = entries

    @classmethod
    def load(cls, path: Path) -> "KnownHosts":
        """Read a file; a missing one is empty. ConfigurationError, with path and line number, if a line is invalid."""
        entries = []
        for number, line in [] if _is_missing(path) else read_lines(path):
            if not line or line.startswith("#"):
                continue
            try:
                entry = parse_line(number, line)
            except ValueError:
                raise ConfigurationError(
                    _("{path}:{line}: not a valid known_hosts entry; correct or remove it").format(
                        path=path, line=number
                    )
                ) from None
            if entry is not None:
                entries.append(entry)
        return cls(path, entries)

    def check(self, name: str, blob: bytes) -> Verdict:
        """Look up the host `name`, ``[host]:port``, and the key that it presented."""
        looked_up = _ssh_name(name)
        verdict = Verdict(Standing.UNKNOWN)
        for entry in self._entries:
            if not entry.matches(looked_up):
                continue
            if entry.revoked:
                if entry.blob == blob:
                    return Verdict(Standing.REVOKED, entry.number)
            elif entry.blob == blob:
                verdict = Verdict(Standing.KNOWN, entry.number)
            elif verdict.standing is Standing.UNKNOWN:
                verdict = Verdict(Standing.CHANGED, entry.number)
        return verdict

    def add(self, name: str, blob: bytes) -> None:
        """Append an entry for a host to the file; ConfigurationError if it cannot be written."""
        append_line(self._path, f"{_ssh_name(name)} {keys.public_line(blob)}")


def _is_missing(path: Path) -> bool:
    """Whether the file does not exist. If that cannot be determined, reading it raises an error."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def parse_line(number: int, line: str) -> Entry | None:
    """The entry in a line, None if the line is to be ignored; ValueError if it is invalid."""
    parts = _LINE.fullmatch(line)
    if parts is None:
        raise ValueError
    marker, hosts, key_type, rest = parts.groups("")
    if marker not in _MARKERS:
        raise ValueError
    if hosts.startswith(_HASH_MARK):
        _empty, _one, salt, digest = hosts.split("|")
        b64decode(salt, validate=True)
        b64decode(digest, validate=True)
    if marker == "@cert-authority" or key_type != keys.KEY_TYPE.decode():
        return None
    blob, _comment = keys.parse_public_line(f"{key_type} {rest}")
    return Entry(number, marker == "@revoked", hosts, blob)

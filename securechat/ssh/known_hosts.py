"""Known host keys, in the format of OpenSSH's known_hosts (see sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

Hashed host names, patterns and ``@revoked`` are supported. ``@cert-authority`` lines and lines for other key types are
ignored. An invalid line is an error, because it may be the entry for the host in question. Hosts are compared in one
form, so that an entry is found in whichever form it was written.
"""

import hmac
import ipaddress
import re
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Final

from securechat.errors import ConfigurationError
from securechat.files import MAX_LIST_SIZE, append_line, read_lines
from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.encoding import Reader

SSH_PORT: Final = 22  # OpenSSH writes hosts at this port without brackets and port
_HASH_MARK: Final = "|1|"
_LINE: Final = re.compile(r"(?:(@\S+)[ \t]+)?([^@ \t][^ \t]*)[ \t]+([^ \t]+)[ \t]+(.+)")  # marker, hosts, key type, key
_HOST: Final = re.compile(r"\[([^]]+)](?::([0-9]{1,5}))?|([^][:]+):([0-9]{1,5})")  # [host]:port, [host] or host:port
_ZONE: Final = re.compile("%[^]]*")
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
        """Whether the entry is for the host `name`, ``[host]:port``."""
        if self.hosts.startswith(_HASH_MARK):
            _empty, _one, salt, digest = self.hosts.split("|")
            wanted = b64decode(digest)
            hashes = [hmac.digest(b64decode(salt), form.encode(), "sha1") for form in _forms(name)]
            return any(hmac.compare_digest(wanted, hashed) for hashed in hashes)
        patterns = self.hosts.split(",")
        if any(pattern.startswith("!") and _match(name, pattern[1:]) for pattern in patterns):
            return False
        return any(_match(name, pattern) for pattern in patterns)


def _match(name: str, pattern: str) -> bool:
    """Match an OpenSSH pattern: ``*`` and ``?`` are wildcards, the brackets in ``[host]:port`` are not."""
    if "*" in pattern or "?" in pattern:
        literal = pattern.lower().replace("[", "[[]")
        return any(fnmatchcase(form, literal) for form in _forms(name))
    return _normal(pattern) in _forms(name)


@lru_cache
def _forms(name: str) -> frozenset[str]:
    """A host as in entries for it: those without the zone of its link-local address are for all zones."""
    return frozenset((_normal(name), _normal(_ZONE.sub("", name))))


@lru_cache
def _normal(name: str) -> str:
    """The form in which hosts are compared, OpenSSH's: ``host`` alone if the port is 22, otherwise ``[host]:port``.

    In lower case, without a final dot; an IPv6 address as in RFC 5952, or the IPv4 address that is mapped into it.
    """
    name = name.lower()
    parts = _HOST.fullmatch(name)
    host, port = (parts[1] or parts[3], int(parts[2] or parts[4] or SSH_PORT)) if parts else (name, SSH_PORT)
    host = host.removesuffix(".")
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        host = str((address.ipv4_mapped if address.version == 6 else None) or address)
    return host if port == SSH_PORT else f"[{host}]:{port}"


class KnownHosts:
    """The host keys in a file."""

    def __init__(self, path: Path, entries: list[Entry]) -> None:
        self._path = path
        self._entries = entries

    @classmethod
    def load(cls, path: Path) -> "KnownHosts":
        """Read a file; a missing one is empty. ConfigurationError, with path and line number, if a line is invalid."""
        entries = []
        for number, line in [] if _is_missing(path) else read_lines(path, max_size=MAX_LIST_SIZE):
            if not line or line.startswith("#"):
                continue
            try:
                entry = parse_line(number, line)
            except ValueError as error:
                raise ConfigurationError(
                    _("{path}:{line}: {problem}").format(path=path, line=number, problem=error)
                ) from None
            if entry is not None:
                entries.append(entry)
        return cls(path, entries)

    def check(self, name: str, blob: bytes) -> Verdict:
        """Look up the host `name`, ``[host]:port``, and the key that it presented."""
        verdict = Verdict(Standing.UNKNOWN)
        for entry in self._entries:
            if not entry.matches(name):
                continue
            if entry.revoked:
                if entry.blob == blob:
                    return Verdict(Standing.REVOKED, entry.number)
            elif entry.blob == blob:
                verdict = Verdict(Standing.KNOWN, entry.number)
            elif verdict.standing is Standing.UNKNOWN:
                verdict = Verdict(Standing.CHANGED, entry.number)
        return verdict

    def keys_of(self, name: str, *, revoked: bool = False) -> list[bytes]:
        """The keys of a host that are known, or those that are marked as revoked."""
        return [entry.blob for entry in self._entries if entry.revoked is revoked and entry.matches(name)]

    def add(self, name: str, blob: bytes, beside: bytes | None = None) -> None:
        """Append an entry for a host to the file, unless it has it; ConfigurationError if it cannot be written.

        `beside` is another key of the host: if its entry hides the name by a hash, so does the new one. The hash is the
        same, so that clients that run at the same time append the same line.
        """
        known = (entry.hosts for entry in self._entries if entry.blob == beside and entry.matches(name))
        hashed = next((hosts for hosts in known if hosts.startswith(_HASH_MARK)), None)
        append_line(self._path, f"{hashed or _normal(name)} {keys.public_line(blob)}", once=True)


def _is_missing(path: Path) -> bool:
    """Whether the file does not exist. If that cannot be determined, reading it raises an error."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def is_out_of_reach(path: Path) -> bool:
    """Whether the file's directory cannot be searched, as another user's home directory, or is none."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, PermissionError | NotADirectoryError)
    return False


def parse_line(number: int, line: str) -> Entry | None:
    """The entry in a line, None if the line is to be ignored; ValueError, for the user, if it is invalid."""
    keys.check_fields(line, 4 if line.startswith("@") else 3)
    try:
        return _parse(number, line)
    except ValueError:
        raise ValueError(_("not a valid known_hosts entry; correct or remove it")) from None


def _parse(number: int, line: str) -> Entry | None:
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
    if key_type != keys.KEY_TYPE.decode():
        _check_other(key_type, rest)
        return None
    blob, _comment = keys.parse_public_line(f"{key_type} {rest}")
    return None if marker == "@cert-authority" else Entry(number, marker == "@revoked", hosts, blob)


def _check_other(key_type: str, rest: str) -> None:
    """ValueError unless a key of another type is one: otherwise a field may be missing, or the type be misspelt."""
    if key_type.isdecimal():  # a key of SSH 1, in three numbers
        return
    blob = b64decode(rest.split()[0], validate=True)
    if Reader(blob).string() != key_type.encode():
        raise ValueError

"""The public keys of authorized users, in the format of OpenSSH's authorized_keys (see sshd(8)).

A line is ``ssh-ed25519 AAAA… comment``, and the comment is the user name; key options may come before it. With the
option ``cert-authority``, the key is that of an authority, whose certificates authorize users.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from securechat.errors import ConfigurationError
from securechat.files import lines_of
from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.certificates import Certificate
from securechat.ssh.key_options import NO_OPTIONS, KeyOptions, parse_options, split_options

_CERT_AUTHORITY: Final = "cert-authority"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line without its key, as it applies to a user."""

    user: str
    options: KeyOptions
    certificate: Certificate | None = None  # because of which the line applies

    def allow(self, host: str, now: float) -> bool:
        """Whether a client with this address is authorized. `now` is in seconds since the epoch."""
        is_valid = self.certificate is None or self.certificate.allow(host, now)
        return is_valid and self.options.allow(host, now)


class AuthorizedKeys:
    """The keys in a file, with their user names and options."""

    def __init__(self, entries: dict[bytes, Entry], authorities: dict[bytes, list[Entry]], max_name: int) -> None:
        self._entries: Final = entries
        self._authorities: Final = authorities  # with the entries of each in the order of the file
        self._max_name: Final = max_name

    @classmethod
    def parse(cls, data: bytes, path: Path, *, max_name: int) -> "AuthorizedKeys":
        """Parse the content of a file; ConfigurationError, with path and line number, if any line is invalid.

        A user name has at most `max_name` bytes of UTF-8.
        """
        entries: dict[bytes, Entry] = {}
        authorities: dict[bytes, list[Entry]] = {}
        for number, line in lines_of(data, path):
            if not line or line.startswith("#"):
                continue
            try:
                blob, entry = parse_line(line, max_name)
                if entry.options.cert_authority:
                    authorities.setdefault(blob, []).append(entry)
                    continue
                if blob in entries:
                    raise ValueError(_("duplicate key"))
            except ValueError as error:
                raise ConfigurationError(
                    _("{path}:{line}: {problem}").format(path=path, line=number, problem=error)
                ) from None
            entries[blob] = entry
        return cls(entries, authorities, max_name)

    @property
    def names(self) -> dict[bytes, str]:
        """The names of the users whose keys are in the file, by these keys."""
        return {blob: entry.user for blob, entry in self._entries.items()}

    @property
    def has_authorities(self) -> bool:
        """Whether certificates authorize users."""
        return bool(self._authorities)

    def entry_of(self, blob: bytes, certificate: Certificate | None = None) -> Entry | None:
        """The entry for a user with this key and perhaps a certificate for it; None if the user is not authorized.

        It is the first line of the certificate's authority that accepts one of its principals, or else the key's own.
        """
        if certificate is not None:
            for authority in self._authorities.get(certificate.ca, ()):
                accepted = authority.options.principals
                if certificate.principals & (accepted or {authority.user.encode()}):
                    user = authority.user if accepted is None else self._name_of(certificate)
                    return Entry(user, authority.options, certificate)
        return self._entries.get(blob)

    def _name_of(self, certificate: Certificate) -> str:
        """The key ID of a certificate, or the fingerprint of its key if the key ID cannot be a user name."""
        try:
            name = certificate.key_id.decode()
            _check_name(name, self._max_name)
        except ValueError:
            name = ""
        return name.strip() or keys.fingerprint(certificate.key)


def parse_line(line: str, max_name: int) -> tuple[bytes, Entry]:
    """The key of a line, and the rest; the name of its user is by default the key's fingerprint. ValueError."""
    options = NO_OPTIONS
    if _has_options(line):
        text, line = split_options(line)
        options = parse_options(text)
    try:
        blob, user = keys.parse_public_line(line)
    except ValueError:
        keys.check_fields(line, 2)
        if options.cert_authority:
            raise ValueError(_("the key of an authority must be an Ed25519 key; correct or remove this line")) from None
        raise ValueError(_("not a valid ssh-ed25519 public key; correct or remove this line")) from None
    _check_name(user, max_name)
    if options.cert_authority and options.principals is None and not user:
        raise ValueError(_("an authority requires a user name (the comment) or the option principals"))
    return blob, Entry(user or keys.fingerprint(blob), options)


def _has_options(line: str) -> bool:
    key_type = keys.KEY_TYPE.decode()
    fields = line.split()
    return not line.startswith(key_type) and (key_type in fields or _CERT_AUTHORITY in "".join(fields[:1]).lower())


def _check_name(user: str, max_name: int) -> None:
    """ValueError, for the user, if this cannot be the name of a user."""
    if len(user.encode()) > max_name:
        raise ValueError(_("the user name (the comment) is longer than {size} bytes").format(size=max_name))
    if not user.isprintable():
        odd = next(character for character in user if not character.isprintable())
        raise ValueError(_("the user name (the comment) contains {code}").format(code=keys.code_point(odd)))

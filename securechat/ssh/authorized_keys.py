"""The public keys of authorized users, in the format of OpenSSH's authorized_keys (see sshd(8)).

A line is ``ssh-ed25519 AAAA… comment``, and the comment is the user name; key options may come before it.
"""

from pathlib import Path
from typing import Final, NamedTuple

from securechat.errors import ConfigurationError
from securechat.files import lines_of
from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.key_options import NO_OPTIONS, KeyOptions, parse_options, split_options


class Entry(NamedTuple):
    """A line without its key."""

    user: str
    options: KeyOptions


class AuthorizedKeys:
    """The keys in a file, with their user names and options."""

    def __init__(self, entries: dict[bytes, Entry]) -> None:
        self._entries: Final = entries

    @classmethod
    def parse(cls, data: bytes, path: Path, *, max_name: int) -> "AuthorizedKeys":
        """Parse the content of a file; ConfigurationError, with path and line number, if any line is invalid.

        A user name has at most `max_name` bytes of UTF-8.
        """
        entries: dict[bytes, Entry] = {}
        for number, line in lines_of(data, path):
            if not line or line.startswith("#"):
                continue
            try:
                blob, entry = parse_line(line, max_name)
                if blob in entries:
                    raise ValueError(_("duplicate key"))
            except ValueError as error:
                raise ConfigurationError(
                    _("{path}:{line}: {problem}").format(path=path, line=number, problem=error)
                ) from None
            entries[blob] = entry
        return cls(entries)

    @property
    def names(self) -> dict[bytes, str]:
        """The names of the users, by their keys."""
        return {blob: entry.user for blob, entry in self._entries.items()}

    def entry_of(self, blob: bytes) -> Entry | None:
        """The rest of a key's line; None if the key is not in the file."""
        return self._entries.get(blob)

    def user_of(self, blob: bytes) -> str | None:
        """The name of a key's user; None if the key is not in the file."""
        entry = self._entries.get(blob)
        return None if entry is None else entry.user

    def allow(self, blob: bytes, host: str, now: float) -> bool:
        """Whether a client with this key and address is authorized. `now` is in seconds since the epoch."""
        entry = self._entries.get(blob)
        return entry is not None and entry.options.allow(host, now)


def parse_line(line: str, max_name: int) -> tuple[bytes, Entry]:
    """The key of a line, and the rest; the name of its user is by default the key's fingerprint. ValueError."""
    options = NO_OPTIONS
    if keys.KEY_TYPE.decode() in line.split() and not line.startswith(keys.KEY_TYPE.decode()):
        text, line = split_options(line)
        options = parse_options(text)
    try:
        blob, user = keys.parse_public_line(line)
    except ValueError:
        keys.check_fields(line, 2)
        raise ValueError(_("not a valid ssh-ed25519 public key; correct or remove this line")) from None
    if len(user.encode()) > max_name:
        raise ValueError(_("the user name (the comment) is longer than {size} bytes").format(size=max_name))
    if not user.isprintable():
        odd = next(character for character in user if not character.isprintable())
        raise ValueError(_("the user name (the comment) contains {code}").format(code=keys.code_point(odd)))
    return blob, Entry(user or keys.fingerprint(blob), options)

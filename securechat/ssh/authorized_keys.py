"""The public keys of authorized users, in the format of OpenSSH's authorized_keys (see sshd(8)).

A line is ``ssh-ed25519 AAAA… comment``, and the comment is the user name. Key options are not supported: a line with
options is an error, because the restrictions that it asks for would not be enforced.
"""

from pathlib import Path
from typing import Final

from securechat.errors import ConfigurationError
from securechat.files import lines_of
from securechat.i18n import _
from securechat.ssh import keys


class AuthorizedKeys:
    """The keys in a file, with their user names."""

    def __init__(self, users: dict[bytes, str]) -> None:
        self._users: Final = users

    @classmethod
    def parse(cls, data: bytes, path: Path, *, max_name: int) -> "AuthorizedKeys":
        """Parse the content of a file; ConfigurationError, with path and line number, if any line is invalid.

        A user name has at most `max_name` bytes of UTF-8.
        """
        users: dict[bytes, str] = {}
        for number, line in lines_of(data, path):
            if not line or line.startswith("#"):
                continue
            try:
                blob, user = parse_line(line, max_name)
                if blob in users:
                    raise ValueError(_("duplicate key"))
            except ValueError as error:
                raise ConfigurationError(
                    _("{path}:{line}: {problem}").format(path=path, line=number, problem=error)
                ) from None
            users[blob] = user
        return cls(users)

    def user_of(self, blob: bytes) -> str | None:
        """The name of a key's user; None if the key is not authorized."""
        return self._users.get(blob)


def parse_line(line: str, max_name: int) -> tuple[bytes, str]:
    """The key of a line and the name of its user, by default the key's fingerprint; ValueError."""
    if keys.KEY_TYPE.decode() in line.split() and not line.startswith(keys.KEY_TYPE.decode()):
        raise ValueError(_("key options are not supported; remove them"))
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
    return blob, user or keys.fingerprint(blob)

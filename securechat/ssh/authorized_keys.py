"""Who may talk: a file in the format of OpenSSH's authorized_keys, parsed whole or not at all (see sshd(8)).

A line is ``ssh-ed25519 AAAA… comment``, and the comment is the user's name. Options before the key type would promise
restrictions that nobody here enforces, so a line with options is refused.
"""

from pathlib import Path
from typing import Final

from securechat.errors import ConfigurationError
from securechat.files import OTHERS_WRITE, read_lines
from securechat.i18n import _
from securechat.ssh import keys


class AuthorizedKeys:
    """The keys of a file, each with its user's name."""

    def __init__(self, users: dict[bytes, str]) -> None:
        self._users: Final = users

    @classmethod
    def load(cls, path: Path, *, max_name: int) -> "AuthorizedKeys":
        """Read a file; ConfigurationError, with file and line, if anything in it is not right.

        A user's name has at most `max_name` bytes of UTF-8.
        """
        users: dict[bytes, str] = {}
        for number, line in read_lines(path, OTHERS_WRITE):
            if not line or line.startswith("#"):
                continue
            try:
                blob, user = parse_line(line, max_name)
                if blob in users:
                    raise ValueError(_("this key stands in the file already"))
            except ValueError as error:
                raise ConfigurationError(
                    _("{path}:{line}: {problem}").format(path=path, line=number, problem=error)
                ) from None
            users[blob] = user
        return cls(users)

    def user_of(self, blob: bytes) -> str | None:
        """The name of a key's user; None if the key may not talk."""
        return self._users.get(blob)


def parse_line(line: str, max_name: int) -> tuple[bytes, str]:
    if keys.KEY_TYPE.decode() in line.split() and not line.startswith(keys.KEY_TYPE.decode()):
        raise ValueError(_("options before the key are not supported; remove them"))
    try:
        blob, user = keys.parse_public_line(line)
    except ValueError:
        raise ValueError(_("not an acceptable ssh-ed25519 public key; correct or remove this line")) from None
    if len(user.encode()) > max_name:
        raise ValueError(_("the comment, which is the user's name, has more than {size} bytes").format(size=max_name))
    if not user.isprintable():
        raise ValueError(_("the comment, which is the user's name, has control characters"))
    return blob, user or keys.fingerprint(blob)

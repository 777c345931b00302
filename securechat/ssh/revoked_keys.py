"""Lists of revoked keys: on each line a public key, or the fingerprint of one as ``ssh-keygen -l`` prints it."""

import re
from pathlib import Path
from typing import Final

from securechat.errors import ConfigurationError
from securechat.files import lines_of
from securechat.i18n import _
from securechat.ssh import keys

_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]", re.ASCII)  # of 32 bytes


class RevokedKeys:
    """The fingerprints of the keys in a list."""

    def __init__(self, fingerprints: frozenset[str]) -> None:
        self._fingerprints = fingerprints

    @classmethod
    def parse(cls, data: bytes, path: Path) -> "RevokedKeys":
        """Parse the content of a file; ConfigurationError, with path and line number, if any line is invalid."""
        found = set()
        for number, line in lines_of(data, path):
            if not line or line.startswith("#"):
                continue
            try:
                found.add(parse_line(line))
            except ValueError:
                text = _("{path}:{line}: expected an ssh-ed25519 public key or a SHA256 fingerprint")
                raise ConfigurationError(text.format(path=path, line=number)) from None
        return cls(frozenset(found))

    def __contains__(self, blob: bytes) -> bool:
        return keys.fingerprint(blob) in self._fingerprints


def parse_line(line: str) -> str:
    """The fingerprint of the key in a line; ValueError if there is none."""
    first = re.split(r"[ \t]", line, maxsplit=1)[0]
    if _FINGERPRINT.fullmatch(first):
        return first
    blob, _comment = keys.parse_public_line(line)
    return keys.fingerprint(blob)

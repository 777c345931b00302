"""Additional headers of requests, from the settings. Their values may be secrets, and are never shown."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from securechat.errors import ConfigurationError
from securechat.files import OTHERS, read_lines
from securechat.i18n import _

log = Logger()

MAX_VALUE: Final = 8192  # characters

_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE: Final = re.compile(rf"[!-~](?:[ -~]{{0,{MAX_VALUE - 2}}}[!-~])?")
_RESERVED: Final = frozenset(  # those with which the client describes its requests and connections
    {
        *("host", "content-length", "content-type", "transfer-encoding", "te", "trailer", "expect"),
        *("connection", "keep-alive", "upgrade", "accept-encoding", "proxy-connection"),
    }
)
_SECRET: Final = re.compile("key|token|secret|auth|cookie|pass|credential|session", re.IGNORECASE)


def parse_header(text: str) -> str:
    """``NAME: VALUE`` in its normal form; ValueError, without the value, if it is invalid."""
    name, _colon, value = (part.strip() for part in text.partition(":"))
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError(_("expected NAME:VALUE in ASCII"))
    if name.lower() in _RESERVED:
        raise ValueError(_("the header {name} cannot be set").format(name=name))
    return f"{name}: {value}"


def headers_of(texts: Sequence[str]) -> dict[str, str]:
    """Headers from `parse_header` by name."""
    return dict(text.split(": ", 1) for text in texts)


def read_headers(path: Path) -> list[str]:
    """The headers in a file that only its owner can read, one on each line; ConfigurationError if one is invalid."""
    found = []
    for number, line in read_lines(path, OTHERS):
        if line and not line.startswith("#"):
            try:
                found.append(parse_header(line))
            except ValueError as error:
                raise ConfigurationError(f"{path}:{number}: {error}") from None
    return found


def is_secret(text: str) -> bool:
    """Whether a header looks like a secret, by its name."""
    return _SECRET.search(text.partition(":")[0]) is not None


def warn_of_secrets(texts: Sequence[str]) -> None:
    """Log a warning about headers on the command line that look like secrets."""
    for name in headers_of(texts):
        if is_secret(name):
            log.warn("other users can read the header {name} on the command line: use -R header-file=FILE", name=name)

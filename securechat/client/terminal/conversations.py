"""Conversations that the user keeps, each in a file of JSON lines that only the user can read.

A line is an exchange: ``{"user": "…", "robot": "…"}``. With ``"again": true`` it replaces the exchange before it.
"""

import re
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from securechat.errors import ConfigurationError
from securechat.files import OTHERS_WRITE, read_bytes
from securechat.i18n import _
from securechat.wire.messages import MAX_TURNS

MAX_SIZE: Final = 64 * 1024 * 1024  # bytes of a file that is read
MAX_EXCHANGES: Final = MAX_TURNS // 2  # the latest ones; a server is not told more
SUFFIX: Final = ".jsonl"
_NAME: Final = re.compile(r"\w[\w-]{0,63}")


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An exchange. Its repr does not show it."""

    user: str
    robot: str
    again: bool = False

    def __repr__(self) -> str:
        return "<Saved>"


_DECODER: Final = msgspec.json.Decoder(Saved)
_ENCODER: Final = msgspec.json.Encoder()


def is_name(text: str) -> bool:
    """Whether the text is the name of a conversation. Anything else, such as one with a dot or a slash, is a path."""
    return _NAME.fullmatch(text) is not None


def path_of(name: str, directory: Path) -> Path:
    """The file of a conversation."""
    return directory / f"{name}{SUFFIX}"


def new_name(now: datetime) -> str:
    """A name for a conversation that was given none."""
    return now.strftime("%Y-%m-%d-%H%M%S")


def latest(directory: Path) -> Path:
    """The conversation that was saved last; ConfigurationError if there is none."""
    found: list[tuple[float, Path]] = []
    with suppress(OSError):
        for path in directory.iterdir():
            if path.suffix == SUFFIX:
                found.append((path.stat().st_mtime, path))
    if not found:
        raise ConfigurationError(_("{path}: no saved conversation").format(path=directory))
    return max(found)[1]


def encode(exchange: Saved) -> str:
    """The line of an exchange, without its newline."""
    return _ENCODER.encode(exchange).decode()


def decode(data: bytes, path: Path) -> list[Saved]:
    """The latest exchanges in a file; ConfigurationError, with the path and its number, for a line that is none."""
    exchanges: deque[Saved] = deque(maxlen=MAX_EXCHANGES)
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            exchange = _DECODER.decode(line)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            text = _("{path}:{line}: not an exchange of a saved conversation")
            raise ConfigurationError(text.format(path=path, line=number)) from None
        if exchange.again and exchanges:
            exchanges.pop()
        exchanges.append(exchange)
    return [*exchanges]


def read(path: Path) -> list[Saved]:
    """The latest exchanges in a file; ConfigurationError if it cannot be read, or is none."""
    return decode(read_bytes(path, OTHERS_WRITE, max_size=MAX_SIZE), path)


def content(exchanges: Iterable[Saved]) -> bytes:
    """A file with these exchanges."""
    return "".join(f"{encode(exchange)}\n" for exchange in exchanges).encode()

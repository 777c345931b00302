"""The user's input of earlier sessions, in a file that only the user can read."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from prompt_toolkit.history import History

MAX_ENTRIES: Final = 1000  # that are kept
MAX_SIZE: Final = 4 * 1024 * 1024  # bytes that are read


class InputHistory(History):
    """A history with one JSON string a line, the oldest first. Text that begins with a space is not kept.

    It is a convenience: a file that cannot be read or written is no error.
    """

    def __init__(self, path: Path | None) -> None:
        """Without a path, the history ends with the session."""
        super().__init__()
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        """The latest first."""
        return reversed(self._read())

    def append_string(self, string: str) -> None:
        if not string.startswith(" ") and string.strip() and self.get_strings()[-1:] != [string]:
            super().append_string(string)

    def store_string(self, string: str) -> None:
        if self._path is None:
            return
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            with open(descriptor, "ab", buffering=0) as file:
                os.fchmod(descriptor, 0o600)
                file.write(_line(string))

    def _read(self) -> list[str]:
        if self._path is None:
            return []
        entries = []
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - MAX_SIZE))
                lines = file.read(MAX_SIZE).splitlines()
        except OSError:
            return []
        for line in lines:
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, str):
                    entries.append(entry)
        if len(entries) > 2 * MAX_ENTRIES or size > MAX_SIZE:
            self._rewrite(entries[-MAX_ENTRIES:])
        return entries[-MAX_ENTRIES:]

    def _rewrite(self, entries: list[str]) -> None:
        """Keep these entries only."""
        assert self._path is not None
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.writelines(map(_line, entries))
            new.replace(self._path)


def _line(string: str) -> bytes:
    return json.dumps(string).encode() + b"\n"

"""A list of keys in a file that is read at each handshake, as sshd does."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from twisted.logger import Logger

from securechat.errors import ConfigurationError
from securechat.files import MAX_LIST_SIZE, OTHERS_WRITE, read_bytes
from securechat.i18n import in_english

log = Logger()

REMINDER_INTERVAL: Final = 60.0  # seconds between two log lines about a file that remains unusable

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """The content of a file, parsed again if it has changed.

    Its time and size are not relied upon, because a file can be replaced by another with the same ones, or become
    readable without a change of either. While the file is unusable, `content` is that of its last usable version, and
    the log says so repeatedly.
    """

    content: T

    def __init__(
        self,
        path: Path,
        parse: Callable[[bytes, Path], T],
        consequence: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """ConfigurationError if the file is unusable. `consequence`, in the log, is what follows if it becomes so."""
        self.problem = ""  # that was logged; empty if there is none
        self._path = path
        self._parse = parse
        self._consequence = consequence
        self._clock = clock
        self._data: bytes | None = None  # as read last
        self._problem = ""  # with `_data`
        self._remind_at = 0.0  # when to log it again
        self.load()

    def look(self) -> None:
        """Read the file because a handshake needs it. A problem is logged at once, and then once a minute."""
        try:
            if self._load_in_english() or self.problem:
                self._log_reload()
        except ConfigurationError as error:
            if not self.problem or self._clock() >= self._remind_at:
                self._log_problem(error)

    def reload(self) -> None:
        """Read the file because the operator asked for it, and log the result."""
        try:
            self._load_in_english()
        except ConfigurationError as error:
            self._log_problem(error)
        else:
            self._log_reload()

    def load(self) -> bool:
        """Read the file; whether it has changed. ConfigurationError if it is unusable: `content` remains the same."""
        data = read_bytes(self._path, OTHERS_WRITE, max_size=MAX_LIST_SIZE)
        if data == self._data:
            if self._problem:
                raise ConfigurationError(self._problem)
            return False
        self._data, self._problem = data, ""
        try:
            self.content = self._parse(data, self._path)
        except ConfigurationError as error:
            self._problem = str(error)
            raise
        return True

    def _load_in_english(self) -> bool:
        with in_english():
            return self.load()

    def _log_reload(self) -> None:
        self.problem = ""
        log.info("reloaded {path}", path=str(self._path))

    def _log_problem(self, error: ConfigurationError) -> None:
        self.problem = str(error)
        self._remind_at = self._clock() + REMINDER_INTERVAL
        log.error("{error}; {consequence}", error=self.problem, consequence=self._consequence)

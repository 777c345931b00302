"""Keeping the conversation in a file, in the order of its exchanges and without blocking the reactor."""

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThreadPool

from securechat.client.reactor import IClientReactor
from securechat.client.terminal.conversations import Saved, content, encode, new_name, path_of
from securechat.files import append_line, write_new

T = TypeVar("T")


class Keeper:
    """Writes each exchange of a conversation that the user wants to keep."""

    def __init__(
        self,
        reactor: IClientReactor,
        directory: Callable[[], Path],
        *,
        keeps_all: bool = False,
        path: Path | None = None,
    ) -> None:
        """`directory` is that of the files; it raises ConfigurationError if there is none.

        `path` is the file of a conversation that goes on. With `keeps_all`, every other one gets a file as well.
        """
        self.path = path
        self._reactor = reactor
        self._directory = directory
        self._keeps_all = keeps_all
        self._replaces = False  # whether the next exchange replaces the latest one in the file
        self._lock = DeferredLock()  # one write at a time

    def add(self, user: str, robot: str) -> Deferred[None]:
        """Write an exchange, if the conversation is kept; ConfigurationError, after which it is kept no longer."""
        exchange = Saved(user, robot, again=self._replaces)
        self._replaces = False
        return self._in_thread(self._append, exchange)

    def _append(self, exchange: Saved) -> None:
        try:
            if self.path is None and self._keeps_all:
                self.path = self._new_path()
            if self.path is not None:
                append_line(self.path, encode(exchange))
        except Exception:
            self.path = None
            self._keeps_all = False
            raise

    def _new_path(self) -> Path:
        name = new_name(datetime.now())
        path, number = path_of(name, self._directory()), 1
        while path.exists():  # another conversation of the same second
            number += 1
            path = path_of(f"{name}-{number}", self._directory())
        return path

    def save_as(self, name: str, exchanges: Iterable[Saved]) -> Deferred[Path]:
        """Keep the conversation, which has these exchanges so far, under a name from now on; the path.

        ConfigurationError, or FileExistsError if there is one of this name.
        """
        self._replaces = False
        return self._in_thread(self._write, name, content(exchanges))

    def _write(self, name: str, data: bytes) -> Path:
        path = path_of(name, self._directory())
        write_new(path, data, 0o600)
        self.path = path
        return path

    def take_back(self) -> None:
        """The latest exchange is no part of the conversation any more."""
        self._replaces = True

    def start_afresh(self) -> Deferred[None]:
        """Another conversation begins, which is not kept if the user has not asked for all of them."""
        self._replaces = False
        return self._in_thread(self._forget)

    def _forget(self) -> None:
        self.path = None

    def done(self) -> Deferred[None]:
        """Fires when all has been written."""
        return self._in_thread(lambda: None)

    def _in_thread(self, call: Callable[..., T], *args: object) -> Deferred[T]:
        return self._lock.run(deferToThreadPool, self._reactor, self._reactor.getThreadPool(), call, *args)

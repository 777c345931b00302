"""A proxy before a PostgreSQL server that interferes with one COMMIT."""

import socket
from contextlib import closing, suppress
from enum import Enum
from pathlib import Path
from select import select
from threading import Event, Thread

COMMIT = b"COMMIT\0"
SIZE = 65536  # bytes to read at once


class Fate(Enum):
    """What happens to the next COMMIT. Its connection is closed, so that the client does not learn of it."""

    LOST = "lost"  # it does not reach the server
    DONE = "done"  # the server has carried it out
    LATE = "late"  # the server gets it when `release` is set


class Proxy:
    """Listens in a directory for connections to a server's socket. End it with `close`."""

    def __init__(self, directory: Path, server: Path) -> None:
        self.fate: Fate | None = None
        self.release = Event()
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / server.name))
        self._listener.listen()
        self._start(self._accept)

    def close(self) -> None:
        self.release.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _start(self, target: object, *arguments: object) -> None:
        Thread(target=target, args=arguments, daemon=True).start()  # type: ignore[arg-type]

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                client, _address = self._listener.accept()
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with closing(client), closing(socket.socket(socket.AF_UNIX)) as server, suppress(OSError):
            server.connect(str(self._server))
            while True:
                for source in select([client, server], [], [])[0]:
                    data = source.recv(SIZE)
                    if source is client and COMMIT in data and self.fate is not None:
                        self._interfere(client, server, data)
                        return
                    if not data:
                        return
                    (server if source is client else client).sendall(data)

    def _interfere(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        fate, self.fate = self.fate, None
        if fate is Fate.LATE:
            client.close()
            self.release.wait()
        if fate is not Fate.LOST:
            server.sendall(data)
            server.recv(SIZE)  # it has carried it out

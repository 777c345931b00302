"""Single requests, with the model's server in this process: it sees when a request arrives and when it is abandoned."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.listeners import HttpListener
from benchmarks.loads import TIMEOUT
from benchmarks.model import CHUNK, END, HEAD
from benchmarks.stamps import SIZE, stamp
from sidechannel.traces import receive, timestamp


@dataclass
class Asked:
    """A request at the model's server. Moments are on the wall clock, in seconds."""

    socket: socket.socket
    body: bytes
    moment: float  # at which it was complete
    written: float = 0.0  # when the first word was

    def say(self) -> None:
        """Begin the reply with one word."""
        self.written = time.time()
        self.socket.sendall(HEAD + (CHUNK % stamp(0, 0)).encode())

    def end(self) -> None:
        """End the reply after this word."""
        self.socket.sendall(END.encode())

    def wait_for_close(self) -> float:
        """The moment at which the connection is closed by the other end."""
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionResetError:
            pass
        return time.time()


class Model:
    """The model's server."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.port: int = listener.getsockname()[1]

    def next(self) -> Asked:
        """Wait for a request."""
        accepted, _address = self._listener.accept()
        accepted.settimeout(TIMEOUT)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data, moment = receive(accepted)
        while not (blank := data.find(b"\r\n\r\n") + 4) > 4 or len(data) < blank + _length(data[:blank]):
            more, moment = receive(accepted)
            if not more:
                raise ConnectionError("the request is incomplete")
            data += more
        return Asked(accepted, data[blank:], moment)


def _length(head: bytes) -> int:
    line = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(line.split(b":")[1])


@contextmanager
def model() -> Iterator[Model]:
    """The model's server, as long as the block lasts."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.settimeout(TIMEOUT)
        timestamp(listener)  # and all that it accepts
        yield Model(listener)


def first_word(tool: HttpListener) -> float:
    """Wait for the first word of a reply; the moment at which the kernel had it."""
    text = ""
    while len(text) < SIZE:
        data, moment = receive(tool.socket)
        if not data:
            raise ConnectionError("the response is incomplete")
        text += tool.open(data)
    return moment

"""An observer on the path between a client and a server: it passes the bytes on, and keeps them."""

from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

reactor: Any = installed


class Passage(Protocol):
    """One side of a connection through an observer: what it receives is kept, and leaves on the other side."""

    transport: ITCPTransport

    def __init__(self) -> None:
        self.seen = bytearray()
        self.moments: list[int] = []  # at each read, the number of bytes that the other side had received
        self.other: Passage | None = None  # once it is connected
        self.lost = False

    def join(self, other: "Passage") -> None:
        self.other = other
        other.transport.write(bytes(self.seen))
        if self.lost:
            other.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self.seen += data
        if self.other is not None:
            self.moments.append(len(self.other.seen))
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        if self.other is not None:
            self.other.transport.loseConnection()


class Observer(Factory):
    """Passes one connection on to a port, and reads it."""

    noisy = False

    def __init__(self) -> None:
        self.port = 0
        self.client = Passage()
        self.server = Passage()

    def buildProtocol(self, addr: object) -> Passage:
        connected = connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", self.port), self.server)
        connected.addCallback(self._join)
        return self.client

    def _join(self, server: Passage) -> None:
        self.client.join(server)
        server.join(self.client)

    async def silence(self, seconds: float) -> int:
        """How many bytes the server has sent, once there are no more for this time."""
        seen = -1
        while seen < len(self.server.seen):
            seen = len(self.server.seen)
            await deferLater(reactor, seconds)
        return seen

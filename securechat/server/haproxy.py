"""Refusing a connection behind ``haproxy:``.

A factory returns None for a connection that it refuses. Twisted's wrapper for the PROXY protocol does not expect that:
it fails with a traceback in the log, and the connection stays open (twisted#12501).
"""

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol


class _Refused(Protocol):
    """A connection that is closed at once."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class ProxiedFactory(Factory):
    """Another factory, which may refuse connections, for ``haproxy:``."""

    noisy = False

    def __init__(self, factory: Factory) -> None:
        self._factory = factory

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        protocol: Any = self._factory.buildProtocol(addr)
        return protocol or _Refused()

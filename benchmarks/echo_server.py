"""``twistd -noy benchmarks/echo_server.py``: the TLS or TCP server that securechat's daemon is compared with.

It greets each client with one byte and then echoes lines. Environment variables: CERTIFICATE is its PEM file (without
it, there is no TLS), CLIENT_CERTIFICATE the one that clients must have. Everything else is Twisted's default.
"""

import os
from pathlib import Path
from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor as installed
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.protocols.basic import LineOnlyReceiver
from zope.interface import implementer

reactor: Any = installed
BACKLOG = 1024
LOOPBACK = "127.0.0.1"


class Echo(LineOnlyReceiver):
    """Greets and echoes."""

    transport: Any
    delimiter = b"\n"

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.greet()

    def greet(self) -> None:
        self.transport.write(b"!")

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)


@implementer(IHandshakeListener)
class TlsEcho(Echo):
    """Greets after the handshake, as securechat's server does."""

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def handshakeCompleted(self) -> None:
        self.greet()


def endpoint() -> TCP4ServerEndpoint | SSL4ServerEndpoint:
    if "CERTIFICATE" not in os.environ:
        return TCP4ServerEndpoint(reactor, 0, BACKLOG, LOOPBACK)
    certificate = PrivateCertificate.loadPEM(Path(os.environ["CERTIFICATE"]).read_bytes())
    users = [Certificate.loadPEM(Path(path).read_bytes()) for path in [os.environ.get("CLIENT_CERTIFICATE")] if path]
    return SSL4ServerEndpoint(reactor, 0, certificate.options(*users), BACKLOG, LOOPBACK)


application = Application("echo")
protocol = TlsEcho if "CERTIFICATE" in os.environ else Echo
StreamServerEndpointService(endpoint(), Factory.forProtocol(protocol)).setServiceParent(application)

"""Connections through a proxy that sends a PROXY header: ``haproxy:`` before an endpoint.

Twisted's wrapper for such endpoints makes the protocol before it has read the header (twisted#12501), so that all
clients would count as one source, the proxy. Here a connection waits for the header and the client's first bytes.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from twisted.internet import address
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from securechat.errors import Category
from securechat.ip_addresses import parse_address
from securechat.server import connection_log
from securechat.server.factory import ChatServerFactory
from securechat.server.proxy_header import Endpoint, InvalidHeaderError, ProxyHeader, read_header
from securechat.transport import IChatTransport

PREFIX: Final = "haproxy:"

Network = IPv4Network | IPv6Network


class _ProxiedTransport:
    """The transport of a connection, with the addresses in its header."""

    def __init__(self, transport: IChatTransport, header: ProxyHeader) -> None:
        self._transport = transport
        self._peer = _twisted_address(header.source) or transport.getPeer()
        self._host = _twisted_address(header.destination) or transport.getHost()
        directlyProvides(self, providedBy(transport))

    def getPeer(self) -> IAddress:
        return self._peer

    def getHost(self) -> IAddress:
        return self._host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _twisted_address(end: Endpoint | None) -> IAddress | None:
    if end is None:
        return None
    kind = address.IPv4Address if end.address.version == 4 else address.IPv6Address
    return kind("TCP", str(end.address), end.port)


class _ProxiedConnection(Protocol):
    """Reads the header, and then hands everything to a ChatServer."""

    transport: Any  # an IChatTransport

    def __init__(self, factory: "ProxiedFactory") -> None:
        self.factory: ProxiedFactory = factory
        self._received = b""  # until there is a protocol; bounded, because a header is, and one byte more is enough
        self._protocol: Protocol | None = None
        self._timeout: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._timeout = self.factory.started_waiting(self)

    def dataReceived(self, data: bytes) -> None:
        if self._protocol is not None:
            self._protocol.dataReceived(data)
            return
        self._received += data
        try:
            header = read_header(self._received)
        except InvalidHeaderError:
            self.refuse(Category.MALFORMED)
            return
        if header is not None and len(self._received) > header.size:
            self._begin(header)

    def _begin(self, header: ProxyHeader) -> None:
        self._stop_waiting()
        transport: Any = _ProxiedTransport(self.transport, header)
        data, self._received = self._received[header.size :], b""
        self._protocol = self.factory.proxied.buildProtocol(transport.getPeer())
        if self._protocol is None:
            self._protocol = Protocol()  # ignores what has been received already
            self.transport.abortConnection()
            return
        self._protocol.makeConnection(transport)
        self._protocol.dataReceived(data)

    def refuse(self, category: Category) -> None:
        """Close the connection, whose client is unknown."""
        self._stop_waiting()
        self._protocol = Protocol()
        self.factory.log_refusal(self.transport.getPeer(), category)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()
        if self._protocol is not None and self._protocol.transport is not None:
            self._protocol.connectionLost(reason)

    def _stop_waiting(self) -> None:
        self.factory.waiting.pop(self, None)
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()


class ProxiedFactory(Factory):
    """Accepts connections of proxies, and asks a ChatServerFactory when the address of a client is known.

    As many connections as there may be handshakes can wait for their first bytes; further ones replace the oldest.
    """

    noisy = False

    def __init__(self, proxied: ChatServerFactory, proxies: Sequence[Network]) -> None:
        """`proxies` are the networks whose headers are believed; a UNIX socket's are."""
        self.proxied = proxied
        self.waiting: dict[_ProxiedConnection, None] = {}  # the oldest comes first
        self._proxies = proxies

    def buildProtocol(self, addr: IAddress | None) -> _ProxiedConnection | None:  # type: ignore[override] # Twisted's is wider
        """None, and so a closed socket, for a peer that is not a proxy."""
        if isinstance(addr, address.IPv4Address | address.IPv6Address) and not self._is_proxy(addr.host):
            self.log_refusal(addr, Category.ORDER)
            return None
        return _ProxiedConnection(self)

    def _is_proxy(self, host: str) -> bool:
        peer = parse_address(host)
        return any(peer in network for network in self._proxies)

    def log_refusal(self, peer: IAddress, category: Category) -> None:
        """Log that a connection was closed before its client was known."""
        connection_log.refused(self.proxied.next_number(), peer, category)

    def started_waiting(self, connection: _ProxiedConnection) -> IDelayedCall:
        """The timeout of a new connection."""
        settings = self.proxied.settings
        if len(self.waiting) >= settings.max_handshakes:
            next(iter(self.waiting)).refuse(Category.LIMIT)
        self.waiting[connection] = None
        return self.proxied.clock.callLater(settings.hello_timeout, connection.refuse, Category.TIMEOUT)

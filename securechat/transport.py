"""What both ends need of the transport under them."""

import socket
from contextlib import suppress

from twisted.internet.interfaces import IConsumer, IPushProducer, ISSLTransport, ISystemHandle, ITCPTransport


class IChatTransport(ITCPTransport, IConsumer, IPushProducer):
    """A stream that can be paused, aborted and asked to say when its peer does not read. TCP's and UNIX's are."""


def tune(transport: IChatTransport) -> None:
    """No waiting to fill a packet, and an end for peers whose network is gone."""
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)


class Writer:
    """Writes to a transport, at once if that can be.

    A transport's write waits for the reactor's next turn, and costs two system calls more to ask for it. So the first
    try is the socket's own; what it does not take goes through the transport, and from then on everything does, because
    nobody outside of the transport can tell when its buffer is empty again.
    """

    __slots__ = ("_socket", "_transport")

    def __init__(self, transport: IChatTransport) -> None:
        self._transport = transport
        handle = transport.getHandle() if ISystemHandle.providedBy(transport) else None
        self._socket: socket.socket | None = None
        if isinstance(handle, socket.socket) and not ISSLTransport.providedBy(transport):
            self._socket = handle

    def write(self, data: bytes) -> None:
        """Send `data` after all that was written before."""
        if self._socket is not None:
            sent = 0
            with suppress(OSError):  # full, or gone: the transport will find out and say
                sent = self._socket.send(data)
            if sent == len(data):
                return
            self._socket = None
            data = data[sent:]
        self._transport.write(data)

"""TCP options and unbuffered writes, for the transports of both ends."""

import socket
from contextlib import suppress

from twisted.internet.interfaces import IConsumer, IPushProducer, ISSLTransport, ISystemHandle, ITCPTransport


class IChatTransport(ITCPTransport, IConsumer, IPushProducer):
    """A stream transport that can be paused and aborted, with flow control: TCP's and UNIX sockets' transports."""


def tune(transport: IChatTransport, send_buffer: int | None = None) -> None:
    """Set TCP_NODELAY, and SO_KEEPALIVE to detect peers that have become unreachable.

    `send_buffer` is the size of the kernel's send buffer in bytes. By default Linux lets it grow to some megabytes.
    """
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
    handle = _socket_of(transport)
    if handle is not None and send_buffer is not None:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)


def _socket_of(transport: IChatTransport) -> socket.socket | None:
    """The socket of a transport that has one; TLS hides its own."""
    handle = transport.getHandle() if ISystemHandle.providedBy(transport) else None
    return handle if isinstance(handle, socket.socket) else None


class Writer:
    """Writes to a transport, directly to its socket if possible.

    A transport's own write waits for the next reactor iteration and costs two more system calls. Therefore data is sent
    to the socket first. After the first partial write all data goes through the transport, because its buffer has to be
    sent first and there is no way to tell when it is empty.
    """

    __slots__ = ("_socket", "_transport")

    def __init__(self, transport: IChatTransport) -> None:
        self._transport = transport
        self._socket = None if ISSLTransport.providedBy(transport) else _socket_of(transport)

    def write(self, data: bytes) -> None:
        """Send `data`, after everything that was written before."""
        if self._socket is not None:
            sent = 0
            with suppress(OSError):  # full or closed: the transport reports it
                sent = self._socket.send(data)
            if sent == len(data):
                return
            self._socket = None
            data = data[sent:]
        self._transport.write(data)

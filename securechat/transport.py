"""What both ends need of the transport under them."""

from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport


class IChatTransport(ITCPTransport, IConsumer, IPushProducer):
    """A stream that can be paused, aborted and asked to say when its peer does not read. TCP's and UNIX's are."""


def tune(transport: IChatTransport) -> None:
    """No waiting to fill a packet, and an end for peers whose network is gone."""
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)

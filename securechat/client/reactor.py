"""The parts of a Twisted reactor that the client uses."""

from twisted.internet.interfaces import IReactorCore, IReactorTCP, IReactorThreads, IReactorTime, IReactorUNIX


class IClientReactor(IReactorCore, IReactorTCP, IReactorThreads, IReactorTime, IReactorUNIX):
    """Connections, delayed calls, the thread pool, and UNIX sockets."""

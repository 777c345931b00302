"""The parts of a Twisted reactor that the client uses."""

from twisted.internet.interfaces import IReactorCore, IReactorThreads, IReactorTime, IReactorUNIX


class IClientReactor(IReactorCore, IReactorThreads, IReactorTime, IReactorUNIX):
    """Connections, delayed calls, the thread pool, and UNIX sockets for ssh-agent."""

"""The pool of connections that are kept for further requests."""

from collections.abc import Hashable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.web.client import HTTPConnectionPool

from securechat.robots.http.connection import Connection

# Seconds for which an idle connection is kept. Servers (uvicorn, Node, cpp-httplib) close them after 5. The client
# closes first, so that few requests cross such a close.
IDLE_TIMEOUT: Final = 4


class ConnectionPool(HTTPConnectionPool):
    """Twisted's pool, without connections that the server has closed.

    Twisted would notice only when it reads from them; a close that has just arrived would cost the next request.
    """

    cachedConnectionTimeout = IDLE_TIMEOUT
    retryAutomatically = False  # HttpClient does, for all methods

    def __init__(self, reactor: IReactorTime, *, persistent: bool) -> None:
        super().__init__(reactor, persistent)

    def getConnection(self, key: Hashable, endpoint: IStreamClientEndpoint) -> "Deferred[Any]":
        return super().getConnection(key, endpoint).addCallback(self._begin, key, endpoint)

    def _begin(self, protocol: Any, key: Hashable, endpoint: IStreamClientEndpoint) -> "Deferred[Any] | Any":
        connection: Connection = protocol.transport
        if connection.requests and (connection.disconnecting or connection.is_readable()):
            connection.stopProducing()
            return self.getConnection(key, endpoint)
        return connection

"""The end of an admitted client's session: replies in progress, GOODBYE in both directions, the connection closed."""

from typing import Final

from twisted.internet.defer import Deferred

from securechat.server.outbox import Outbox
from securechat.server.reading import Reading
from securechat.server.session import Session
from securechat.server.timeout import Timeout
from securechat.transport import IChatTransport
from securechat.wire.connection import GOODBYE_TIMEOUT, State
from securechat.wire.messages import Reason
from securechat.wire.server_connection import ServerConnection

STOPPING_TIMEOUT: Final = 1.0  # seconds for an idle client to answer GOODBYE when the server stops


class Leaving:
    """Sends GOODBYE once, and closes the connection when the client has sent its own."""

    __slots__ = (
        "_client_left",
        "_connection",
        "_goodbye",
        "_goodbye_timeout",
        "_outbox",
        "_reading",
        "_session",
        "_timeout",
        "_transport",
        "is_draining",
        "reason",
    )

    def __init__(
        self,
        connection: ServerConnection,
        session: Session,
        outbox: Outbox,
        reading: Reading,
        timeout: Timeout,
        transport: IChatTransport,
    ) -> None:
        self.is_draining = False  # the server stops: messages are ignored
        self.reason: Reason | None = None  # of the first GOODBYE
        self._connection = connection
        self._session = session
        self._outbox = outbox
        self._reading = reading
        self._timeout = timeout
        self._transport = transport
        self._goodbye: Deferred[None] | None = None  # fires when ours is written
        self._goodbye_timeout = GOODBYE_TIMEOUT
        self._client_left = False

    @property
    def has_begun(self) -> bool:
        """Whether GOODBYE is to be sent or was sent."""
        return self._goodbye is not None

    @property
    def goodbye_sent(self) -> bool:
        """Whether GOODBYE is written."""
        return self._goodbye is not None and self._goodbye.called

    def drain(self) -> None:
        """The server stops: let replies in progress end, and then the session."""
        if self.is_draining or self.has_begun or self._connection.state is State.CLOSED:
            return
        self.is_draining = True
        if self._outbox.is_empty:
            self._goodbye_timeout = STOPPING_TIMEOUT
        self._session.drain().addCallback(lambda _drained: self.leave(Reason.STOPPING))

    def leave(self, reason: Reason) -> None:
        """Send GOODBYE, and close the connection when the client has answered."""
        if self.has_begun or self._connection.state is State.CLOSED:
            return
        self.reason = reason
        self._goodbye = self._session.leave(reason)
        self._goodbye.addCallback(self._goodbye_written)
        self._reading.resume()  # the client's GOODBYE may be in the input that waits

    def goodbye_received(self) -> None:
        """The client has sent GOODBYE, first or as an answer."""
        self._client_left = True
        if self._goodbye is None:
            self.leave(Reason.LEAVING)
        elif self._goodbye.called:
            self._close()

    def _goodbye_written(self, _written: None) -> None:
        if self._client_left:
            self._close()
        else:
            self._timeout.restart(self._goodbye_timeout)

    def _close(self) -> None:
        """Both sides have sent GOODBYE: close once the client has read what is left."""
        self._transport.unregisterProducer()  # the transport would wait for it
        self._transport.loseConnection()
        self._timeout.restart(self._goodbye_timeout)

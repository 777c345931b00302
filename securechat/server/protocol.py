"""The server on Twisted's reactor: `ChatServer` joins a socket, a connection and a session.

A message goes from `dataReceived` through `ServerConnection` to `Session`, which asks the robot; what it answers goes
through the `Outbox` to the `Pace`, which takes records out, has them sealed and writes them.
"""

from typing import Final, Protocol

from twisted.internet import protocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from securechat.errors import Category, Fault, RemoteProtocolError
from securechat.server.accounting import Accounting
from securechat.server.addresses import host_of, names_at, place_of
from securechat.server.admission import Place
from securechat.server.authorization import Authorization
from securechat.server.connection_log import ConnectionLog
from securechat.server.deadlines import Deadlines
from securechat.server.interface import Server
from securechat.server.leaving import Leaving
from securechat.server.lifetime import Lifetime
from securechat.server.opening import open_session, shaped_pace
from securechat.server.outbox import MAX_REFUSALS, Outbox
from securechat.server.pacing import Pace, Unshaped
from securechat.server.reading import Reading
from securechat.server.session import Session
from securechat.server.session_state import SessionState
from securechat.server.timeout import Timeout
from securechat.ssh import keys
from securechat.transport import IChatTransport, Writer, tune
from securechat.wire.connection import State
from securechat.wire.events import (
    CallReceived,
    CallRefused,
    CancelReceived,
    ClientProved,
    Event,
    GoodbyeReceived,
    HelloReceived,
    HostKeyAsked,
    MessageReceived,
    MessageRefused,
    NewReceived,
    RecallReceived,
)
from securechat.wire.handshake import ServerHandshake
from securechat.wire.messages import Reason
from securechat.wire.server_connection import ServerConnection

STALL_TIMEOUT: Final = 30.0  # seconds that a client may leave a full send buffer (Twisted's: 64 KiB) unread
SEND_BUFFER: Final = 64 * 1024  # bytes in the kernel (Linux doubles it), before Twisted's: a dozen seconds of ticks


class ChatFactory(Server, Protocol):
    """What a ChatServer needs of the factory that has made it."""

    def sessionEnded(self, session: "ChatServer") -> None:
        """The connection is closed."""


@implementer(IPushProducer)
class ChatServer(protocol.Protocol):
    """One client's socket: its handshake, its session, and the end."""

    transport: IChatTransport
    place: Place  # from `buildProtocol` on
    authorization: Authorization  # from the client's proof on
    _session: Session  # from admission on, as is all that follows
    _deadlines: Deadlines
    _reading: Reading
    _accounting: Accounting
    _lifetime: Lifetime
    _leaving: Leaving

    def __init__(self, server: ChatFactory, number: int) -> None:
        self.number = number
        self.is_admitted = False  # the handshake is complete
        self._server = server
        self._settings = server.settings
        self._clock = server.clock
        self._timeout = Timeout(server.clock, self._timedOut)
        self._lookup: Deferred[None] | None = None  # of the client's key, by a command
        self._stall: IDelayedCall | None = None

    def connectionMade(self) -> None:
        transport, server, settings = self.transport, self._server, self._settings
        tune(transport, SEND_BUFFER)
        transport.registerProducer(self, True)
        self._writer = Writer(transport)
        names = settings.names or names_at(transport.getHost())
        self._connection = ServerConnection(ServerHandshake(server.identity, names), server.monotonic)
        self._log = ConnectionLog(self.number, transport, self._connection, server.monotonic())
        self._outbox = Outbox(self._connection, settings.reply_limit, settings.response_limit, server.counters.replies)
        self._pace: Pace = Unshaped(self._connection, self._outbox, self._writer.write)
        self._timeout.restart(settings.hello_timeout)
        server.beat.catch_up()

    def dataReceived(self, data: bytes) -> None:
        self._pace.is_corked = True
        if self.is_admitted:
            self._session.input_begins()
        try:
            for event in self._connection.receive_data(data):
                self._eventReceived(event)
                if self.is_admitted and self._reading.is_held:
                    break
        except RemoteProtocolError as error:
            self._abort(error.category)
        if self.is_admitted:
            self._deadlines.data_read()
        self._pace.is_corked = False
        self._pace.flush()
        self._server.beat.catch_up()

    def _eventReceived(self, event: Event) -> None:
        match event:
            case MessageReceived():
                self._session.ask(event, refuse=not self._accounting.message_received(event))
                self._hold_if_full()
            case MessageRefused():
                self._accounting.message_refused()
                self._session.refuse(event.id, Fault.BUSY)
                self._hold_if_full()
            case CallReceived():
                is_allowed = self._accounting.call_received(event)
                self._session.call(event, self._server.access, refuse=not is_allowed)
                self._hold_if_full()
            case CallRefused():
                self._accounting.call_refused()
                self._session.refuse(event.id, Fault.BUSY)
                self._hold_if_full()
            case RecallReceived():
                self._session.recall(event)
            case NewReceived():
                self._session.start_afresh()
            case CancelReceived():
                self._session.cancel(event.id)
            case HostKeyAsked():
                pass  # the outbox sends it first
            case HelloReceived():
                self._timeout.restart(self._settings.proof_timeout)
            case ClientProved():
                self._clientProved(event)
            case GoodbyeReceived():
                self._leaving.goodbye_received()

    def _hold_if_full(self) -> None:
        """Stop reading the client if too many refusals wait for their turn, unless only its GOODBYE is awaited.

        While the server stops, messages are ignored, but take memory, too: then the client is read up to a number.
        """
        refused = self._outbox.has_too_many_refusals
        unanswered = self._connection.next_say_id - self._connection.next_reply_id
        if (refused or (self._leaving.is_draining and unanswered > MAX_REFUSALS)) and not self._leaving.has_begun:
            self._pace.fix_bucket()
            self._reading.hold(self._outbox.fewer_refusals() if refused else None)

    # Admission

    def _clientProved(self, event: ClientProved) -> None:
        """Admit the client, or ask the command for authorized keys about its key, and do not read in the meantime."""
        host = host_of(self.transport.getPeer())
        authorization = self.authorization = Authorization(event.user_key, host, event.certificate)
        lookup = authorization.look_up(self._server.users)
        if lookup is None:
            self._admit()
            return
        self.transport.pauseProducing()
        self._lookup = lookup
        lookup.addCallback(self._lookedUp)
        lookup.addErrback(lambda failure: failure.trap(CancelledError))  # by the end of the connection

    def _lookedUp(self, _result: None) -> None:
        self.transport.resumeProducing()
        self._admit()

    def _admit(self) -> None:
        """Begin the client's session, if its key and the limits allow it."""
        server, authorization = self._server, self.authorization
        self._settings = settings = server.settings  # since the connection was made, they may have been reloaded
        if not authorization.decide(server.users):
            self._abort(Category.USER_KEY)
            return
        if not self.place.admit(authorization.identity if authorization.authorized_key else b""):
            self._abort(Category.LIMIT)
            return
        self._connection.admit(server.about(authorization.user), server.message_memory.quota(self.place.holder))
        self._writer.write(self._connection.data_to_send())  # at once, whatever the pace of what follows
        self._pace = shaped_pace(server, self._connection, self._outbox, self._writer.write) or self._pace
        self._session = open_session(
            server, self._connection, self._outbox, self._pace, authorization, self.place.source
        )
        counters = server.counters.of_user(authorization.user if authorization.authorized_key else "")
        self._session.usage = counters.usage
        self._deadlines = Deadlines(self._connection, self._clock, self._abort)
        self._reading = Reading(self.transport, self._deadlines, self._clock, self.dataReceived, self._abort)
        self._lifetime = Lifetime(self._clock, settings.idle_timeout)
        self._accounting = Accounting(
            self.number, self.place, counters, self._lifetime, server.monotonic, log_text=settings.log_text
        )
        self._leaving = Leaving(
            self._connection, self._session, self._outbox, self._reading, self._timeout, self.transport
        )
        self.is_admitted = True
        server.counters.handshakes[self._connection.suite_name, True] += 1
        self._check_lifetime()
        self._log.admitted(authorization.user, server.monotonic(), authorization.authority)

    # What operators see and do

    @property
    def state(self) -> SessionState:
        """What is known of the session, once it is admitted."""
        connection = self._connection
        return SessionState(
            session=self.number,
            user=self.authorization.user,
            key=keys.fingerprint(connection.user_key) if connection.user_key else "",
            authorized=bool(self.authorization.authorized_key),
            peer=place_of(self.transport.getPeer()),
            suite=connection.suite_name,
            age=int(self._lifetime.age),
            idle=int(self._lifetime.idle),
            messages=connection.next_say_id - 1,
            waiting=self._outbox.waiting,
        )

    @property
    def waiting(self) -> tuple[int, int]:
        """The numbers of messages without a whole reply, and of bytes of replies that wait to be sent."""
        return self._outbox.waiting, self._outbox.size

    def drain(self) -> None:
        """The server stops: let replies in progress end, and then the session."""
        if self.is_admitted:
            self._leaving.drain()
        else:
            self.transport.abortConnection()

    def leave(self, reason: Reason) -> None:
        """Send GOODBYE and close when the client has answered; a client that is not admitted is disconnected."""
        if self.is_admitted:
            self._leaving.leave(reason)
        else:
            self.transport.abortConnection()

    def leave_if_unauthorized(self) -> None:
        """End a session whose user would not be admitted any more. A handshake fails by itself."""
        if self.is_admitted and not self.authorization.still_holds(self._server.users):
            self.leave(Reason.KEY_WITHDRAWN)

    # The end

    def _check_lifetime(self) -> None:
        """End a session that is too old or idle, or look again when it may be. A message does not move the timer."""
        if not self._outbox.is_empty:
            self._lifetime.note_activity()
        due = self._lifetime.check()
        if isinstance(due, Reason):
            self.leave(due)
        else:
            self._timeout.restart(due)

    def _timedOut(self) -> None:
        """The client has not sent in time what the handshake or its GOODBYE requires, or the session may be too old."""
        if self.is_admitted and not self._leaving.goodbye_sent:
            self._check_lifetime()
        else:
            self._abort(Category.TIMEOUT)

    def evict(self) -> None:
        """The handshake has to make room for another."""
        self._abort(Category.LIMIT)

    def _abort(self, category: Category) -> None:
        """The one way in which a connection fails: no byte to the client, one line with the category."""
        self._connection.close()
        self._stop_session()
        self.transport.abortConnection()
        self._server.counters.aborts[category] += 1
        self._log.aborted(category, self._server.monotonic())

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        if self.is_admitted:
            self._accounting.stop()
            self._reading.stop()
        aborted = self._connection.state is State.CLOSED
        try:
            self._connection.receive_end()
            cut = False
        except RemoteProtocolError:
            cut = True
            self._server.counters.aborts[Category.CUT] += 1
        if not aborted:
            goodbye = self._leaving.reason if self.is_admitted else None
            self._log.ended(goodbye, self._server.monotonic(), cut=cut)
        self._stop_session()
        self._timeout.stop()
        if self._stall is not None and self._stall.active():
            self._stall.cancel()
        if not self.is_admitted:
            self._server.counters.handshakes[self._connection.suite_name, False] += 1
        self.place.release()
        self._server.sessionEnded(self)

    def _stop_session(self) -> None:
        if self._lookup is not None:
            self._lookup.cancel()
        if self.is_admitted:
            self._deadlines.stop()
            self._session.stop()

    # IPushProducer: the transport says whether the client reads

    def pauseProducing(self) -> None:
        self._outbox.pause()
        if self._stall is None:
            self._stall = self._clock.callLater(STALL_TIMEOUT, self._abort, Category.TIMEOUT)

    def resumeProducing(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        self._outbox.resume()

    def stopProducing(self) -> None:
        """The transport gives up; connectionLost follows."""

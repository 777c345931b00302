"""The server on Twisted's reactor: `ChatServer` joins a socket, a connection and a session.

A message goes from `dataReceived` through `ServerConnection` to `Session`, which asks the robot; the text of the reply
goes through the `Outbox` to the `Pace`, which takes records out, has them sealed and writes them.
"""

import itertools
import secrets
import time
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from securechat import __version__
from securechat.errors import Category, RemoteProtocolError
from securechat.i18n import _
from securechat.robots.interface import IRobot
from securechat.server.addresses import names_at, place_of, source_at
from securechat.server.admission import Admission
from securechat.server.beat import Beat
from securechat.server.history import History
from securechat.server.message_log import MessageLog
from securechat.server.outbox import Outbox
from securechat.server.pacing import Pace, Ticking, Unshaped
from securechat.server.pseudonyms import Pseudonyms
from securechat.server.session import Session
from securechat.server.settings import ServerSettings
from securechat.server.users import Users
from securechat.transport import IChatTransport, Writer, tune
from securechat.wire.connection import GOODBYE_TIMEOUT, MAX_AGE, State
from securechat.wire.events import (
    CancelReceived,
    ClientProved,
    Event,
    GoodbyeReceived,
    HelloReceived,
    MessageReceived,
    NewReceived,
)
from securechat.wire.handshake import ServerHandshake, ServerIdentity
from securechat.wire.messages import Reason
from securechat.wire.server_connection import ServerConnection
from securechat.wire.shaping import Shaping, Train

log = Logger()

SOFTWARE: Final = f"securechat/{__version__}"
STALL_TIMEOUT: Final = 30.0  # seconds that a client may leave a full send buffer (Twisted's: 64 KiB) unread
SEND_BUFFER: Final = 64 * 1024  # bytes in the kernel (Linux doubles it), before Twisted's: a dozen seconds of ticks
READ_SIZE: Final = 64 * 1024  # bytes that Twisted reads at a time: a shorter read has emptied the socket


@implementer(IPushProducer)
class ChatServer(Protocol):
    """One client's socket: its handshake, its session, and the end."""

    transport: IChatTransport
    _session: Session  # from admission on

    def __init__(self, factory: "ChatServerFactory", number: int) -> None:
        self.factory: ChatServerFactory = factory
        self.number = number
        self.user_key = b""
        self._settings = factory.settings
        self._clock = factory.clock
        self._is_handshaking = True
        self._is_admitted = False
        self._is_held = False  # not read, because too many messages were refused
        self._is_late = False  # what is read now may have come long ago
        self._leaving: Deferred[None] | None = None  # fires when our GOODBYE is written
        self._client_left = False
        self._messages = MessageLog(number)
        self._timeout: IDelayedCall | None = None  # of the present part of the session
        self._stall: IDelayedCall | None = None
        self._reading: IDelayedCall | None = None  # of input that waits

    def connectionMade(self) -> None:
        transport = self.transport
        self.source = source_at(transport.getPeer())
        tune(transport, SEND_BUFFER)
        transport.registerProducer(self, True)
        self._writer = Writer(transport)
        names = self._settings.names or names_at(transport.getHost())
        self._connection = ServerConnection(ServerHandshake(self.factory.identity, names), self.factory.monotonic)
        self._outbox = Outbox(self._connection)
        self._pace: Pace = Unshaped(self._connection, self._outbox, self._writer.write)
        self._restart_timeout(self._settings.hello_timeout, self._abort, Category.TIMEOUT)
        log.info(_("client {number} connected from {peer}"), number=self.number, peer=place_of(transport.getPeer()))

    def dataReceived(self, data: bytes) -> None:
        self._pace.is_corked = True
        try:
            for event in self._connection.receive_data(data):
                self._eventReceived(event)
                if self._is_held:
                    break
            else:
                self._is_late = self._is_late and len(data) >= READ_SIZE
        except RemoteProtocolError as error:
            self._abort(error.category)
        self._pace.is_corked = False
        self._pace.flush()

    def _eventReceived(self, event: Event) -> None:
        match event:
            case MessageReceived():
                self._messageReceived(event)
            case NewReceived():
                self._session.start_afresh()
            case CancelReceived():
                self._session.cancel(event.id)
            case HelloReceived():
                self._restart_timeout(self._settings.proof_timeout, self._abort, Category.TIMEOUT)
            case ClientProved():
                self._clientProved(event)
            case GoodbyeReceived():
                self._goodbyeReceived()

    def _messageReceived(self, message: MessageReceived) -> None:
        self._messages.add(len(message.text), self.factory.monotonic())
        if self._settings.log_text:
            log.debug("client {number}: {text}", number=self.number, text=message.text)
        self._session.ask(message, is_late=self._is_late)
        if self._outbox.has_too_many_refusals:
            self._is_held = self._is_late = True
            self.transport.pauseProducing()
            self._outbox.fewer_refusals().addCallback(self._readOnSoon)

    def _clientProved(self, event: ClientProved) -> None:
        self._end_handshake()
        self.user_key = event.user_key
        factory, settings = self.factory, self._settings
        user = factory.users.name_of(event.user_key) if event.user_key else ""
        user_id = factory.pseudonyms.of(event.user_key) if event.user_key else secrets.token_hex(16)
        self._connection.admit(user, factory.robot.name, SOFTWARE)
        self._writer.write(self._connection.data_to_send())  # at once, whatever the pace of what follows
        if settings.shaping is not Shaping.OFF:
            train = Train(round(settings.tick * 1000), endless=settings.shaping is Shaping.CONSTANT)
            self._pace = Ticking(self._connection, self._outbox, self._writer.write, factory.beat, train, 1)
        history = History(settings.history_turns, settings.history_bytes)
        self._session = Session(factory.robot, user_id, history, self._outbox, self._pace, self._clock)
        self._is_admitted = True
        self._restart_timeout(MAX_AGE, self.leave, Reason.TOO_OLD)
        log.info(_("client {number} is {user}"), number=self.number, user=user or _("anonymous"))

    def _readOnSoon(self, _fewer: None) -> None:
        """In a turn of the reactor of its own: what was read might stop the task that is sending records just now."""
        self._reading = self._clock.callLater(0, self._readOn)

    def _readOn(self) -> None:
        if self._is_held:
            self._is_held = False
            self.transport.resumeProducing()
            self.dataReceived(b"")  # input that came before reading was paused

    # The end

    def leave(self, reason: Reason) -> None:
        """Send GOODBYE and close when the client has answered; a client that is not admitted is disconnected."""
        if not self._is_admitted:
            self.transport.abortConnection()
        elif self._leaving is None and self._connection.state is not State.CLOSED:
            self._leaving = self._session.leave(reason)
            self._leaving.addCallback(self._goodbyeSent)
            self._readOn()  # the client's GOODBYE may be in the input that waits

    def _goodbyeReceived(self) -> None:
        self._client_left = True
        if self._leaving is None:
            self.leave(Reason.LEAVING)
        elif self._leaving.called:
            self._close()

    def _goodbyeSent(self, _written: None) -> None:
        if self._client_left:
            self._close()
        else:
            self._restart_timeout(GOODBYE_TIMEOUT, self._abort, Category.TIMEOUT)

    def _close(self) -> None:
        """Both sides have sent GOODBYE: close once the client has read what is left."""
        self.transport.unregisterProducer()  # the transport would wait for it
        self.transport.loseConnection()
        self._restart_timeout(GOODBYE_TIMEOUT, self._abort, Category.TIMEOUT)

    def _abort(self, category: Category) -> None:
        """The one way in which a connection fails: no byte to the client, one line with the category."""
        self._connection.close()
        self._stop_session()
        self.transport.abortConnection()
        log.warn(_("client {number}: aborted ({category})"), number=self.number, category=category.value)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._messages.write()
        aborted = self._connection.state is State.CLOSED
        try:
            self._connection.receive_end()
        except RemoteProtocolError as error:
            log.info(_("client {number}: ended ({category})"), number=self.number, category=error.category.value)
        else:
            if not aborted:
                log.info(_("client {number} left"), number=self.number)
        self._stop_session()
        for call in (self._timeout, self._stall, self._reading):
            if call is not None and call.active():
                call.cancel()
        self._end_handshake()
        self.factory.sessionEnded(self)

    def _stop_session(self) -> None:
        if self._is_admitted:
            self._session.stop()

    def _end_handshake(self) -> None:
        if self._is_handshaking:
            self._is_handshaking = False
            self.factory.admission.handshake_done()

    def _restart_timeout(self, seconds: float, do: Callable[..., object], argument: object) -> None:
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()
        self._timeout = self._clock.callLater(seconds, do, argument)

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


class ChatServerFactory(Factory):
    """Makes a ChatServer for each client that may connect, and numbers them."""

    noisy = False

    def __init__(
        self,
        settings: ServerSettings,
        identity: ServerIdentity,
        users: Users,
        robot: IRobot,
        clock: IReactorTime,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` schedules calls; `monotonic`, in seconds, is the time by which keys and rates age."""
        self.settings = settings
        self.identity = identity
        self.users = users
        self.robot = robot
        self.pseudonyms = Pseudonyms(identity.host_key)
        self.clock = clock
        self.monotonic = monotonic
        self.beat = Beat(clock)
        self.admission = Admission(settings)
        self.sessions: set[ChatServer] = set()
        self._numbers = itertools.count(1)
        self._all_left: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress) -> ChatServer | None:  # type: ignore[override] # Twisted's is wider
        """None, and so a closed socket, for a client that may not connect now."""
        number = next(self._numbers)
        if self._all_left is not None or not self.admission.enter(source_at(addr), self.monotonic()):
            log.warn(
                _("client {number} from {peer}: not let in ({category})"),
                number=number,
                peer=place_of(addr),
                category=Category.LIMIT.value,
            )
            return None
        session = ChatServer(self, number)
        self.sessions.add(session)
        return session

    def sessionEnded(self, session: ChatServer) -> None:
        self.sessions.discard(session)
        self.admission.leave(session.source)
        if self._all_left is not None and not self.sessions:
            self._all_left.callback(None)

    def drop_unauthorized(self) -> None:
        """Say GOODBYE to those whose key is not authorized any more."""
        for session in list(self.sessions):
            if session.user_key and not self.users.is_authorized(session.user_key):
                session.leave(Reason.KEY_WITHDRAWN)

    def stop(self) -> Deferred[None]:
        """Let nobody in, say GOODBYE to everyone; fires when all are gone, within GOODBYE_TIMEOUT."""
        self._all_left = Deferred()
        if not self.sessions:
            self._all_left.callback(None)
        for session in list(self.sessions):
            session.leave(Reason.STOPPING)
        return self._all_left

    def abort(self) -> None:
        """Close all connections at once."""
        for session in list(self.sessions):
            session.transport.abortConnection()

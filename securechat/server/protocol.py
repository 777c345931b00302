"""The server on Twisted's reactor: `ChatServer` joins a socket, a connection and a session.

A message goes from `dataReceived` through `ServerConnection` to `Session`, which asks the robot; what it answers goes
through the `Outbox` to the `Pace`, which takes records out, has them sealed and writes them.
"""

import itertools
import math
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from securechat import __version__
from securechat.calls.requests import Access
from securechat.errors import Category, Fault, RemoteProtocolError
from securechat.robots.adapter import as_api_robot
from securechat.robots.counters import counters_of
from securechat.robots.interface import IApiRobot, IRobot
from securechat.server import connection_log
from securechat.server.accounts import Accounts
from securechat.server.addresses import host_of, names_at, place_of, source_at
from securechat.server.admission import Admission, Place
from securechat.server.beat import Beat
from securechat.server.connection_log import ConnectionLog
from securechat.server.counters import Counters, UserCounters
from securechat.server.current_robot import CurrentRobot
from securechat.server.deadlines import Deadlines
from securechat.server.history import History
from securechat.server.message_log import CallLog, MessageLog
from securechat.server.message_memory import MessageMemory
from securechat.server.outbox import MAX_REFUSALS, Outbox
from securechat.server.pacing import Pace, Ticking, Unshaped
from securechat.server.pseudonyms import Pseudonyms
from securechat.server.session import Session, User
from securechat.server.settings import ServerSettings
from securechat.server.users import Users
from securechat.ssh import keys
from securechat.ssh.authorized_keys import Entry
from securechat.transport import IChatTransport, Writer, peer_has_closed, tune
from securechat.wire.connection import GOODBYE_TIMEOUT, MAX_AGE, State
from securechat.wire.events import (
    CallReceived,
    CallRefused,
    CancelReceived,
    ClientProved,
    Event,
    GoodbyeReceived,
    HelloReceived,
    MessageReceived,
    MessageRefused,
    NewReceived,
    RecallReceived,
)
from securechat.wire.handshake import ServerHandshake, ServerIdentity
from securechat.wire.messages import About, ClientAuth, Reason
from securechat.wire.server_connection import ServerConnection
from securechat.wire.shaping import SHAPINGS, Shaping, Train

log = Logger()

SOFTWARE: Final = f"securechat/{__version__}"
STALL_TIMEOUT: Final = 30.0  # seconds that a client may leave a full send buffer (Twisted's: 64 KiB) unread
STOPPING_TIMEOUT: Final = 1.0  # seconds for an idle client to answer GOODBYE when the server stops
LOOK_INTERVAL: Final = 5.0  # seconds after which the server notices that a client that is not read has gone
SEND_BUFFER: Final = 64 * 1024  # bytes in the kernel (Linux doubles it), before Twisted's: a dozen seconds of ticks


class SessionState(NamedTuple):
    """A session, as operators see it."""

    session: int
    user: str  # empty if anonymous
    key: str  # a fingerprint; empty if anonymous
    authorized: bool  # whether the key is that of an authorized user
    peer: str
    suite: str
    age: int  # seconds
    idle: int  # seconds
    messages: int  # received, including API requests
    waiting: int  # of them, those without a whole reply


@implementer(IPushProducer)
class ChatServer(Protocol):
    """One client's socket: its handshake, its session, and the end."""

    transport: IChatTransport
    _timeout: IDelayedCall  # of the present part of the session
    _deadlines: Deadlines  # from admission on, as well as
    _session: Session
    _counted: UserCounters
    _admitted_at: float  # in seconds of the factory's clock, as is
    _active_at: float  # when the last message came, or when a reply was found in progress after it
    place: Place  # from `buildProtocol` on

    def __init__(self, factory: "ChatServerFactory", number: int) -> None:
        self.factory: ChatServerFactory = factory
        self.number = number
        self.authorized_key = b""  # of an authorized user, once admitted
        self.user = ""  # once admitted; empty if anonymous
        self._settings = factory.settings
        self._clock = factory.clock
        self._is_admitted = False
        self._is_held = False  # not read, because too many messages were refused
        self._is_draining = False  # the server stops: messages are ignored
        self._goodbye_timeout = GOODBYE_TIMEOUT
        self._leaving: Deferred[None] | None = None  # fires when our GOODBYE is written
        self._client_left = False
        self._messages = MessageLog(number)
        self._calls = CallLog(number)
        self._reason: Reason | None = None  # of the first GOODBYE
        self._lookup: Deferred[Any] | None = None  # of the client's key, by a command
        self._found: Entry | None = None  # by it
        self._stall: IDelayedCall | None = None
        self._reading: IDelayedCall | None = None  # while the client is not read: to look after it, or to read it again

    def connectionMade(self) -> None:
        transport = self.transport
        tune(transport, SEND_BUFFER)
        transport.registerProducer(self, True)
        self._writer = Writer(transport)
        names = self._settings.names or names_at(transport.getHost())
        self._connection = ServerConnection(ServerHandshake(self.factory.identity, names), self.factory.monotonic)
        self._log = ConnectionLog(self.number, transport, self._connection, self.factory.monotonic())
        self._outbox = Outbox(
            self._connection, self._settings.reply_limit, self._settings.response_limit, self.factory.counters.replies
        )
        self._pace: Pace = Unshaped(self._connection, self._outbox, self._writer.write)
        self._timeout = self._clock.callLater(self._settings.hello_timeout, self._timedOut)
        self.factory.beat.catch_up()

    def dataReceived(self, data: bytes) -> None:
        self._pace.is_corked = True
        if self._is_admitted:
            self._session.input_begins()
        try:
            for event in self._connection.receive_data(data):
                self._eventReceived(event)
                if self._is_held:
                    break
        except RemoteProtocolError as error:
            self._abort(error.category)
        if self._is_admitted:
            self._deadlines.data_read()
        self._pace.is_corked = False
        self._pace.flush()
        self.factory.beat.catch_up()

    def _eventReceived(self, event: Event) -> None:
        match event:
            case MessageReceived():
                self._messageReceived(event)
                self._hold_if_full()
            case MessageRefused():
                self._counted.messages += 1
                self._note_activity()
                self.place.take_message(self.factory.monotonic())
                self._session.refuse(event.id, Fault.BUSY)
                self._hold_if_full()
            case CallReceived():
                self._callReceived(event)
                self._hold_if_full()
            case CallRefused():
                self._counted.calls += 1
                self._note_activity()
                self.place.take_call(self.factory.monotonic())
                self._session.refuse(event.id, Fault.BUSY)
                self._hold_if_full()
            case RecallReceived():
                self._session.recall(event)
            case NewReceived():
                self._session.start_afresh()
            case CancelReceived():
                self._session.cancel(event.id)
            case HelloReceived():
                self._restart_timeout(self._settings.proof_timeout)
            case ClientProved():
                self._clientProved(event)
            case GoodbyeReceived():
                self._goodbyeReceived()

    def _messageReceived(self, message: MessageReceived) -> None:
        now = self.factory.monotonic()
        self._counted.messages += 1
        self._messages.add(len(message.text), now)
        self._note_activity()
        if self._settings.log_text:
            log.debug("client {number}: {text}", number=self.number, text=message.text)
        self._session.ask(message, refuse=not self.place.take_message(now))

    def _callReceived(self, call: CallReceived) -> None:
        now = self.factory.monotonic()
        self._counted.calls += 1
        self._calls.add(len(call.body), now)
        self._note_activity()
        self._session.call(call, self.factory.access, refuse=not self.place.take_call(now))

    def _hold_if_full(self) -> None:
        """Stop reading the client if too many refusals wait for their turn, unless only its GOODBYE is awaited.

        While the server stops, messages are ignored, but take memory, too: then the client is read up to a number.
        """
        refused = self._outbox.has_too_many_refusals
        unanswered = self._connection.next_say_id - self._connection.next_reply_id
        if (refused or (self._is_draining and unanswered > MAX_REFUSALS)) and self._leaving is None:
            self._is_held = True
            self._pace.fix_bucket()
            self._deadlines.pause()
            self.transport.pauseProducing()
            if refused:
                self._outbox.fewer_refusals().addCallback(self._readOnSoon)
            self._reading = self._clock.callLater(LOOK_INTERVAL, self._look_for_peer)

    def _look_for_peer(self) -> None:
        """While the client is not read, see whether it is still there."""
        if peer_has_closed(self.transport):
            self._abort(Category.CUT)
        else:
            self._reading = self._clock.callLater(LOOK_INTERVAL, self._look_for_peer)

    @property
    def _host(self) -> str:
        """The client's address. Behind ``haproxy:``, it comes with its first data."""
        return host_of(self.transport.getPeer())

    def _clientProved(self, event: ClientProved) -> None:
        """Admit the client, or ask the command for authorized keys about its key, and do not read in the meantime."""
        users, key = self.factory.users, event.user_key
        if key and users.command is not None and not users.is_listed(key, self._host):
            self.transport.pauseProducing()
            self._lookup = users.command.look_up(key)
            self._lookup.addCallback(self._lookedUp, key)
            self._lookup.addErrback(lambda failure: failure.trap(CancelledError))  # by the end of the connection
        else:
            self._admit(key)

    def _lookedUp(self, found: Entry | None, key: bytes) -> None:
        self._found = found
        self.transport.resumeProducing()
        self._admit(key)

    def _admit(self, key: bytes) -> None:
        factory = self.factory
        self._settings = settings = factory.settings  # since the connection was made, they may have been reloaded
        if factory.users.is_listed(key, self._host, self._found):
            self.authorized_key = key
        elif factory.users.client_auth is ClientAuth.REQUIRED:
            # The handshake knows neither the address nor the command, and the keys may have been reloaded since.
            self._abort(Category.USER_KEY)
            return
        if not self.place.admit(self.authorized_key):
            self._abort(Category.LIMIT)
            return
        user = self.user = self._found.user if self._found is not None else factory.users.name_of(key) if key else ""
        lane = "" if self.authorized_key else self.place.source.lane
        pseudonym = factory.pseudonyms.of(key, lane)
        self._connection.admit(factory.about(user), factory.message_memory.quota(self.place.holder))
        self._writer.write(self._connection.data_to_send())  # at once, whatever the pace of what follows
        if settings.shaping is not Shaping.OFF:
            train = Train(factory.tick, endless=settings.shaping is Shaping.CONSTANT)
            self._pace = Ticking(
                self._connection, self._outbox, self._writer.write, factory.beat, train, settings.width
            )
        history = History(settings.history_turns, settings.history_bytes, self._connection.forget)
        accounts = factory.accounts
        account = accounts.of_user(user) if self.authorized_key else accounts.of_source(self.place.source)
        whose = User(pseudonym, account)
        self._session = Session(factory.current_robot, whose, history, self._outbox, self._pace, self._clock)
        self._counted = factory.counters.of_user(user if self.authorized_key else "")
        self._session.usage = self._counted.usage
        self._deadlines = Deadlines(self._connection, self._clock, self._abort)
        self._is_admitted = True
        factory.counters.handshakes[self._connection.suite_name, True] += 1
        self._admitted_at = self._clock.seconds()
        self._note_activity()
        self._look_at_age()
        self._log.admitted(user, factory.monotonic())

    def _readOnSoon(self, _fewer: None) -> None:
        """In a turn of the reactor of its own: what was read might stop the task that is sending records just now."""
        self._stop_looking()
        self._reading = self._clock.callLater(0, self._readOn)

    def _readOn(self) -> None:
        if self._is_held:
            self._stop_looking()
            self._is_held = False
            self._deadlines.resume()
            self.transport.resumeProducing()
            self.dataReceived(b"")  # input that came before reading was paused

    def _stop_looking(self) -> None:
        if self._reading is not None and self._reading.active():
            self._reading.cancel()

    # The end

    def _note_activity(self) -> None:
        self._active_at = self._clock.seconds()

    def _look_at_age(self) -> None:
        """End a session that is too old or idle, or look again when it may be. A message does not move the timer."""
        now = self._clock.seconds()
        if not self._outbox.is_empty:
            self._note_activity()
        too_old_at = self._admitted_at + MAX_AGE
        idle_at = self._active_at + (self._settings.idle_timeout or math.inf)
        if now >= too_old_at:
            self.leave(Reason.TOO_OLD)
        elif now >= idle_at:
            self.leave(Reason.IDLE)
        else:
            self._restart_timeout(min(too_old_at, idle_at) - now)

    def drain(self) -> None:
        """The server stops: let replies in progress end, and then the session."""
        if not self._is_admitted:
            self.transport.abortConnection()
        elif not self._is_draining and self._leaving is None and self._connection.state is not State.CLOSED:
            self._is_draining = True
            if self._outbox.is_empty:
                self._goodbye_timeout = STOPPING_TIMEOUT
            drained = self._session.drain()
            if drained.called:
                self.leave(Reason.STOPPING)
            else:
                drained.addCallback(self._leaveSoon)

    def _leaveSoon(self, _drained: None) -> None:
        """In a turn of the reactor of its own: the task that has sent the last record would cancel itself."""
        self._clock.callLater(0, self.leave, Reason.STOPPING)

    def leave_if_unauthorized(self) -> None:
        """End a session whose user would not be admitted any more. A handshake fails by itself."""
        users = self.factory.users
        is_bound = self.authorized_key or users.client_auth is ClientAuth.REQUIRED
        if self._is_admitted and is_bound and not users.is_listed(self.authorized_key, self._host, self._found):
            self.leave(Reason.KEY_WITHDRAWN)

    def leave(self, reason: Reason) -> None:
        """Send GOODBYE and close when the client has answered; a client that is not admitted is disconnected."""
        if not self._is_admitted:
            self.transport.abortConnection()
        elif self._leaving is None and self._connection.state is not State.CLOSED:
            self._reason = reason
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
            self._restart_timeout(self._goodbye_timeout)

    def _close(self) -> None:
        """Both sides have sent GOODBYE: close once the client has read what is left."""
        self.transport.unregisterProducer()  # the transport would wait for it
        self.transport.loseConnection()
        self._restart_timeout(self._goodbye_timeout)

    @property
    def is_admitted(self) -> bool:
        """Whether the handshake is complete."""
        return self._is_admitted

    @property
    def state(self) -> SessionState:
        """What is known of the session, once it is admitted."""
        now = self._clock.seconds()
        connection = self._connection
        return SessionState(
            session=self.number,
            user=self.user,
            key=keys.fingerprint(connection.user_key) if connection.user_key else "",
            authorized=bool(self.authorized_key),
            peer=place_of(self.transport.getPeer()),
            suite=connection.suite_name,
            age=int(now - self._admitted_at),
            idle=int(now - self._active_at),
            messages=connection.next_say_id - 1,
            waiting=self._outbox.waiting,
        )

    @property
    def waiting(self) -> tuple[int, int]:
        """The numbers of messages without a whole reply, and of bytes of replies that wait to be sent."""
        return self._outbox.waiting, self._outbox.size

    def evict(self) -> None:
        """The handshake has to make room for another."""
        self._abort(Category.LIMIT)

    def _abort(self, category: Category) -> None:
        """The one way in which a connection fails: no byte to the client, one line with the category."""
        self._connection.close()
        self._stop_session()
        self.transport.abortConnection()
        self.factory.counters.aborts[category] += 1
        self._log.aborted(category, self.factory.monotonic())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._messages.write()
        self._calls.write()
        aborted = self._connection.state is State.CLOSED
        try:
            self._connection.receive_end()
            cut = False
        except RemoteProtocolError:
            cut = True
            self.factory.counters.aborts[Category.CUT] += 1
        if not aborted:
            self._log.ended(self._reason, self.factory.monotonic(), cut=cut)
        self._stop_session()
        for call in (self._timeout, self._stall, self._reading):
            if call is not None and call.active():
                call.cancel()
        if not self._is_admitted:
            self.factory.counters.handshakes[self._connection.suite_name, False] += 1
        self.place.release()
        self.factory.sessionEnded(self)

    def _stop_session(self) -> None:
        if self._lookup is not None:
            self._lookup.cancel()
        if self._is_admitted:
            self._deadlines.stop()
            self._session.stop()

    def _restart_timeout(self, seconds: float) -> None:
        """Allow this time from now on for the present part of the session."""
        timeout = self._timeout
        if timeout.active():
            if self._clock.seconds() + seconds >= timeout.getTime():
                timeout.reset(seconds)  # which makes no further call that waits
                return
            timeout.cancel()
        self._timeout = self._clock.callLater(seconds, self._timedOut)

    def _timedOut(self) -> None:
        """The client has not sent in time what the handshake or its GOODBYE requires, or the session may be too old."""
        if self._is_admitted and (self._leaving is None or not self._leaving.called):
            self._look_at_age()
        else:
            self._abort(Category.TIMEOUT)

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
        self.current_robot = CurrentRobot(as_api_robot(robot, settings.reply_limit))
        self.robot_counters = counters_of(robot)
        self.counters = Counters(by_user=settings.metrics_users)
        self.access = Access(settings.api, self.robot.models)
        self.pseudonyms = Pseudonyms(identity.host_key)
        self.clock = clock
        self.monotonic = monotonic
        self.tick = round(settings.tick * 1000)  # milliseconds
        self.beat = Beat(clock, self.tick)
        self.message_memory = MessageMemory(settings.max_buffered)
        self.accounts = Accounts(settings, monotonic)
        self.admission = Admission(settings, has_users=users.has_list)
        self.sessions: set[ChatServer] = set()
        self._numbers = itertools.count(1)
        self._all_left: Deferred[None] | None = None
        self._drain_end: IDelayedCall | None = None

    def buildProtocol(self, addr: IAddress) -> ChatServer | None:  # type: ignore[override] # Twisted's is wider
        """None, and so a closed socket, for a client that may not connect now."""
        session = ChatServer(self, self.next_number())
        place = None
        if self._all_left is None:
            place = self.admission.enter(source_at(addr), self.monotonic(), session.evict)
        if place is None:
            self.counters.refused += 1
            connection_log.refused(session.number, addr, Category.LIMIT)
            return None
        session.place = place
        self.sessions.add(session)
        return session

    def next_number(self) -> int:
        """The number of a new connection, in the log."""
        return next(self._numbers)

    def about(self, user: str) -> About:
        """What a client of this user is told of the server."""
        settings = self.settings
        shaping = SHAPINGS.index(settings.shaping)
        return About(
            user, self.robot.name, SOFTWARE, settings.message_limit, settings.api, shaping, self.tick, settings.width
        )

    @property
    def robot(self) -> IApiRobot:
        """The robot for new replies."""
        return self.current_robot.robot

    def configure(self, settings: ServerSettings, users: Users, robot: IRobot) -> None:
        """Use these from now on. Open sessions keep their own limits, and ask the new robot from the next message on.

        `settings` must have the same values as before where `Extra.at_start` is true.
        """
        self.settings = settings
        self.users = users
        self.identity = ServerIdentity(
            self.identity.host_key, settings.allowed_suites, users.client_auth, users.is_authorized
        )
        self.current_robot.replace(as_api_robot(robot, settings.reply_limit))
        self.robot_counters = counters_of(robot)
        self.access = Access(settings.api, self.robot.models)
        self.admission.configure(settings, has_users=users.has_list)
        self.accounts.default = settings

    def sessionEnded(self, session: ChatServer) -> None:
        self.sessions.discard(session)
        if self._all_left is not None and not self.sessions:
            self._end_stop()

    def drop_unauthorized(self) -> None:
        """Send GOODBYE to users whose key is no longer authorized."""
        for session in list(self.sessions):
            session.leave_if_unauthorized()

    @property
    def is_stopping(self) -> bool:
        """Whether nobody is admitted any more."""
        return self._all_left is not None

    def stop(self) -> Deferred[None]:
        """Admit nobody, and end each session when its replies have ended, or after `settings.drain` seconds.

        Fires when all clients are gone, GOODBYE_TIMEOUT later at most.
        """
        self._all_left = all_left = Deferred[None]()
        if not self.sessions:
            all_left.callback(None)
            return all_left
        self._drain_end = self.clock.callLater(self.settings.drain, self._leave_all)
        for session in list(self.sessions):
            session.drain()
        return all_left

    def _leave_all(self) -> None:
        for session in list(self.sessions):
            session.leave(Reason.STOPPING)

    def _end_stop(self) -> None:
        assert self._all_left is not None
        if self._drain_end is not None and self._drain_end.active():
            self._drain_end.cancel()
        self._all_left.callback(None)

    def abort(self) -> None:
        """Close all connections at once."""
        for session in list(self.sessions):
            session.transport.abortConnection()

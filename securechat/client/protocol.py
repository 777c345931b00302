"""The client's Protocol: connects a `ClientConnection` to a transport and to a `ChatUser`."""

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from twisted.internet import protocol
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from securechat.client import session_errors
from securechat.client.quiet import Quiet
from securechat.client.signer import Signer
from securechat.conversation import Turn
from securechat.errors import AuthenticationError, Category, Fault, RemoteProtocolError, SecureChatError
from securechat.i18n import _
from securechat.ssh import keys
from securechat.transport import IChatTransport, tune
from securechat.wire.client_connection import ClientConnection
from securechat.wire.connection import GOODBYE_TIMEOUT, MAX_AGE, State
from securechat.wire.events import (
    Admitted,
    Event,
    FaultReceived,
    GoodbyeReceived,
    HostKeyReceived,
    ReplyReceived,
    ResultReceived,
    ServerProved,
    WelcomeReceived,
)
from securechat.wire.handshake import ClientHandshake
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.messages import Reason
from securechat.wire.shaping import Shaping

HANDSHAKE_TIMEOUT: Final = 30.0  # seconds for each response of the server during the handshake
GOODBYE_TICKS: Final = 2  # until the server's GOODBYE: the records of the next tick may be sealed already


class ChatUser(Protocol):
    """The callbacks of a ChatClient."""

    def step(self, text: str) -> None:
        """A step of the handshake is complete; `text` describes it in the user's language."""

    def admitted(self, client: "ChatClient", about: Admitted) -> None:
        """The server admitted the client. From now on messages can be sent."""

    def replyReceived(self, message_id: int, text: str, last: bool) -> None:
        """A part of a reply, possibly empty; `last` if the reply is complete."""

    def resultReceived(self, message_id: int, items: list[Head | Piece | ServerEvent], last: bool) -> None:
        """Items of the result of a call, possibly none; `last` if the result is complete."""

    def faultReceived(self, message_id: int, fault: Fault) -> None:
        """A reply or result failed."""

    def disconnected(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        """The session has ended, because of an error, the server's GOODBYE, or (None) our own. The last callback."""


class Successors(Protocol):
    """A store of the next host keys of servers."""

    def wants(self, hint: str) -> bool:
        """Whether to request the next host key, which has this hint."""

    def learn(self, present: bytes, successor: bytes) -> None:
        """The server has proved that `successor` will replace `present`."""


@implementer(IPushProducer)
class ChatClient(protocol.Protocol):
    """One session with a server."""

    transport: IChatTransport
    host_key: bytes  # the server's, from its proof on
    _about: Admitted  # from admission on
    _quiet: Quiet  # from admission on
    successors: "Successors | None" = None  # stores the server's next host key, if set

    def __init__(
        self,
        handshake: ClientHandshake,
        signer: Signer | None,
        user: ChatUser,
        clock: IReactorTime,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.was_admitted = False
        self._name = handshake.name  # the handshake itself is dropped with its keys
        self._signer = signer
        self._user = user
        self._clock = clock
        self._connection = ClientConnection(handshake, monotonic)
        self._timeout: IDelayedCall | None = None
        self._signing: Deferred[None] | None = None
        self._end: SecureChatError | GoodbyeReceived | None = None
        self._heard = 0.0  # when data was received last

    # Called by the user

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent: the server admitted the client, and neither side has sent GOODBYE."""
        return self._connection.state is State.OPEN and not self._connection.goodbye_sent

    def say(self, text: str, recall: Sequence[Turn] | None = None) -> int:
        """Send a message at once; its id. ValueError if it is too long, LocalProtocolError before `admitted`.

        `recall` replaces the conversation before it, as in `ClientConnection.say`, with the same errors. A message that
        the user did not type at this moment has to wait for `room`.
        """
        message_id = self._connection.say(text, recall)
        self._quiet.message_sent()
        self._flush()
        return message_id

    def room(self) -> Deferred[int]:
        """Fires when messages may be sent without revealing the length of a reply (protocol, section 10).

        Its result is the number of messages that the server accepts then. One caller at a time; it may cancel.
        """
        return self._quiet.room()

    @property
    def silence(self) -> float:
        """Seconds since the server has sent something: before a reply ends, it sends at each tick if it shapes."""
        return self._clock.seconds() - self._heard

    def call(self, path: str, body: bytes) -> int:
        """Send an API request at once; its id. `body` is empty for GET.

        ValueError if it is too long, LocalProtocolError before `admitted` or if the server takes none. A request has to
        wait for `call_room`.
        """
        message_id = self._connection.call(path, body)
        self._quiet.message_sent()
        self._flush()
        return message_id

    def call_room(self) -> Deferred[None]:
        """Fires when a request may be sent (protocol, section 10). One caller at a time; it may cancel."""
        return self._quiet.call_room()

    def cancel(self, message_id: int) -> None:
        """Cancel a reply or result: `faultReceived` with Fault.CANCELLED follows, unless it is complete before."""
        if self.is_open:
            self._connection.cancel(message_id)
            self._flush()

    def startAfresh(self) -> None:
        """Start a new conversation."""
        self._connection.start_afresh()
        self._flush()

    def leave(self, reason: Reason = Reason.LEAVING) -> None:
        """Send GOODBYE and close after the server's GOODBYE; before `admitted`, close at once."""
        if self._connection.state is not State.OPEN:
            self._connection.close()
            self._abortTransport()
        elif not self._connection.goodbye_sent:
            self._connection.goodbye(reason, self._connection.next_reply_id - 1)
            self._flush()
            self._quiet.stop()
            seconds = GOODBYE_TIMEOUT + GOODBYE_TICKS * self._about.tick / 1000
            self._restart_timeout(seconds, self._abortTransport)

    def leaveQuietly(self) -> Deferred[None]:
        """Cancel the incomplete replies, and leave without revealing their length; fires when GOODBYE is sent.

        Do not wait for `room` any more. `leave` ends the wait.
        """
        if self.is_open:
            # The last one first, so that the robot is not asked for a reply that is cancelled next.
            for message_id in reversed(range(self._connection.next_reply_id, self._connection.next_say_id)):
                self._connection.cancel(message_id)
            self._flush()
            if self._about.shaping is not Shaping.OFF:
                return self._quiet.room().addCallback(lambda _room: self.leave())
        self.leave()
        return succeed(None)

    def holdReading(self, hold: bool) -> None:
        """Receive nothing while `hold` is true, because the user cannot take more text."""
        if self._connection.state is not State.OPEN:
            return
        self._quiet.reading(not hold)
        if hold:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    # Received from the server

    def connectionMade(self) -> None:
        tune(self.transport)
        self.transport.registerProducer(self, True)
        self._await_server()
        self._flush()
        self._user.step(_("sent the public key with its SHA-256"))

    def dataReceived(self, data: bytes) -> None:
        state = self._connection.state
        self._heard = self._clock.seconds()
        try:
            for event in self._connection.receive_data(data):
                self._eventReceived(event)
        except SecureChatError as error:
            self._fail(session_errors.of_first_frame(error) if state is State.WELCOME else error)
        if self._connection.state is State.OPEN:
            self._quiet.received()
        self._flush()

    def _eventReceived(self, event: Event) -> None:
        match event:
            case ReplyReceived():
                if event.last:
                    self._quiet.reply_ended()
                self._user.replyReceived(event.id, event.text, event.last)
            case ResultReceived():
                if event.last:
                    self._quiet.reply_ended()
                self._user.resultReceived(event.id, event.items, event.last)
            case FaultReceived():
                self._quiet.reply_ended()
                self._user.faultReceived(event.id, event.fault)
            case WelcomeReceived():
                self._user.step(_("received and decrypted the session key"))
            case ServerProved():
                self._serverProved(event)
            case Admitted():
                self._restart_timeout(MAX_AGE, self.leave, Reason.TOO_OLD)
                self._about = event
                self._quiet = Quiet(event, self._connection, self._clock, self._connectionTimedOut)
                self.was_admitted = True
                if event.next_host_key and self.successors is not None and self.successors.wants(event.next_host_key):
                    self._connection.ask_host_key()
                self._user.admitted(self, event)
            case HostKeyReceived():
                if self.successors is not None:
                    self.successors.learn(event.present, event.successor)
            case GoodbyeReceived():
                self._goodbyeReceived(event)

    def _serverProved(self, event: ServerProved) -> None:
        self.host_key = event.host_key
        fingerprint = keys.fingerprint(event.host_key)
        self._user.step(_("verified the server's host key {fingerprint}").format(fingerprint=fingerprint))
        if event.data is None:
            if self._signer is not None:
                self._user.step(_("the server does not accept user keys"))
            self._prove(b"")
            return
        assert self._signer is not None
        if self._signer.is_certificate:
            text = _("offering certificate ED25519-CERT {fingerprint}")
        else:
            text = _("offering public key ED25519 {fingerprint}")
        self._user.step(text.format(fingerprint=self._signer.fingerprint))
        self._stop_timeout()  # an agent may ask its user; the server has a timeout
        self._signing = maybeDeferred(self._signer.sign, event.data).addCallbacks(self._prove, self._notSigned)

    def _prove(self, signature: bytes) -> None:
        self._signing = None
        if self._connection.state is not State.SIGNING:
            return  # the connection was closed during signing
        try:
            self._connection.prove(signature)
        except SecureChatError as error:
            self._fail(error)
            return
        self._await_server()
        self._user.step(_("proved possession of the user key") if signature else _("continuing anonymously"))
        self._flush()

    def _notSigned(self, failure: Failure) -> None:
        self._signing = None
        if self._connection.state is not State.SIGNING:
            return
        error = failure.value
        self._fail(error if isinstance(error, SecureChatError) else AuthenticationError(Category.USER_KEY, str(error)))

    def _goodbyeReceived(self, event: GoodbyeReceived) -> None:
        self._quiet.stop()
        if not self._connection.goodbye_sent:
            self._end = event
            self._connection.goodbye(Reason.LEAVING, self._connection.next_reply_id - 1)
            self._flush()
        self.transport.unregisterProducer()  # the transport would wait for it
        self.transport.loseConnection()
        self._restart_timeout(GOODBYE_TIMEOUT, self._abortTransport)

    def _flush(self) -> None:
        data = self._connection.data_to_send()
        if data:
            self.transport.write(data)

    # IPushProducer: the transport tells whether it has written a long message; those of the handshake are short

    def pauseProducing(self) -> None:
        self._quiet.writing(True)

    def resumeProducing(self) -> None:
        self._quiet.writing(False)

    def stopProducing(self) -> None:
        """The transport is closed; connectionLost follows."""

    # The end

    def _await_server(self) -> None:
        self._restart_timeout(HANDSHAKE_TIMEOUT, self._timedOut)

    def _timedOut(self) -> None:
        self._fail(session_errors.of_timeout())

    def _connectionTimedOut(self) -> None:
        self._fail(session_errors.of_silence(self._quiet.timeout))

    def _fail(self, error: SecureChatError) -> None:
        """Abort the session without sending anything, and report the error to the user."""
        error.__traceback__ = error.__context__ = None  # the user keeps the error, and its frames refer to keys
        self._end = error
        self._connection.close()
        self._stop_quiet()
        self._abortTransport()

    def _abortTransport(self) -> None:
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self._stop_timeout()
        self._stop_quiet()
        state = self._connection.state
        try:
            self._connection.receive_end()
        except RemoteProtocolError as error:
            if not self._connection.goodbye_sent:
                offered = [self._signer.fingerprint] if self._signer is not None else []
                self._end = self._end or session_errors.of_cut(state, error.category, self._name, offered)
        if self._signing is not None:
            self._signing.cancel()
        self._user.disconnected(self._end)

    def _restart_timeout(self, seconds: float, do: Callable[..., object], *arguments: object) -> None:
        self._stop_timeout()
        self._timeout = self._clock.callLater(seconds, do, *arguments)

    def _stop_quiet(self) -> None:
        if self.was_admitted:
            self._quiet.stop()

    def _stop_timeout(self) -> None:
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()

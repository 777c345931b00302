"""A server on a real socket that takes calls and leaves their results to the test."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from securechat.errors import SecureChatError
from securechat.server.admission import Holder
from securechat.server.message_memory import SHARES, MessageMemory
from securechat.ssh.certificates import Certificate
from securechat.wire.events import CallReceived, CancelReceived, ClientProved, Event, GoodbyeReceived
from securechat.wire.handshake import ServerHandshake
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.messages import Reason, encode
from securechat.wire.server_connection import ServerConnection
from tests.harness.pair import ABOUT, identity

reactor: Any = installed
API = replace(ABOUT, api=True, shaping=0, max_message=2**20)


class Session(Protocol):
    """One session, without trains and timeouts."""

    transport: Any

    def __init__(self, server: "CallServer", handshake: ServerHandshake) -> None:
        self._server = server
        self.connection = ServerConnection(handshake, reactor.seconds)
        self.cancelled: list[int] = []

    def dataReceived(self, data: bytes) -> None:
        try:
            for event in self.connection.receive_data(data):
                self._received(event)
        except SecureChatError:
            self.transport.abortConnection()
        self.flush()

    def _received(self, event: Event) -> None:
        match event:
            case ClientProved():
                self.connection.admit(self._server.about, MessageMemory(SHARES * 2**27).quota(Holder("x")))
            case CallReceived():
                self._server.called(ServedCall(self, event))
            case CancelReceived():
                self.cancelled.append(event.id)
            case GoodbyeReceived():
                if not self.connection.goodbye_sent:
                    self.say_goodbye(Reason.LEAVING)
                self.transport.loseConnection()

    def flush(self) -> None:
        self.transport.write(self.connection.data_to_send())

    def say_goodbye(self, reason: Reason) -> None:
        self.connection.goodbye(reason, 0)
        self.flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.connection.close()
        self._server.sessions.remove(self)


class ServedCall:
    """A call that a client has made."""

    def __init__(self, session: Session, call: CallReceived) -> None:
        self.session = session
        self.id, self.path, self.body = call.id, call.path, call.body

    def send(self, *items: Head | Piece | ServerEvent, last: bool = False) -> None:
        self.session.connection.result(self.id, b"".join(map(encode, items)), last)
        self.session.flush()

    def answer(self, text: bytes = b"{}") -> None:
        """A complete response."""
        self.send(Head(200, "application/json"), Piece(text), last=True)


class CallServer(Factory[Any]):
    """Listens on 127.0.0.1. `sessions` are those that are open; `next_call` waits for a call."""

    noisy = False

    def __init__(
        self,
        *,
        api: bool = True,
        is_authorized: Callable[[bytes, Certificate | None], bool] = lambda blob, certificate: True,
    ) -> None:
        self.about = replace(API, api=api)
        self.sessions: list[Session] = []
        self.dialled = 0
        self.is_closed = False  # whether connections are closed at once
        self._identity = identity(is_authorized=is_authorized)
        self._calls: list[ServedCall] = []
        self._waiting: list[Deferred[ServedCall]] = []
        self.port: IListeningPort = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.number: int = self.port.getHost().port

    def buildProtocol(self, addr: IAddress | None) -> Session | None:
        self.dialled += 1
        if self.is_closed:
            return None
        session = Session(self, ServerHandshake(self._identity, frozenset({f"[127.0.0.1]:{self.number}"})))
        self.sessions.append(session)
        return session

    def called(self, call: ServedCall) -> None:
        if self._waiting:
            self._waiting.pop(0).callback(call)
        else:
            self._calls.append(call)

    def next_call(self) -> "Deferred[ServedCall]":
        waiting: Deferred[ServedCall] = Deferred()
        if self._calls:
            waiting.callback(self._calls.pop(0))
        else:
            self._waiting.append(waiting)
        return waiting

    def drop(self) -> None:
        """Cut all connections."""
        for session in list(self.sessions):
            session.transport.abortConnection()

    async def stop(self) -> None:
        self.drop()
        await maybeDeferred(self.port.stopListening)

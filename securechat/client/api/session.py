"""One session with the server, which carries one request after the other.

A request has a session to itself, so that one whose tool does not read holds up no other.
"""

from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.defer import CancelledError, Deferred

from securechat.client.api.calls import Receiver
from securechat.client.exit_codes import NoApiError, NotConnectedError
from securechat.client.protocol import ChatClient
from securechat.errors import Fault, SecureChatError
from securechat.i18n import _
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.messages import Reason


class Carrier(Protocol):
    """Where a request is: in a queue, or on a session."""

    def callCancelled(self, call: "PendingCall") -> None: ...

    def callPaused(self, call: "PendingCall") -> None:
        """It `is_paused`, or is no longer."""


class PendingCall:
    """A request that has not ended; it is a `Call` to its receiver."""

    def __init__(self, path: str, body: bytes, receiver: Receiver, carrier: Carrier) -> None:
        self.path: Final = path
        self.body: Final = body
        self.carrier = carrier
        self.is_paused = False
        self.crossed_goodbye = False  # of a session before, so that it was sent again
        self._receiver: Receiver | None = receiver

    @property
    def receiver(self) -> Receiver | None:
        """None if the request was cancelled or has ended."""
        return self._receiver

    def end(self) -> Receiver | None:
        """The receiver, for the last callback; None if the request was cancelled."""
        receiver, self._receiver = self._receiver, None
        return receiver

    # Call

    def cancel(self) -> None:
        if self._receiver is not None:
            self._receiver = None
            self.carrier.callCancelled(self)

    def pause(self) -> None:
        self._set_paused(True)

    def resume(self) -> None:
        self._set_paused(False)

    def _set_paused(self, is_paused: bool) -> None:
        if self._receiver is not None and self.is_paused is not is_paused:
            self.is_paused = is_paused
            self.carrier.callPaused(self)


class Keeper(Protocol):
    """What keeps the sessions."""

    def sessionFree(self, session: "ApiSession") -> None:
        """The request has ended, and the session can carry another."""

    def sessionEnded(
        self, session: "ApiSession", reason: SecureChatError | GoodbyeReceived | None, unsent: PendingCall | None
    ) -> None:
        """An admitted session has ended, as in `ChatUser.disconnected`; `unsent` has not reached the server."""


class ApiSession:
    """A ChatUser that sends one request at a time."""

    client: ChatClient  # from admission on
    about: Admitted  # as well

    def __init__(self, keeper: Keeper, step: Callable[[str], None]) -> None:
        """`step` is told the steps of the handshake."""
        self.opened: Deferred[ApiSession] = Deferred()  # fires at admission, or with the SecureChatError that ended it
        self.step = step
        self._keeper = keeper
        self._was_admitted = False
        self._call: PendingCall | None = None
        self._id = 0  # of the call, once it is sent
        self._is_answered = False  # part of the result has arrived
        self._room: Deferred[None] | None = None  # while the call waits for its moment

    @property
    def is_busy(self) -> bool:
        """Whether it carries a request. One that was cancelled ends when the server has confirmed that."""
        return self._call is not None

    def start(self, call: PendingCall, *, at_once: bool) -> None:
        """Send a request when its moment comes (protocol, section 10), or because it has come. It must not be busy."""
        self._call, self._id, self._is_answered = call, 0, False
        call.carrier = self
        if at_once:
            self._send(call)
            return
        self._room = room = self.client.call_room()
        room.addCallbacks(lambda _room: self._send(call), lambda failure: failure.trap(CancelledError))

    def _send(self, call: PendingCall) -> None:
        self._room = None
        try:
            self._id = self.client.call(call.path, call.body)
        except ValueError:  # the server accepts less than it did before it was started again
            self._fail(call, Fault.TOO_LONG)
            return
        self._hold_reading(call)

    def _hold_reading(self, call: PendingCall) -> None:
        if call.is_paused:
            self.client.holdReading(True)

    # Carrier

    def callPaused(self, call: PendingCall) -> None:
        if self._id:
            self.client.holdReading(call.is_paused)

    def callCancelled(self, call: PendingCall) -> None:
        if self._id:
            self._read_again(call)
            self.client.cancel(self._id)
            return
        room, self._room = self._room, None
        if room is not None:
            room.cancel()
        self._call = None
        self._keeper.sessionFree(self)

    def _read_again(self, call: PendingCall) -> None:
        if call.is_paused:
            call.is_paused = False
            self.client.holdReading(False)

    # ChatUser

    def admitted(self, client: ChatClient, about: Admitted) -> None:
        self.client, self.about = client, about
        self._was_admitted = True
        if about.api:
            self.opened.callback(self)
        else:
            self.opened.errback(NoApiError(_("the server does not offer its API to you; its operator can, with --api")))
            client.leave()

    def replyReceived(self, message_id: int, text: str, last: bool) -> None:
        """There is none, because no messages are sent."""

    def resultReceived(self, message_id: int, items: list[Head | Piece | ServerEvent], last: bool) -> None:
        call = self._call
        assert call is not None
        self._is_answered = True
        if items and call.receiver is not None:
            call.receiver.itemsReceived(items)
        if last:
            receiver = self._free(call)
            if receiver is not None:
                receiver.ended()

    def faultReceived(self, message_id: int, fault: Fault) -> None:
        assert self._call is not None
        self._fail(self._call, fault)

    def _fail(self, call: PendingCall, fault: Fault) -> None:
        receiver = self._free(call)
        if receiver is not None:
            receiver.failed(fault)

    def _free(self, call: PendingCall) -> Receiver | None:
        self._read_again(call)
        self._call = None
        receiver = call.end()
        self._keeper.sessionFree(self)
        return receiver

    def disconnected(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        if not self._was_admitted:
            if not self.opened.called:
                lost = NotConnectedError(_("the connection was closed unexpectedly"))
                self.opened.errback(reason if isinstance(reason, SecureChatError) else lost)
            return
        call, self._call = self._call, None
        if call is not None and call.receiver is not None and (not self._id or self._crossed_goodbye(call, reason)):
            self._keeper.sessionEnded(self, reason, call)
            return
        self._keeper.sessionEnded(self, reason, None)
        receiver = call.end() if call is not None else None
        if receiver is not None:
            receiver.broken()

    def _crossed_goodbye(self, call: PendingCall, reason: SecureChatError | GoodbyeReceived | None) -> bool:
        """Whether the call crossed the GOODBYE of an idle session, so that the server has not received it.

        This is believed once: a server that always says so would be sent the call for ever.
        """
        is_idle = isinstance(reason, GoodbyeReceived) and reason.reason is Reason.IDLE
        if not is_idle or self._is_answered or call.crossed_goodbye:
            return False
        call.crossed_goodbye = True
        return True

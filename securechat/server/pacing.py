"""When a session's records leave: as soon as there is text, or one at each tick (protocol, section 10)."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securechat.server.outbox import Outbox
from securechat.wire.connection import State
from securechat.wire.messages import Reason
from securechat.wire.server_connection import ServerConnection
from securechat.wire.shaping import Train


class Pace(ABC):
    """Takes records out of the outbox and writes them."""

    __slots__ = ("_connection", "_outbox", "_write", "is_corked")

    def __init__(self, connection: ServerConnection, outbox: Outbox, write: Callable[[bytes], None]) -> None:
        self.is_corked = False  # set while input is read, so that its replies leave in one write
        self._connection = connection
        self._outbox = outbox
        self._write = write

    @abstractmethod
    def message_received(self) -> None:
        """A message is whole."""

    @abstractmethod
    def flush(self) -> None:
        """There may be new text in the outbox."""

    @abstractmethod
    def leave(self, reason: Reason) -> Deferred[None]:
        """Send GOODBYE as the last record; fires once it is written."""

    @abstractmethod
    def stop(self) -> None:
        """The connection is gone."""

    def _send_goodbye(self, reason: Reason) -> None:
        self._connection.goodbye(reason, self._connection.next_reply_id - 1)


class Unshaped(Pace):
    """Records leave as soon as there is text; so do those of the handshake."""

    __slots__ = ()

    def message_received(self) -> None:
        pass

    def flush(self) -> None:
        if self.is_corked or self._connection.goodbye_sent or self._connection.state is State.CLOSED:
            return
        while self._outbox.send_record():
            pass
        self.write_out()
        self._outbox.announce_room()

    def leave(self, reason: Reason) -> Deferred[None]:
        self._send_goodbye(reason)
        self.write_out()
        return succeed(None)

    def stop(self) -> None:
        pass

    def write_out(self) -> None:
        """Write the records that are sealed."""
        if data := self._connection.data_to_send():
            self._write(data)


class Ticking(Pace):
    """One record at each tick of a train, sealed right after the one before it: a tick is nothing but a write."""

    __slots__ = ("_call", "_clock", "_left", "_monotonic", "_reason", "_sealed", "_train")

    def __init__(
        self,
        connection: ServerConnection,
        outbox: Outbox,
        write: Callable[[bytes], None],
        train: Train,
        clock: IReactorTime,
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(connection, outbox, write)
        self._train = train
        self._clock = clock
        self._monotonic = monotonic
        self._sealed = b""  # the next tick's record
        self._call: IDelayedCall | None = None  # of the next tick
        self._reason: Reason | None = None  # of the GOODBYE that is due at the next free tick
        if train.is_endless:
            self.message_received()

    def message_received(self) -> None:
        self._train.start(self._monotonic())
        if self._call is None:
            self._seal_next()

    def flush(self) -> None:
        """Nothing to do: the next tick takes it."""

    def leave(self, reason: Reason) -> Deferred[None]:
        self._reason = reason
        self._left: Deferred[None] = Deferred()
        if self._call is None:
            self._send_goodbye(reason)
            self._write(self._connection.data_to_send())
            self._left.callback(None)
        return self._left

    def stop(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _seal_next(self) -> None:
        if self._reason is not None and not self._connection.rekey_due():
            self._send_goodbye(self._reason)
        elif self._reason is not None or not self._outbox.send_record():
            self._connection.pad()
        self._sealed = self._connection.data_to_send()
        self._call = self._clock.callLater(max(0.0, self._train.next_time - self._monotonic()), self._tick)

    def _tick(self) -> None:
        self._call = None
        self._write(self._sealed)
        if self._connection.goodbye_sent:
            self._left.callback(None)
            return
        self._train.pass_tick(more=self._reason is not None or not self._outbox.is_empty)
        if self._train.is_running:
            self._seal_next()
        self._outbox.announce_room()

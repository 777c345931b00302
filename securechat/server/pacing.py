"""When a session's records leave: at once, or one each tick, whatever there is to say (protocol, section 10)."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securechat.server.outbox import Outbox
from securechat.wire.messages import Reason
from securechat.wire.server_connection import ServerConnection
from securechat.wire.shaping import Shaping, Train


class Pace(ABC):
    """Takes records out of the outbox and has them written, from the client's admission on."""

    __slots__ = ("_connection", "_left", "_outbox", "_sent", "_write")

    def __init__(
        self,
        connection: ServerConnection,
        outbox: Outbox,
        write: Callable[[bytes], None],
        sent: Callable[[], None],
        left: Callable[[], None],
    ) -> None:
        """`sent` is called when records may have left the outbox, `left` once GOODBYE was written."""
        self._connection = connection
        self._outbox = outbox
        self._write = write
        self._sent = sent
        self._left = left

    @abstractmethod
    def message_received(self) -> None:
        """A message is whole."""

    @abstractmethod
    def flush(self) -> None:
        """There may be something new in the outbox."""

    @abstractmethod
    def leave(self, reason: Reason) -> None:
        """Say GOODBYE when its turn comes, and nothing after it."""

    @abstractmethod
    def stop(self) -> None:
        """The connection is lost."""

    def _say_goodbye(self, reason: Reason) -> None:
        self._connection.goodbye(reason, self._connection.next_reply_id - 1)


class Unshaped(Pace):
    """Records leave when there is text."""

    __slots__ = ()

    def message_received(self) -> None:
        pass

    def flush(self) -> None:
        while self._outbox.send_record():
            pass
        self._write_out()
        self._sent()

    def leave(self, reason: Reason) -> None:
        self._say_goodbye(reason)
        self._write_out()
        self._left()

    def stop(self) -> None:
        pass

    def _write_out(self) -> None:
        data = self._connection.data_to_send()
        if data:
            self._write(data)


class Ticking(Pace):
    """One record each tick of a train. It is sealed right after the one before: all that a tick does is one write."""

    __slots__ = ("_call", "_clock", "_is_answering", "_monotonic", "_reason", "_sealed", "_train")

    def __init__(
        self,
        connection: ServerConnection,
        outbox: Outbox,
        write: Callable[[bytes], None],
        sent: Callable[[], None],
        left: Callable[[], None],
        *,
        train: Train,
        is_answering: Callable[[], bool],
        clock: IReactorTime,
        monotonic: Callable[[], float],
    ) -> None:
        """`is_answering` tells whether more will come into the outbox."""
        super().__init__(connection, outbox, write, sent, left)
        self._train = train
        self._is_answering = is_answering
        self._clock = clock
        self._monotonic = monotonic
        self._sealed = b""  # the next tick's record
        self._call: IDelayedCall | None = None  # of the next tick
        self._reason: Reason | None = None  # of the GOODBYE that waits for its turn
        if train.is_endless:
            self.message_received()

    def message_received(self) -> None:
        self._train.start(self._monotonic())
        if self._call is None:
            self._seal_next()

    def flush(self) -> None:
        """The ticks take what is there."""

    def leave(self, reason: Reason) -> None:
        self._reason = reason
        if self._call is None:
            self._say_goodbye(reason)
            self._write(self._connection.data_to_send())
            self._left()

    def stop(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _seal_next(self) -> None:
        if self._reason is not None and not self._connection.rekey_due():
            self._say_goodbye(self._reason)
        elif self._reason is not None or not self._outbox.send_record():
            self._connection.pad()
        self._sealed = self._connection.data_to_send()
        self._call = self._clock.callLater(max(0.0, self._train.next_time - self._monotonic()), self._tick)

    def _tick(self) -> None:
        self._call = None
        self._write(self._sealed)
        if self._connection.goodbye_sent:
            self._left()
            return
        self._train.pass_tick(more=self._reason is not None or not self._outbox.is_empty or self._is_answering())
        if self._train.is_running:
            self._seal_next()
        self._sent()


def make_pace(
    shaping: Shaping,
    tick: float,
    connection: ServerConnection,
    outbox: Outbox,
    *,
    write: Callable[[bytes], None],
    sent: Callable[[], None],
    left: Callable[[], None],
    is_answering: Callable[[], bool],
    clock: IReactorTime,
    monotonic: Callable[[], float],
) -> Pace:
    """The pace that an operator chose; `tick` in seconds."""
    if shaping is Shaping.OFF:
        return Unshaped(connection, outbox, write, sent, left)
    train = Train(tick, endless=shaping is Shaping.CONSTANT)
    return Ticking(
        connection,
        outbox,
        write,
        sent,
        left,
        train=train,
        is_answering=is_answering,
        clock=clock,
        monotonic=monotonic,
    )

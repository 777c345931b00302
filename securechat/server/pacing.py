"""When a session's records leave: as soon as there is text, or one at each tick (protocol, section 10)."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from securechat.conversation import Upstream
from securechat.server.beat import Beat
from securechat.server.outbox import Outbox
from securechat.wire.connection import State
from securechat.wire.messages import Reason
from securechat.wire.server_connection import ServerConnection
from securechat.wire.shaping import Train


class Pace(ABC):
    """Takes records out of the outbox and writes them."""

    __slots__ = ("_connection", "_drained", "_outbox", "_write", "is_corked", "upstream")

    def __init__(self, connection: ServerConnection, outbox: Outbox, write: Callable[[bytes], None]) -> None:
        self.upstream: Upstream | None = None  # to be read at ticks
        self.is_corked = False  # set while input is read, so that its replies leave in one write
        self._drained: Deferred[None] | None = None
        self._connection = connection
        self._outbox = outbox
        self._write = write

    @abstractmethod
    def message_received(self) -> None:
        """A message is complete."""

    @abstractmethod
    def fix_bucket(self) -> None:
        """The client is not read for now. When it is read again depends on the replies, so the bucket must not."""

    @abstractmethod
    def flush(self) -> None:
        """There may be new text in the outbox."""

    def drain(self) -> Deferred[None]:
        """No further message will be answered. Fires when GOODBYE would reveal nothing of the replies' length."""
        self._drained = Deferred()
        self._announce_end()
        return self._drained

    @abstractmethod
    def leave(self, reason: Reason) -> Deferred[None]:
        """Send GOODBYE as the last record; fires once it is written."""

    @abstractmethod
    def stop(self) -> None:
        """The connection is gone."""

    @property
    @abstractmethod
    def _has_ended(self) -> bool:
        """Whether nothing is left to be sent."""

    def _announce_end(self) -> None:
        if self._drained is not None and not self._drained.called and self._has_ended:
            self._drained.callback(None)

    def _send_goodbye(self, reason: Reason) -> None:
        self._connection.goodbye(reason, self._connection.next_reply_id - 1)


class Unshaped(Pace):
    """Records leave as soon as there is text; so do those of the handshake."""

    __slots__ = ()

    def message_received(self) -> None:
        pass

    def fix_bucket(self) -> None:
        pass

    def flush(self) -> None:
        if self.is_corked or self._connection.goodbye_sent or self._connection.state is State.CLOSED:
            return
        while self._outbox.send_record():
            pass
        self.write_out()
        self._outbox.announce_room()
        self._announce_end()

    @property
    def _has_ended(self) -> bool:
        return self._outbox.is_empty

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
    """So many records at each tick of a train, in one write, sealed shortly before.

    What fills them is read from the robot's server immediately before that, so that text does not wake the process when
    it arrives.
    """

    __slots__ = ("_beat", "_has_skipped", "_is_waiting", "_left", "_reason", "_sealed", "_train", "_width")

    def __init__(
        self,
        connection: ServerConnection,
        outbox: Outbox,
        write: Callable[[bytes], None],
        beat: Beat,
        train: Train,
        width: int,
    ) -> None:
        """`width` is the number of records at each tick."""
        super().__init__(connection, outbox, write)
        self.upstream = Upstream()
        self._beat = beat
        self._has_skipped = False  # the server was not read for the last tick
        self._train = train
        self._width = width
        self._sealed = b""  # the next tick's records
        self._is_waiting = False  # for a tick
        self._reason: Reason | None = None  # of the GOODBYE that takes a record's place
        if train.is_endless:
            self.message_received()

    def message_received(self) -> None:
        if self._train.is_running:
            self._train.extend()
            return
        self._train.start(self._beat.base())
        self._wait()

    def fix_bucket(self) -> None:
        self._train.fix_bucket()

    def flush(self) -> None:
        """Nothing to do: the next tick takes it."""

    def drain(self) -> Deferred[None]:
        self._train.end_at_bucket()
        return super().drain()

    @property
    def _has_ended(self) -> bool:
        return not self._is_waiting

    def leave(self, reason: Reason) -> Deferred[None]:
        self._reason = reason
        self._left: Deferred[None] = Deferred()
        if not self._is_waiting:
            self._send_goodbye(reason)
            self._write(self._connection.data_to_send())
            self._left.callback(None)
        return self._left

    def stop(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            moment = self._train.next_tick
            self._beat.forget(moment, self._seal)
            self._beat.forget(moment, self._tick)

    def _wait(self) -> None:
        self._is_waiting = True
        self._beat.seal_for(self._train.next_tick, self._seal)

    def _read(self) -> None:
        """Read the robot's server once, unless the client is behind.

        Sessions that are late write first and read for the next tick: what many of them read delays no record twice.
        """
        assert self.upstream is not None
        if self.upstream.poll is None or self._outbox.is_full:
            return
        self._has_skipped = not self._has_skipped and self._beat.now() > self._train.next_tick
        if not self._has_skipped:
            self.upstream.poll()

    def _seal(self) -> None:
        self._read()
        for left in range(self._width - 1, -1, -1):
            if self._reason is not None:
                if left or self._connection.rekey_due():
                    self._connection.pad()
                else:
                    self._send_goodbye(self._reason)
            elif not self._outbox.send_record():
                self._connection.pad()
        self._sealed = self._connection.data_to_send()
        self._beat.write_at(self._train.next_tick, self._tick)
        self._outbox.announce_room()

    def _tick(self) -> None:
        self._beat.hold_until(self._train.next_tick)
        self._write(self._sealed)
        if self._connection.goodbye_sent:
            self._is_waiting = False
            self._left.callback(None)
            return
        self._train.pass_tick(more=self._reason is not None or not self._outbox.is_empty)
        if self._train.is_running:
            self._wait()
        else:
            self._is_waiting = False
            self._announce_end()

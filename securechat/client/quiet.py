"""When the client sends, so that the moment does not reveal the length of a reply (protocol, section 10).

What a person types is sent at once, and so is CANCEL. Any other message, and GOODBYE, waits until the line is quiet:
every reply has ended, and so has the train of records that hides its length.
"""

import math
from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from securechat.client.silence import Silence
from securechat.wire.shaping import Shaping, next_bucket

MAX_PENDING: Final = 5  # messages that a server accepts: one is being answered, four wait

# Each time is the longer of a number of seconds and a number of ticks.
MIN_QUIET: Final = 0.5  # seconds without a record, after which no train is running
QUIET_TICKS: Final = 5
MIN_DEAD: Final = 30.0  # seconds without a record that is due, after which the connection is dead
DEAD_TICKS: Final = 100


class Traffic(Protocol):
    """The counts of a connection."""

    @property
    def records_received(self) -> int: ...

    @property
    def pending(self) -> int:
        """The number of messages whose reply has not ended."""


class Quiet:
    """Notices when the line is quiet, and when the connection is dead. It learns of records, never of text."""

    def __init__(
        self,
        shaping: Shaping,
        tick: float,
        width: int,
        traffic: Traffic,
        clock: IReactorTime,
        died: Callable[[], None],
    ) -> None:
        """`tick` is in seconds, `width` in records per tick; `died` is called if the connection is dead."""
        self.seconds_to_death: Final = max(MIN_DEAD, DEAD_TICKS * tick)
        self._shaping = shaping
        self._width = width
        self._traffic = traffic
        self._counted = traffic.records_received
        self._base: int | None = None  # records received when the last message was sent
        self._due: int | None = None  # with an endless train: the number of records that ends the present wait
        self._silence = Silence(clock, max(MIN_QUIET, QUIET_TICKS * tick), self._check)
        self._death = Silence(clock, self.seconds_to_death, died)
        self._room: Deferred[int] | None = None
        if shaping is Shaping.CONSTANT:
            self._death.watch()

    def room(self) -> Deferred[int]:
        """Fires when messages that nobody types may be sent, with the number that the server accepts.

        They may be sent at once before the first message of the session. One caller at a time; it may cancel.
        """
        room: Deferred[int] = Deferred(self._forget_room)
        self._room = room
        self._due = None
        self._check()
        return room

    def message_sent(self) -> None:
        """A message was passed to the transport."""
        self._base = self._traffic.records_received
        self._due = None
        self._silence.heard()
        self._death.heard()
        if self._shaping is not Shaping.OFF:
            self._death.watch()

    def writing(self, *, is_held: bool) -> None:
        """The transport has more to write than the network takes; or it has written everything."""
        self._death.is_held = is_held
        self._death.heard()

    def received(self) -> None:
        """Data was received, perhaps with records."""
        if self._note_records():
            self._check()

    def reply_ended(self) -> None:
        """A reply has ended, with its last record or a fault."""
        self._note_records()  # before the check: the record that ended it has just arrived
        if self._shaping is Shaping.REPLY and not self._traffic.pending:
            self._death.stop()
        self._check()

    def stop(self) -> None:
        """The connection is closed."""
        self._silence.stop()
        self._death.stop()

    def _note_records(self) -> bool:
        """Whether records have arrived since the last call."""
        if self._counted == self._traffic.records_received:
            return False
        self._counted = self._traffic.records_received
        self._silence.heard()
        self._death.heard()
        return True

    def _check(self) -> None:
        if self._room is not None and self._is_quiet():
            room, self._room = self._room, None
            room.callback(MAX_PENDING - self._traffic.pending)

    def _is_quiet(self) -> bool:
        if self._shaping is Shaping.OFF:
            return self._traffic.pending < MAX_PENDING
        if self._base is None:
            return True
        if self._traffic.pending:
            return False
        if self._shaping is Shaping.REPLY:
            if not self._silence.is_over:
                self._silence.watch()
            return self._silence.is_over
        if self._due is None:
            ticks = math.ceil((self._traffic.records_received - self._base) / self._width)
            self._due = self._base + self._width * next_bucket(ticks)
        return self._traffic.records_received >= self._due

    def _forget_room(self, _room: Deferred[int]) -> None:
        self._room = None

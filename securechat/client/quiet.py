"""When the client sends, so that the moment does not reveal the length of a reply (protocol, section 10).

What a person types is sent at once, and so is CANCEL. Any other message, and GOODBYE, waits until the line is quiet:
every reply has ended, and so has the train of records that hides its length. A CALL waits for the end of the replies
and then for one of many moments in the train, which reveals the length of a result to within a second.
"""

import math
from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from securechat.client.silence import Silence
from securechat.wire.events import Admitted
from securechat.wire.shaping import Shaping, next_bucket

MAX_PENDING: Final = 5  # messages that a server accepts: one is being answered, four wait

# Each time is the longer of a number of seconds and a number of ticks.
MIN_QUIET: Final = 0.5  # seconds without a record, after which no train is running
QUIET_TICKS: Final = 5
CALL_TICKS: Final = 10  # from one moment at which a CALL may be sent to the next
MIN_TIMEOUT: Final = 30.0  # seconds without a record while records are expected, after which the connection is dead
TIMEOUT_TICKS: Final = 100


class Traffic(Protocol):
    """The counts of a connection."""

    @property
    def records_received(self) -> int: ...

    @property
    def pending(self) -> int:
        """The number of messages whose reply has not ended."""


class Quiet:
    """Tells when the line is quiet, and when the connection is dead. It knows the number of records, not their text."""

    def __init__(self, about: Admitted, traffic: Traffic, clock: IReactorTime, timed_out: Callable[[], None]) -> None:
        """`timed_out` is called when the connection is dead, after `timeout` seconds without a record."""
        tick = about.tick / 1000
        self.timeout: Final = max(MIN_TIMEOUT, TIMEOUT_TICKS * tick)
        self._shaping = about.shaping
        self._width = about.width
        self._traffic = traffic
        self._counted = traffic.records_received
        self._base: int | None = None  # records received when the last message was sent
        self._due: int | None = None  # with an endless train: the number of records that ends the present wait
        self._silence = Silence(clock, max(MIN_QUIET, QUIET_TICKS * tick), self._check)
        self._timeout = Silence(clock, self.timeout, timed_out)
        self._room: Deferred[int] | None = None
        self._call_room: Deferred[None] | None = None
        self._call_due: int | None = None  # the number of records that ends the present wait of a CALL
        self._train = traffic.records_received  # records received before the train, or before all of an endless one
        self._gap = Silence(clock, max(MIN_QUIET, QUIET_TICKS * tick), lambda: None)  # since a record; not watched
        self._is_writing = False
        self._is_reading = True
        self._is_stopped = False
        if self._shaping is Shaping.CONSTANT:
            self._timeout.watch()

    def room(self) -> Deferred[int]:
        """Fires when messages that are not typed may be sent, with the number of them that the server accepts.

        The first messages of a session do not wait. One caller at a time; it may cancel.
        """
        room: Deferred[int] = Deferred(self._forget_room)
        self._room = room
        self._due = None
        self._check()
        return room

    def call_room(self) -> Deferred[None]:
        """Fires when a CALL may be sent. One caller at a time, besides that of `room`; it may cancel."""
        room: Deferred[None] = Deferred(self._forget_call_room)
        self._call_room = room
        self._call_due = None
        self._check()
        return room

    def message_sent(self) -> None:
        """A message was passed to the transport."""
        if self._base is None and self._shaping is Shaping.REPLY:
            self._train = self._traffic.records_received
        self._base = self._traffic.records_received
        self._due = self._call_due = None
        self._silence.heard()
        self._timeout.heard()
        if self._shaping is not Shaping.OFF:
            self._timeout.watch()

    def writing(self, is_writing: bool) -> None:
        """Whether the transport still has much to write: no reply is expected before the whole message is written."""
        self._is_writing = is_writing
        self._hold()

    def reading(self, is_reading: bool) -> None:
        """Whether the client reads: while it does not, the silence says nothing about the server."""
        self._is_reading = is_reading
        for silence in (self._silence, self._gap):
            silence.is_held = not is_reading
            silence.heard()
        self._hold()

    def _hold(self) -> None:
        self._timeout.is_held = self._is_writing or not self._is_reading
        self._timeout.heard()

    def received(self) -> None:
        """Data was received, perhaps with records."""
        if self._note_records():
            self._check()

    def reply_ended(self) -> None:
        """A reply has ended, with its last record or a fault."""
        self._note_records()  # before the check: the record that ended it has just arrived
        if self._shaping is Shaping.REPLY and not self._traffic.pending:
            self._timeout.stop()
        self._check()

    def stop(self) -> None:
        """Nothing can be sent any more: end the waits."""
        self._is_stopped = True
        self._silence.stop()
        self._timeout.stop()

    def _note_records(self) -> bool:
        """Whether records have arrived since the last call."""
        if self._counted == self._traffic.records_received:
            return False
        if self._gap.has_lasted and self._shaping is Shaping.REPLY:
            self._train = self._counted
        self._counted = self._traffic.records_received
        self._gap.heard()
        self._silence.heard()
        self._timeout.heard()
        return True

    def _check(self) -> None:
        if self._call_room is not None and not self._is_stopped and self._may_call():
            call_room, self._call_room = self._call_room, None
            call_room.callback(None)
        if self._room is not None and not self._is_stopped and self._is_quiet():
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
            return self._has_been_silent()
        if self._due is None:
            ticks = math.ceil((self._traffic.records_received - self._base) / self._width)
            self._due = self._base + self._width * next_bucket(ticks)
        return self._traffic.records_received >= self._due

    def _may_call(self) -> bool:
        if self._base is None or self._shaping is Shaping.OFF or self._traffic.pending:
            return self._traffic.pending < MAX_PENDING
        if self._call_due is None:
            # A read may bring more than one record, so that the count passes over a multiple.
            grid = CALL_TICKS * self._width
            self._call_due = self._traffic.records_received + (self._train - self._traffic.records_received) % grid
        if self._traffic.records_received >= self._call_due:
            return True
        return self._shaping is Shaping.REPLY and self._has_been_silent()

    def _has_been_silent(self) -> bool:
        """Whether no train is running; if one is, look again later."""
        if not self._silence.has_lasted:
            self._silence.watch()
        return self._silence.has_lasted

    def _forget_room(self, room: Deferred[int]) -> None:
        if room is self._room:
            self._room = None

    def _forget_call_room(self, room: Deferred[None]) -> None:
        if room is self._call_room:
            self._call_room = None

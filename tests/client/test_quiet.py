"""When the client may send, and when it considers the connection dead, in each of the server's modes."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.quiet import Quiet
from securechat.wire.events import Admitted
from securechat.wire.shaping import Shaping


class Counts:
    """A connection's counts, after a handshake of two records."""

    records_received = 2
    pending = 0


class QuietTestCase(SynchronousTestCase):
    """A line with a tick of 125 ms and two records at each."""

    shaping = Shaping.REPLY
    tick = 0.125
    width = 2

    def setUp(self) -> None:
        self.clock = Clock()
        self.counts = Counts()
        self.deaths: list[float] = []
        about = Admitted("", "", "", 4096, False, self.shaping, round(self.tick * 1000), self.width)
        self.quiet = Quiet(about, self.counts, self.clock, lambda: self.deaths.append(self.clock.seconds()))
        self.addCleanup(self.quiet.stop)

    def say(self, messages: int = 1) -> None:
        for _message in range(messages):
            self.counts.pending += 1
            self.quiet.message_sent()

    def end_reply(self) -> None:
        """The last record of a reply is read; those before it in the same read have been counted."""
        self.counts.records_received += 1
        self.counts.pending -= 1
        self.quiet.reply_ended()

    def receive(self, records: int) -> None:
        """A read ends, with this number of records after those of `end_reply`."""
        self.counts.records_received += records
        self.quiet.received()

    def run_train(self, ticks: int) -> None:
        for _tick in range(ticks):
            self.clock.advance(self.tick)
            self.receive(self.width)


class CommonTests(QuietTestCase):
    """The rules of every mode."""

    def test_first(self) -> None:
        """The first messages of a session do not wait."""
        self.assertEqual(self.successResultOf(self.quiet.room()), 5)
        self.assertEqual(self.successResultOf(self.quiet.room()), 5)

    def test_cancelled(self) -> None:
        """A caller may cancel, and wait again."""
        self.say(5)
        room = self.quiet.room()
        room.cancel()
        self.failureResultOf(room, CancelledError)
        again = self.quiet.room()
        for _reply in range(5):
            self.end_reply()
        self.run_train(200)
        self.clock.advance(1)
        self.successResultOf(again)

    def test_stops(self) -> None:
        """No timer is left when the connection is closed."""
        self.say()
        self.end_reply()
        self.quiet.room()
        self.say()
        self.quiet.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ReplyTests(QuietTestCase):
    """One train for each reply."""

    def test_waitsForTheTrain(self) -> None:
        """Messages wait until no record has arrived for five ticks after the last reply, however short it was."""
        for reply in (1, 7, 40):
            self.say()
            room = self.quiet.room()
            self.run_train(reply)
            self.end_reply()
            self.run_train(50 - reply)
            self.assertNoResult(room)
            self.clock.advance(0.6)
            self.assertNoResult(room)
            self.clock.advance(0.025)
            self.assertEqual(self.successResultOf(room), 5)

    def test_waitsForAllReplies(self) -> None:
        """A pause within a reply does not end the wait, nor does a reply that is not the last."""
        self.say(2)
        room = self.quiet.room()
        self.clock.advance(10)
        self.end_reply()
        self.clock.advance(10)
        self.assertNoResult(room)
        self.end_reply()
        self.assertNoResult(room)
        self.clock.advance(0.625)
        self.assertEqual(self.successResultOf(room), 5)

    def test_lateRecord(self) -> None:
        """The record that ends the only reply is part of a train, even if it is the first after a long time."""
        self.say()
        self.clock.advance(5)
        self.end_reply()
        self.assertNoResult(self.quiet.room())

    def test_quietAlready(self) -> None:
        """A message does not wait if the last train ended long ago."""
        self.say()
        self.end_reply()
        self.run_train(50)
        self.clock.advance(0.625)
        self.assertEqual(self.successResultOf(self.quiet.room()), 5)

    def test_typedMeanwhile(self) -> None:
        """A message that is typed during the wait extends it by its own train."""
        self.say()
        self.end_reply()
        room = self.quiet.room()
        self.clock.advance(0.5)
        self.say()
        self.clock.advance(5)
        self.assertNoResult(room)
        self.end_reply()
        self.run_train(50)
        self.assertNoResult(room)
        self.clock.advance(0.625)
        self.successResultOf(room)

    def test_dead(self) -> None:
        """The connection is dead if nothing arrives for 30 seconds while a message is unanswered."""
        self.clock.advance(100)
        self.say()
        self.clock.advance(20)
        self.receive(1)
        self.clock.advance(20)
        self.say()
        self.clock.advance(29.9)
        self.assertEqual(self.deaths, [])
        self.clock.advance(0.2)
        self.assertEqual(len(self.deaths), 1)

    def test_answered(self) -> None:
        """An idle connection is not dead."""
        self.say(2)
        self.end_reply()
        self.end_reply()
        self.clock.advance(1000)
        self.assertEqual(self.deaths, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_oneOfTwo(self) -> None:
        """The connection is still watched when one of two messages is answered."""
        self.say(2)
        self.end_reply()
        self.clock.advance(31)
        self.assertEqual(len(self.deaths), 1)

    def test_longMessage(self) -> None:
        """The time for the answer begins when the last byte of the message is written."""
        self.say()
        self.quiet.writing(True)
        self.clock.advance(100)
        self.quiet.writing(False)
        self.clock.advance(29.9)
        self.assertEqual(self.deaths, [])
        self.clock.advance(0.2)
        self.assertEqual(len(self.deaths), 1)

    def test_emptyReads(self) -> None:
        """Parts of records do not keep a connection alive."""
        self.say()
        for _read in range(31):
            self.clock.advance(1)
            self.receive(0)
        self.assertEqual(len(self.deaths), 1)


class FastTickTests(QuietTestCase):
    """A train whose ticks are short."""

    tick = 0.01

    def test_halfASecond(self) -> None:
        """The line is quiet after half a second, although five ticks take less."""
        self.say()
        self.end_reply()
        room = self.quiet.room()
        self.clock.advance(0.49)
        self.assertNoResult(room)
        self.clock.advance(0.02)
        self.successResultOf(room)


class SlowTickTests(QuietTestCase):
    """A train with one tick a minute."""

    tick = 60.0

    def test_fiveTicks(self) -> None:
        """The line is quiet after five ticks."""
        self.say()
        self.end_reply()
        room = self.quiet.room()
        self.clock.advance(299)
        self.assertNoResult(room)
        self.clock.advance(2)
        self.successResultOf(room)

    def test_dead(self) -> None:
        """The connection is dead after a hundred ticks."""
        self.say()
        self.clock.advance(5999)
        self.assertEqual(self.deaths, [])
        self.clock.advance(2)
        self.assertEqual(len(self.deaths), 1)
        self.assertEqual(self.quiet.timeout, 6000)


class ConstantTests(CommonTests):
    """One train without an end."""

    shaping = Shaping.CONSTANT

    def test_waitsForABucket(self) -> None:
        """Messages wait until the ticks of a bucket have passed since the last message."""
        self.run_train(33)
        for ticks, bucket in ((0, 50), (48, 50), (49, 50), (50, 75), (74, 75), (75, 100), (1200, 1800)):
            self.say()
            room = self.quiet.room()
            self.run_train(ticks)
            self.end_reply()
            self.receive(self.width * (bucket - ticks) - 2)
            self.assertNoResult(room)
            self.receive(1)
            self.assertEqual(self.successResultOf(room), 5)

    def test_asksLate(self) -> None:
        """A message that is ready long after the last reply waits for the next bucket, too."""
        self.say()
        self.end_reply()
        self.receive(1)
        self.run_train(51)
        room = self.quiet.room()
        self.clock.advance(1000)
        self.run_train(22)
        self.assertNoResult(room)
        self.run_train(1)
        self.successResultOf(room)

    def test_coarseReads(self) -> None:
        """A bucket that is passed within one read counts if the reply ended before it, and only then."""
        for before, delay in ((98, 0), (100, 0), (99, 0), (101, 50)):
            self.say()
            room = self.quiet.room()
            self.counts.records_received += before - 1
            self.end_reply()
            self.receive(110 - before)
            self.assertEqual(room.called, not delay)
            self.receive(delay)
            self.successResultOf(room)

    def test_rest(self) -> None:
        """Each wait has its own bucket, also if none of the messages was sent after the one before."""
        self.say()
        self.end_reply()
        self.receive(99)
        self.assertEqual(self.successResultOf(self.quiet.room()), 5)
        self.receive(1)
        self.assertNoResult(self.quiet.room())

    def test_dead(self) -> None:
        """The connection is dead if nothing arrives for 30 seconds, from the start and without any message."""
        self.clock.advance(20)
        self.receive(1)
        self.clock.advance(29.9)
        self.assertEqual(self.deaths, [])
        self.clock.advance(0.2)
        self.assertEqual(len(self.deaths), 1)

    def test_answered(self) -> None:
        """The connection is watched after all messages were answered."""
        self.say()
        self.end_reply()
        self.clock.advance(31)
        self.assertEqual(len(self.deaths), 1)


class OffTests(CommonTests):
    """No trains."""

    shaping = Shaping.OFF

    def test_doesNotWait(self) -> None:
        """Messages are sent as soon as the server accepts them."""
        self.say(3)
        self.assertEqual(self.successResultOf(self.quiet.room()), 2)
        self.say(2)
        room: Deferred[int] = self.quiet.room()
        self.assertNoResult(room)
        self.end_reply()
        self.assertEqual(self.successResultOf(room), 1)

    def test_neverDead(self) -> None:
        """Nothing is known of the records that are due, so the connection is not watched."""
        self.say()
        self.clock.advance(1000)
        self.assertEqual(self.deaths, [])


class HeldTests(QuietTestCase):
    """A client that does not read for some time, because its output is not read."""

    def test_dead(self) -> None:
        """A server that cannot be heard is not considered dead, also if a long message was written meanwhile."""
        self.say()
        self.quiet.writing(True)
        self.quiet.reading(False)
        self.quiet.writing(False)
        self.clock.advance(1000)
        self.assertEqual(self.deaths, [])
        self.quiet.reading(True)
        self.clock.advance(29)
        self.assertEqual(self.deaths, [])
        self.clock.advance(2)
        self.assertEqual(len(self.deaths), 1)

    def test_quiet(self) -> None:
        """A train that cannot be heard may still be running, so messages wait."""
        self.say()
        self.end_reply()
        self.quiet.reading(False)
        self.clock.advance(10)
        room = self.quiet.room()
        self.clock.advance(10)
        self.assertNoResult(room)
        self.quiet.reading(True)
        self.run_train(3)
        self.assertNoResult(room)
        self.clock.advance(0.625)
        self.successResultOf(room)


class CallTests(QuietTestCase):
    """Calls in trains of one reply each, with 20 records from one moment at which they may be sent to the next."""

    def test_first(self) -> None:
        """The first call of a session does not wait."""
        self.successResultOf(self.quiet.call_room())

    def test_grid(self) -> None:
        """A call waits until the number of records of the train is a multiple of 20, whenever the result ended."""
        self.say()
        for ended, sent in ((1, 20), (19, 20), (20, 20), (21, 40), (39, 40)):
            with self.subTest(ended=ended):
                self.quiet.stop()
                self.setUp()
                self.receive(7)  # before the first message
                self.say()
                self.receive(ended - 1)
                self.end_reply()
                room = self.quiet.call_room()
                if sent > ended:
                    self.receive(sent - ended - 1)
                    self.assertNoResult(room)
                    self.receive(1)
                self.successResultOf(room)

    def test_asksLate(self) -> None:
        """A call that is ready long after the last result, within its train, waits for the next multiple."""
        self.say()
        self.end_reply()
        self.receive(self.width * 13 - 1)
        room = self.quiet.call_room()
        self.run_train(6)
        self.assertNoResult(room)
        self.run_train(1)
        self.successResultOf(room)

    def test_coarseReads(self) -> None:
        """A multiple that is passed within one read counts if the result ended before it, and only then."""
        for ended, delay in ((18, 0), (21, 10)):
            with self.subTest(ended=ended):
                self.quiet.stop()
                self.setUp()
                self.say()
                self.counts.records_received += ended - 1
                self.end_reply()
                room = self.quiet.call_room()
                self.receive(30 - ended)
                self.assertEqual(room.called, not delay)
                self.receive(delay)
                self.successResultOf(room)

    def test_silence(self) -> None:
        """A call waits no longer than until no record has arrived for five ticks."""
        self.say()
        self.end_reply()
        room = self.quiet.call_room()
        self.run_train(4)
        self.clock.advance(0.6)
        self.assertNoResult(room)
        self.clock.advance(0.025)
        self.successResultOf(room)

    def test_noTrain(self) -> None:
        """A call does not wait if the last train ended long ago."""
        self.say()
        self.end_reply()
        self.clock.advance(0.625)
        self.successResultOf(self.quiet.call_room())

    def test_nextTrain(self) -> None:
        """The records of each train are counted from its first, also if its message was sent shortly after the last."""
        for pause in (0.6, 5):
            with self.subTest(pause=pause):
                self.quiet.stop()
                self.setUp()
                self.say()
                self.end_reply()
                self.receive(6)
                self.clock.advance(pause)
                self.say()
                self.clock.advance(0.125)
                self.receive(2)
                self.end_reply()
                room = self.quiet.call_room()
                self.receive(16)
                self.assertNoResult(room)
                self.receive(1)
                self.successResultOf(room)

    def test_sameTrain(self) -> None:
        """The count goes on if a message is sent during a train."""
        self.say()
        self.end_reply()
        self.receive(6)
        self.clock.advance(0.4)
        self.say()
        self.receive(2)
        self.end_reply()
        room = self.quiet.call_room()
        self.receive(9)
        self.assertNoResult(room)
        self.receive(1)
        self.successResultOf(room)

    def test_unanswered(self) -> None:
        """A call that follows no reply is sent at once, unless the server would refuse it."""
        self.say(4)
        self.receive(3)
        self.successResultOf(self.quiet.call_room())
        self.say()
        room = self.quiet.call_room()
        self.assertNoResult(room)
        self.end_reply()
        self.successResultOf(room)

    def test_held(self) -> None:
        """The count goes on after a time in which the client did not read."""
        self.say()
        self.receive(7)
        self.quiet.reading(False)
        self.clock.advance(10)
        self.quiet.reading(True)
        self.receive(5)
        self.end_reply()
        room = self.quiet.call_room()
        self.receive(6)
        self.assertNoResult(room)
        self.receive(1)
        self.successResultOf(room)

    def test_cancelled(self) -> None:
        """A caller may cancel, and wait again."""
        self.say()
        self.end_reply()
        room = self.quiet.call_room()
        room.cancel()
        self.failureResultOf(room, CancelledError)
        again = self.quiet.call_room()
        self.receive(19)
        self.successResultOf(again)

    def test_besideMessages(self) -> None:
        """A message still waits for the end of the train."""
        self.say()
        self.end_reply()
        room = self.quiet.room()
        call_room = self.quiet.call_room()
        self.receive(19)
        self.successResultOf(call_room)
        self.assertNoResult(room)


class ConstantCallTests(QuietTestCase):
    """Calls in one train without an end."""

    shaping = Shaping.CONSTANT

    def test_grid(self) -> None:
        """A call waits until the number of records since ABOUT is a multiple of 20, whatever the silence."""
        self.receive(7)
        self.say()
        self.clock.advance(5)
        self.receive(4)
        self.end_reply()
        room = self.quiet.call_room()
        self.receive(7)
        self.clock.advance(20)
        self.assertNoResult(room)
        self.receive(1)
        self.successResultOf(room)

    def test_first(self) -> None:
        """The first call of a session does not wait."""
        self.receive(7)
        self.successResultOf(self.quiet.call_room())


class OffCallTests(QuietTestCase):
    """Calls without trains."""

    shaping = Shaping.OFF

    def test_doesNotWait(self) -> None:
        """A call is sent as soon as the server accepts it."""
        self.say()
        self.end_reply()
        self.successResultOf(self.quiet.call_room())

"""Replies on their way out, one record at a time."""

from collections import Counter

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault
from securechat.server.outbox import HIGH_WATER, Outbox
from securechat.server.replies import TextReply
from securechat.wire.connection import MAX_CHUNK
from securechat.wire.events import FaultReceived, ReplyReceived
from tests.harness.pair import Pair, frames

MAX_REPLY = 32 * 1024  # bytes


class OutboxTests(SynchronousTestCase):
    """An Outbox before a real connection."""

    def setUp(self) -> None:
        self.pair = Pair().open()
        self.counts: Counter[tuple[bool, Fault | None]] = Counter()
        self.outbox = Outbox(self.pair.server, MAX_REPLY, MAX_REPLY, self.counts)
        for text in ("a", "b"):
            self.pair.client.say(text)
        self.pair.pump()
        self.pair.client_events.clear()

    def reply(self, message_id: int, *texts: bytes) -> TextReply:
        reply = self.outbox.open(message_id)
        assert reply is not None
        for text in texts:
            self.outbox.add(reply, text)
        return reply

    def sent(self) -> list[object]:
        self.pair.pump()
        events = list(self.pair.client_events)
        self.pair.client_events.clear()
        return list(events)

    def test_nothingWaits(self) -> None:
        """A reply without text has no record; it is in the outbox until it has ended."""
        self.assertFalse(self.outbox.send_record())
        self.assertTrue(self.outbox.is_empty)
        self.reply(1)
        self.assertFalse(self.outbox.send_record())
        self.assertFalse(self.outbox.is_empty)

    def test_chunksAreJoined(self) -> None:
        """What came since the last record leaves together, and the end with it."""
        reply = self.reply(1, b"one ", b"two")
        self.assertTrue(self.outbox.send_record())
        self.assertFalse(self.outbox.send_record())
        self.outbox.add(reply, b"!")
        reply.end()
        self.assertTrue(self.outbox.send_record())
        self.assertEqual(self.sent(), [ReplyReceived(1, "one two", False), ReplyReceived(1, "!", True)])
        self.assertFalse(self.outbox.send_record())

    def test_longText(self) -> None:
        """Text that fits no record goes into several, each as full as can be."""
        self.reply(1, b"x" * (MAX_CHUNK + 1)).end()
        while self.outbox.send_record():
            pass
        self.assertEqual(self.sent(), [ReplyReceived(1, "x" * MAX_CHUNK, False), ReplyReceived(1, "x", True)])

    def test_emptyReply(self) -> None:
        """A reply without text still ends."""
        self.reply(1).end()
        self.assertTrue(self.outbox.send_record())
        self.assertEqual(self.sent(), [ReplyReceived(1, "", True)])

    def test_faultComesAfterTheText(self) -> None:
        """What was said before a fault arrives, then the fault, then the next reply."""
        self.reply(1, b"half").end(Fault.BROKEN_ANSWER)
        self.reply(2, b"next").end()
        while self.outbox.send_record():
            pass
        self.assertEqual(
            self.sent(),
            [
                ReplyReceived(1, "half", False),
                FaultReceived(1, Fault.BROKEN_ANSWER),
                ReplyReceived(2, "next", True),
            ],
        )

    def test_rekeyTakesARecord(self) -> None:
        """A REKEY that is due takes the place of a record, and the text the next one."""
        self.pair.server.pad()
        self.sent()
        self.pair.clock.advance(901)
        self.reply(1, b"text").end()
        self.assertTrue(self.outbox.send_record())
        self.assertEqual(self.sent(), [])
        self.assertTrue(self.outbox.send_record())
        self.assertEqual(len(frames(self.pair.server._out[0])), 1)
        self.assertEqual(self.sent(), [ReplyReceived(1, "text", True)])

    def test_cancel(self) -> None:
        """A cancelled reply loses its unsent text and ends in the fault; text that still comes is dropped."""
        reply = self.reply(1, b"x" * (HIGH_WATER + 1))
        self.assertTrue(self.outbox.is_full)
        self.assertIs(self.outbox.cancel(1), reply)
        self.assertFalse(self.outbox.is_full)
        self.outbox.add(reply, b"late")
        reply.end(Fault.BUSY)
        self.assertTrue(self.outbox.send_record())
        self.assertFalse(self.outbox.send_record())
        self.assertIsNone(self.outbox.cancel(1))
        self.assertEqual(self.sent(), [FaultReceived(1, Fault.CANCELLED)])

    def test_cancelPartly(self) -> None:
        """Of a reply that is cancelled, the part that was sent does not count a second time."""
        self.reply(1, b"x" * 5 * MAX_CHUNK)
        for _ in range(3):
            self.outbox.send_record()
        for _ in range(2):  # a client may cancel twice
            self.outbox.cancel(1)
        self.assertTrue(self.outbox.send_record())
        reply = self.reply(2, b"y" * HIGH_WATER)
        self.assertFalse(self.outbox.is_full)
        self.outbox.add(reply, b"y")
        self.assertTrue(self.outbox.is_full)

    def test_room(self) -> None:
        """Who waits for room goes on when there is some, and not before."""
        self.reply(1, b"x" * (HIGH_WATER + 1)).end()
        room = Deferred.fromCoroutine(self.outbox.room())
        self.outbox.announce_room()
        self.assertNoResult(room)
        self.outbox.send_record()
        self.outbox.pause()
        self.outbox.announce_room()
        self.assertNoResult(room)
        self.outbox.resume()
        self.successResultOf(room)

"""Replies on their way out, one record at a time."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault
from securechat.server.outbox import Outbox
from securechat.wire.connection import MAX_CHUNK
from securechat.wire.events import FaultReceived, ReplyReceived
from tests.harness.pair import Pair, frames


class OutboxTests(SynchronousTestCase):
    """An Outbox before a real connection."""

    def setUp(self) -> None:
        self.pair = Pair().open()
        self.outbox = Outbox(self.pair.server)
        for text in ("a", "b"):
            self.pair.client.say(text)
        self.pair.pump()
        self.pair.client_events.clear()

    def sent(self) -> list[object]:
        self.pair.pump()
        events = list(self.pair.client_events)
        self.pair.client_events.clear()
        return list(events)

    def test_nothingWaits(self) -> None:
        """Without text there is no record, begun or not."""
        self.assertFalse(self.outbox.send_record())
        self.outbox.begin(1)
        self.assertFalse(self.outbox.send_record())

    def test_chunksAreJoined(self) -> None:
        """What came since the last record leaves together, and the end with it."""
        self.outbox.begin(1)
        self.outbox.add(b"one ")
        self.outbox.add(b"two")
        self.assertTrue(self.outbox.send_record())
        self.assertFalse(self.outbox.send_record())
        self.outbox.add(b"!")
        self.outbox.end()
        self.assertTrue(self.outbox.send_record())
        self.assertEqual(self.sent(), [ReplyReceived(1, "one two", False), ReplyReceived(1, "!", True)])
        self.assertFalse(self.outbox.send_record())

    def test_longText(self) -> None:
        """Text that fits no record goes into several, each as full as can be."""
        self.outbox.begin(1)
        self.outbox.add(b"x" * (MAX_CHUNK + 1))
        self.outbox.end()
        while self.outbox.send_record():
            pass
        self.assertEqual(self.sent(), [ReplyReceived(1, "x" * MAX_CHUNK, False), ReplyReceived(1, "x", True)])

    def test_emptyReply(self) -> None:
        """A reply without text still ends."""
        self.outbox.begin(1)
        self.outbox.end()
        self.assertTrue(self.outbox.send_record())
        self.assertEqual(self.sent(), [ReplyReceived(1, "", True)])

    def test_faultComesAfterTheText(self) -> None:
        """What was said before a fault arrives, then the fault, then the next reply."""
        self.outbox.begin(1)
        self.outbox.add(b"half")
        self.outbox.end(Fault.BROKEN_ANSWER)
        self.outbox.begin(2)
        self.outbox.add(b"next")
        self.outbox.end()
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
        self.outbox.begin(1)
        self.outbox.add(b"text")
        self.outbox.end()
        self.assertTrue(self.outbox.send_record())
        self.assertEqual(self.sent(), [])
        self.assertTrue(self.outbox.send_record())
        self.assertEqual(len(frames(self.pair.server._out[0])), 1)
        self.assertEqual(self.sent(), [ReplyReceived(1, "text", True)])

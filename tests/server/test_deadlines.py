"""Records and messages that begin to arrive and do not end."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Category
from securechat.server.deadlines import Deadlines
from securechat.wire.messages import Chunk, encode
from securechat.wire.records import RecordType
from tests.harness.pair import Pair
from tests.server.test_protocol import ServerTestCase, Session

CHUNK = b"x" * 490


class DeadlineTests(ServerTestCase):
    """A client that has been admitted, and a server that knows how late it is."""

    def setUp(self) -> None:
        super().setUp()
        self.session = Session(self.factory).open()

    def part(self, chunk: bytes, *, last: bool = False, message_id: int = 1) -> bytes:
        """The record with a part of a message."""
        self.session.client._seal(RecordType.SAY, encode(Chunk(message_id, last, chunk)))
        return self.session.client.data_to_send()

    def pad(self) -> bytes:
        self.session.client.pad()
        return self.session.client.data_to_send()

    def receive(self, data: bytes) -> None:
        self.session.server.dataReceived(data)

    def assertAbortsAfter(self, seconds: float) -> None:
        """The server waits for so long, and not longer."""
        self.clock.advance(seconds - 0.01)
        self.assertFalse(self.session.wire.aborted)
        self.clock.advance(0.02)
        self.assertTrue(self.session.wire.aborted)
        self.assertLogged(r"client \d from .*: aborted \(timeout\)")
        self.session.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def timers(self) -> int:
        """The timers beside that of the session's age."""
        return len(self.clock.getDelayedCalls()) - 1

    def test_record(self) -> None:
        """A record has to be complete 30 seconds after its first byte, however its bytes are spread."""
        data = self.pad()
        for number in range(29):
            self.receive(data[number : number + 1])
            self.clock.advance(1)
        self.assertAbortsAfter(1)

    def test_eachRecord(self) -> None:
        """The next record has 30 seconds of its own, if it begins where the one before it ends."""
        self.receive(self.pad()[:-1])
        self.assertAbortsAfter(30)

    def test_manyRecords(self) -> None:
        """A client whose records arrive in parts, each in time, is not aborted."""
        rest = b""
        for _number in range(20):
            data = rest + self.pad()
            self.receive(data[:-7])
            rest = data[-7:]
            self.clock.advance(20)
            self.assertLessEqual(self.timers(), 1)
        self.receive(rest)
        self.clock.advance(40)
        self.assertFalse(self.session.wire.aborted)
        self.assertEqual(self.timers(), 0)

    def test_complete(self) -> None:
        """While nothing is incomplete there is no timer."""
        self.receive(self.pad() + self.part(b"hello", last=True))
        self.assertEqual(self.timers(), 0)

    def test_message(self) -> None:
        """A message has to be complete 60 seconds after its first chunk, whatever else the client sends."""
        self.receive(self.part(b"a"))
        for _number in range(11):
            self.clock.advance(5)
            self.receive(self.pad())
        self.assertAbortsAfter(5)

    def test_longMessage(self) -> None:
        """For each 16 KiB of its chunks it has another second."""
        for _chunk in range(64 * 1024 // len(CHUNK)):
            self.receive(self.part(CHUNK))
        size = 64 * 1024 // len(CHUNK) * len(CHUNK)
        self.assertAbortsAfter(60 + size / 16 / 1024)

    def test_steadyMessage(self) -> None:
        """A message that comes at a steady rate of 16 KiB a second is in time, and leaves no timer."""
        for _second in range(50):
            for _chunk in range(40):
                self.receive(self.part(CHUNK))
            self.clock.advance(40 * len(CHUNK) / 16 / 1024 + 0.1)
        self.receive(self.part(b"", last=True))
        self.clock.advance(70)
        self.assertFalse(self.session.wire.aborted)
        self.assertEqual(self.robot.asked, ["x" * 490 * 40 * 50])
        self.assertEqual(self.timers(), 0)

    def test_eachMessage(self) -> None:
        """The time of a message is counted from its own first chunk."""
        self.receive(self.part(b"a"))
        self.clock.advance(50)
        self.receive(self.part(b"a", last=True) + self.part(b"b", message_id=2))
        self.assertAbortsAfter(60)

    def test_droppedMessage(self) -> None:
        """A message that exceeds the client's quota is not kept, and has no more time than another."""
        self.session.lose()
        self.factory = self.make_factory(max_buffered=8 * 4096, max_message=4096)
        self.session = Session(self.factory).open()
        for message_id in (1, 2):
            for number in range(8):
                self.receive(self.part(CHUNK, message_id=message_id, last=number == 7 and message_id == 1))
        self.assertAbortsAfter(60 + 8 * len(CHUNK) / 16 / 1024)

    def test_recordWithinAMessage(self) -> None:
        """Whichever of the two is late first counts."""
        self.receive(self.part(b"a"))
        self.clock.advance(1)
        self.receive(self.pad()[:-1])
        self.assertAbortsAfter(30)

    def test_notRead(self) -> None:
        """The time during which the server does not read is not the client's."""
        session = self.session
        for _ in range(5 + 64):
            session.client.say("x")
        data = session.client.data_to_send() + self.part(b"a", message_id=70) + self.pad()
        self.receive(data[:-1])
        self.assertEqual(session.wire.producerState, "paused")
        self.clock.advance(1000)
        self.assertFalse(session.wire.aborted)
        for _ in range(5):
            self.robot.end()
            self.clock.advance(0)
        self.assertEqual(session.wire.producerState, "producing")
        self.clock.advance(29.9)
        self.assertFalse(session.wire.aborted)
        self.receive(data[-1:])
        self.assertAbortsAfter(30.1)

    def test_lost(self) -> None:
        """A connection that is lost leaves no timer."""
        self.receive(self.part(b"a") + self.pad()[:-1])
        self.assertEqual(self.timers(), 1)
        self.session.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PauseTests(SynchronousTestCase):
    """Time does not pass for the client while it is not read."""

    def setUp(self) -> None:
        self.pair = Pair().open()
        self.clock = self.pair.clock
        self.categories: list[Category] = []
        self.deadlines = Deadlines(self.pair.server, self.clock, self.categories.append)

    def receive(self, data: bytes) -> None:
        self.pair.to_server(data)
        self.deadlines.data_read()

    def assertGoesOn(self, seconds: float) -> None:
        """After a pause there are as many seconds left as before."""
        self.deadlines.pause()
        self.deadlines.data_read()
        self.clock.advance(1000)
        self.assertEqual((self.categories, self.clock.getDelayedCalls()), ([], []))
        self.deadlines.resume()
        self.clock.advance(seconds - 0.01)
        self.assertEqual(self.categories, [])
        self.clock.advance(0.02)
        self.assertEqual(self.categories, [Category.TIMEOUT])

    def test_record(self) -> None:
        """A record that has begun has the rest of its time."""
        self.pair.client.pad()
        self.receive(self.pair.client.data_to_send()[:-1])
        self.clock.advance(20)
        self.assertGoesOn(10)

    def test_message(self) -> None:
        """So has a message."""
        self.pair.client._seal(RecordType.SAY, encode(Chunk(1, False, bytes(400))))
        self.receive(self.pair.client.data_to_send())
        self.clock.advance(20)
        self.assertGoesOn(40 + 400 / 16 / 1024)

    def test_nothing(self) -> None:
        """Where nothing has begun there is no timer, before and after."""
        self.deadlines.data_read()
        for _ in range(2):
            self.deadlines.pause()
            self.deadlines.resume()
            self.deadlines.resume()
        self.assertEqual(self.clock.getDelayedCalls(), [])

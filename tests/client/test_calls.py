"""API requests through the client's Protocol."""

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, LocalProtocolError
from securechat.wire.events import CallReceived, CancelReceived, GoodbyeReceived
from securechat.wire.items import Head, Piece
from securechat.wire.messages import Reason, encode
from tests.harness.pair import ABOUT
from tests.harness.passive_server import OFF, Meeting


class CallTests(SynchronousTestCase):
    """A client whose server takes calls."""

    def setUp(self) -> None:
        self.meeting = Meeting(about=replace(OFF, api=True)).open()

    def test_result(self) -> None:
        """The items of a result are passed to the user as they arrive."""
        self.assertEqual(self.meeting.client.call("models", b""), 1)
        self.assertEqual(self.meeting.carry_up(), [CallReceived(1, "models", b"")])
        head, piece = Head(200, "text/plain"), Piece(b"x")
        self.meeting.server.result(1, encode(head), False)
        self.meeting.carry_down()
        self.meeting.server.result(1, encode(piece), True)
        self.meeting.carry_down()
        self.assertEqual(self.meeting.diary.results, [(1, [head], False), (1, [piece], True)])

    def test_cancels(self) -> None:
        """A call that is cancelled ends in a fault."""
        self.meeting.client.cancel(self.meeting.client.call("models", b""))
        self.assertEqual(self.meeting.carry_up()[1:], [CancelReceived(1)])
        self.meeting.server.fault(1, Fault.CANCELLED)
        self.meeting.carry_down()
        self.assertEqual(self.meeting.diary.faults, [(1, Fault.CANCELLED)])

    def test_cancelsLate(self) -> None:
        """After the server's GOODBYE there is nothing to cancel."""
        call = self.meeting.client.call("models", b"")
        self.meeting.carry_up()
        self.assertTrue(self.meeting.client.is_open)
        self.meeting.server.goodbye(Reason.STOPPING, 0)
        self.meeting.carry_down()
        self.assertFalse(self.meeting.client.is_open)
        self.meeting.client.cancel(call)
        self.assertEqual([type(event) for event in self.meeting.carry_up()], [GoodbyeReceived])
        self.meeting.client.connectionLost()

    def test_inOneWrite(self) -> None:
        """The records of a call are passed to the transport together."""
        before = len(self.meeting.wire.writes)
        self.meeting.client.call("chat/completions", b"x" * 10_000)
        self.assertEqual(len(self.meeting.wire.writes), before + 1)

    def test_tooLong(self) -> None:
        """A request that the server would not accept is not sent."""
        with self.assertRaises(ValueError):
            self.meeting.client.call("completions", bytes(OFF.max_message))
        self.assertEqual(self.meeting.wire.value(), b"")

    def test_notTaken(self) -> None:
        """A server without an API gets no requests."""
        with self.assertRaises(LocalProtocolError):
            Meeting().open().client.call("models", b"")

    def test_moment(self) -> None:
        """A call waits for its moment in the train of the result before it, and the next message for its end."""
        meeting = Meeting(about=replace(ABOUT, api=True)).open()
        self.successResultOf(meeting.client.call_room())
        meeting.client.call("models", b"")
        meeting.carry_up()
        meeting.server.result(1, encode(Head(200, "text/plain")), True)
        meeting.carry_down()
        call_room, room = meeting.client.call_room(), meeting.client.room()
        for _tick in range(9):
            self.assertNoResult(call_room)
            meeting.server.pad()
            meeting.carry_down()
        self.successResultOf(call_room)
        self.assertNoResult(room)
        meeting.clock.advance(0.6)
        self.successResultOf(room)
        meeting.client.leave()
        meeting.client.connectionLost()

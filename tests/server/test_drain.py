"""A server that stops: replies in progress are sent whole, and nobody else delays the end."""

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from securechat.errors import Fault
from securechat.server.leaving import STOPPING_TIMEOUT
from securechat.wire.connection import GOODBYE_TIMEOUT
from securechat.wire.events import FaultReceived, GoodbyeReceived, ReplyReceived
from securechat.wire.messages import Reason
from securechat.wire.shaping import Shaping
from tests.server.test_pacing import FRAME, START, TICK, PaceTestCase, grid
from tests.server.test_protocol import CLIENT, ServerTestCase, Session


def disconnect(session: Session) -> None:
    session.server.connectionLost(Failure(ConnectionDone()))


class DrainTests(ServerTestCase):
    """Without shaping."""

    def test_reply(self) -> None:
        """A reply in progress is sent whole, and GOODBYE follows it at once."""
        session = Session(self.factory).open()
        session.say("x")
        self.robot.say("one ")
        stopped = self.factory.stop()
        self.assertTrue(self.factory.is_stopping)
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "one ", False)])
        self.clock.advance(30)
        self.robot.say("two")
        self.robot.end()
        session.pump()
        self.assertEqual(
            session.events[1:],
            [ReplyReceived(1, "two", False), ReplyReceived(1, "", True), GoodbyeReceived(Reason.STOPPING, 1)],
        )
        self.assertEqual(self.robot.cancelled, 0)
        session.client.goodbye(Reason.LEAVING, 1)
        session.pump()
        self.assertTrue(session.wire.disconnecting)
        self.assertNoResult(stopped)
        disconnect(session)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waitingMessages(self) -> None:
        """So are the replies to messages that waited for their turn."""
        session = Session(self.factory).open()
        session.say("one")
        session.say("two")
        self.factory.stop()
        self.robot.end()
        session.pump()
        self.robot.end()
        session.pump()
        self.assertEqual(self.robot.asked, ["one", "two"])
        self.assertEqual(session.events[-1], GoodbyeReceived(Reason.STOPPING, 2))

    def test_idle(self) -> None:
        """An idle session gets GOODBYE at once, and a client that does not answer is disconnected after a second."""
        session = Session(self.factory).open()
        self.factory.stop()
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.STOPPING, 0)])
        self.clock.advance(STOPPING_TIMEOUT)
        self.assertTrue(session.wire.aborted)

    def test_slowClient(self) -> None:
        """A client that has got a reply has the usual time to read it."""
        session = Session(self.factory).open()
        session.say("x")
        self.factory.stop()
        self.robot.end()
        session.pump()
        self.clock.advance(GOODBYE_TIMEOUT - 0.1)
        self.assertFalse(session.wire.aborted)
        self.clock.advance(0.1)
        self.assertTrue(session.wire.aborted)

    def test_handshake(self) -> None:
        """A connection that is not admitted is closed, and no further one is accepted."""
        half = Session(self.factory)
        self.factory.stop()
        self.assertTrue(half.wire.aborted)
        self.assertIsNone(self.factory.buildProtocol(CLIENT))

    def test_newMessages(self) -> None:
        """Messages that arrive meanwhile are not answered, as GOODBYE says, and only so many are read."""
        session = Session(self.factory).open()
        session.say("one")
        self.factory.stop()
        for _ in range(100):
            session.client.say("two")
        session.pump()
        self.assertEqual(session.wire.producerState, "paused")
        self.assertLess(session.server._connection.next_say_id, 70)
        self.robot.end()
        session.pump()
        self.assertEqual(self.robot.asked, ["one"])
        self.assertEqual(session.events, [ReplyReceived(1, "", True), GoodbyeReceived(Reason.STOPPING, 1)])
        session.client.goodbye(Reason.LEAVING, 1)
        session.pump()
        self.assertTrue(session.wire.disconnecting)

    def test_cancel(self) -> None:
        """A reply can be cancelled meanwhile, which ends the session."""
        session = Session(self.factory).open()
        session.say("one")
        self.factory.stop()
        session.client.cancel(1)
        session.pump()
        self.assertEqual(session.events, [FaultReceived(1, Fault.CANCELLED), GoodbyeReceived(Reason.STOPPING, 1)])

    def test_deadline(self) -> None:
        """A reply that takes longer than `--drain` is cut off."""
        self.factory = self.make_factory(drain=20.0)
        session = Session(self.factory).open()
        session.say("x")
        stopped = self.factory.stop()
        self.clock.advance(19.9)
        session.pump()
        self.assertEqual(session.events, [])
        self.clock.advance(0.1)
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.STOPPING, 0)])
        self.assertEqual(self.robot.cancelled, 1)
        self.clock.advance(GOODBYE_TIMEOUT)
        self.assertTrue(session.wire.aborted)
        disconnect(session)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_secondSignal(self) -> None:
        """All connections can be closed at once meanwhile."""
        session = Session(self.factory).open()
        session.say("x")
        stopped = self.factory.stop()
        self.factory.abort()
        self.assertTrue(session.wire.aborted)
        disconnect(session)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_clientLeaves(self) -> None:
        """A client may leave, or break off, in the middle of the reply."""
        leaves, breaks = Session(self.factory).open(), Session(self.factory).open()
        leaves.say("x")
        breaks.say("x")
        stopped = self.factory.stop()
        leaves.client.goodbye(Reason.LEAVING, 0)
        leaves.pump()
        self.assertEqual(leaves.events, [GoodbyeReceived(Reason.LEAVING, 0)])
        disconnect(leaves)
        breaks.lose()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TrainTests(PaceTestCase):
    """With shaping, the time of GOODBYE reveals no more of a reply's length than the train does."""

    def test_train(self) -> None:
        """GOODBYE follows the last tick of the train, whenever the reply ended."""
        for text in ("", "x" * 10_000):
            self.setUp()
            session = self.open()
            session.say("x")
            self.run_until(START + 2.5 * TICK)
            self.factory.stop()
            self.robot.say(text or "y")
            self.robot.end()
            self.run_until(60)
            self.assertEqual(self.wire.record, [*grid(50), (START + 50 * TICK, FRAME)])
            session.pump()
            self.assertEqual(session.events[-1], GoodbyeReceived(Reason.STOPPING, 1))
            session.lose()
            self.doCleanups()

    def test_afterTheReply(self) -> None:
        """So it does if the reply had ended, and its train had not."""
        self.open().say("x")
        self.robot.end()
        self.run_until(START + 20.5 * TICK)
        self.factory.stop()
        self.run_until(START + 50.5 * TICK)
        self.assertEqual(self.wire.record, [*grid(50), (START + 50 * TICK, FRAME)])

    def test_idle(self) -> None:
        """Without a train, GOODBYE is sent at once."""
        self.open()
        self.factory.stop()
        self.clock.advance(0)
        self.assertEqual(self.wire.record, [(START, FRAME)])


class ConstantTests(PaceTestCase):
    """With a train that has no end, GOODBYE follows the first bucket, counted from the last message."""

    shaping = Shaping.CONSTANT

    def test_reply(self) -> None:
        """Whether the reply ended before or after the server was told to stop."""
        moments = set()
        for end in (10, 20):
            self.setUp()
            session = self.open()
            self.run_until(START + 60.5 * TICK)
            session.say("x")
            steps = {60.5 + end: self.robot.end, 75.5: self.factory.stop}
            for ticks, step in sorted(steps.items()):
                self.run_until(START + ticks * TICK)
                step()
            self.run_until(100)
            moments.add(self.wire.record[-1][0] - START)
            session.lose()
            self.doCleanups()
        self.assertEqual(len(moments), 1, moments)
        self.assertAlmostEqual(moments.pop(), 110 * TICK, delta=TICK)

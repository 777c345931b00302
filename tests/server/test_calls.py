"""API requests, which the server refuses, and recalled turns."""

import contextlib
from collections.abc import AsyncGenerator

from twisted.internet.defer import CancelledError, Deferred

from securechat.conversation import Conversation, Speaker, Turn
from securechat.errors import Fault
from securechat.wire.events import FaultReceived, ReplyReceived
from securechat.wire.messages import Chunk, RecallChunk, encode
from securechat.wire.records import RecordType
from tests.harness.robot import PuppetRobot
from tests.server.test_protocol import ServerTestCase, Session

TURNS = [Turn(Speaker.USER, "my name is Ada"), Turn(Speaker.ROBOT, "hello Ada")]


class CallTests(ServerTestCase):
    """A client that sends requests although the server takes none."""

    def make_session(self) -> Session:
        session = Session(self.factory).open()
        session.client.takes_calls = True
        return session

    def test_inTurn(self) -> None:
        """A request is refused as not allowed, after the replies before it."""
        session = self.make_session()
        session.client.say("a")
        session.client.call("models", b"")
        session.client.call("nowhere", b"nothing")
        session.client.say("b")
        session.pump()
        self.assertEqual(session.events, [])
        for _ in range(2):
            self.robot.end()
            session.pump()
        self.assertEqual(self.robot.asked, ["a", "b"])
        self.assertEqual(
            session.events,
            [
                ReplyReceived(1, "", True),
                FaultReceived(2, Fault.NOT_ALLOWED),
                FaultReceived(3, Fault.NOT_ALLOWED),
                ReplyReceived(4, "", True),
            ],
        )

    def test_places(self) -> None:
        """A request takes one of the five places; without one it is refused as one too many."""
        session = self.make_session()
        session.client.say("a")
        for _ in range(5):
            session.client.call("models", b"")
        session.client.say("b")
        session.pump()
        self.robot.end()
        session.pump()
        self.assertEqual(
            session.events[1:],
            [
                *(FaultReceived(number, Fault.NOT_ALLOWED) for number in range(2, 6)),
                *(FaultReceived(number, Fault.TOO_MANY_MESSAGES) for number in (6, 7)),
            ],
        )

    def test_rate(self) -> None:
        """Requests have a rate of their own, which messages do not use up."""
        self.factory = self.make_factory(message_burst=1, message_rate=0.001)
        session = self.make_session()
        for _ in range(50 + 1):
            session.client.call("models", b"")
            session.pump()
        session.client.say("a")
        session.pump()
        self.robot.end()
        session.pump()
        faults = [event.fault for event in session.events if isinstance(event, FaultReceived)]
        self.assertEqual(faults, [Fault.NOT_ALLOWED] * 50 + [Fault.TOO_MANY_MESSAGES])
        self.assertEqual(self.robot.asked, ["a"])

    def test_memory(self) -> None:
        """A request beyond the memory is refused as busy, and counts for the rate."""
        self.factory = self.make_factory(max_buffered=8 * 4096, max_message=4096)
        session = self.make_session()
        session.say("a" * 4000)
        for _ in range(50):
            session.client.call("models", b"x" * 100)
        session.pump()
        self.robot.end()
        session.pump()
        session.client.call("models", b"")
        session.pump()
        faults = [event.fault for event in session.events if isinstance(event, FaultReceived)]
        self.assertEqual(faults, [Fault.BUSY] * 50 + [Fault.TOO_MANY_MESSAGES])

    def test_refusalsAreBounded(self) -> None:
        """After sixty-four refusals that wait, of whatever reason, the client is not read."""
        session = self.make_session()
        for _ in range(5):
            session.client.say("a")
        for _ in range(63):
            session.client.call("models", b"")
        session.pump()
        self.assertEqual(session.wire.producerState, "producing")
        session.client.call("models", b"")
        session.pump()
        self.assertEqual(session.wire.producerState, "paused")

    def test_refusalsForMemoryAreBounded(self) -> None:
        """So it is with those for which there is no memory."""
        self.factory = self.make_factory(max_buffered=8 * 4096, max_message=4096)
        session = self.make_session()
        session.say("a" * 4096)
        for _ in range(64):
            self.assertEqual(session.wire.producerState, "producing")
            session.client.call("models", b"")
            session.pump()
        self.assertEqual(session.wire.producerState, "paused")

    def test_afterGoodbye(self) -> None:
        """A request that arrives while the server leaves is not answered."""
        session = self.make_session()
        session.client.call("models", b"")
        data = session.client.data_to_send()
        self.factory.stop()
        session.server.dataReceived(data)
        session.pump()
        self.assertEqual([event for event in session.events if isinstance(event, FaultReceived)], [])


class RecallTests(ServerTestCase):
    """A client that recalls an earlier conversation."""

    def test_replacesTheHistory(self) -> None:
        """The robot is given the recalled turns instead of those of the session, also after NEW."""
        self.robot.echo = True
        session = Session(self.factory).open()
        session.say("a")
        session.client.say("who am I?", TURNS)
        session.pump()
        session.say("b")
        session.client.start_afresh()
        session.client.say("c", TURNS)
        session.pump()
        session.client.start_afresh()
        session.say("d")
        session.client.say("e", [])
        session.pump()
        recalled = [turn.text for turn in TURNS]
        self.assertEqual(
            self.robot.turns,
            [
                ["a"],
                [*recalled, "who am I?"],
                [*recalled, "who am I?", "who am I?", "b"],
                [*recalled, "c"],
                ["d"],
                ["e"],
            ],
        )

    def test_limits(self) -> None:
        """The oldest turns that exceed the server's own limits are dropped."""
        self.factory = self.make_factory(history_turns=1)
        session = Session(self.factory).open()
        session.client.say("who am I?", TURNS)
        session.pump()
        self.assertEqual(self.robot.turns, [["hello Ada", "who am I?"]])

    def test_whateverBecomesOfTheMessage(self) -> None:
        """Turns are recalled although the message after them is refused or cancelled."""
        self.factory = self.make_factory(message_burst=1, message_rate=1)
        session = Session(self.factory).open()
        session.client.say("a")
        session.client.cancel(1)
        session.pump()
        session.client.say("b", TURNS)
        session.pump()
        self.assertEqual(session.events[-1], FaultReceived(2, Fault.TOO_MANY_MESSAGES))
        self.clock.advance(1)
        session.say("c")
        self.assertEqual(self.robot.turns[-1], [*(turn.text for turn in TURNS), "c"])

    def test_afterCancelledMessages(self) -> None:
        """Messages that were cancelled do not undo it, however long a robot takes to notice."""
        turns = []
        cleanup: Deferred[None] = Deferred()

        class Slow(PuppetRobot):
            async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
                turns.append([turn.text for turn in conversation.turns])
                yield "x"
                if len(turns) == 1:
                    with contextlib.suppress(CancelledError):
                        await Deferred()
                    await cleanup

        self.factory = self.make_factory(robot=Slow())
        session = Session(self.factory).open()
        session.client.say("a")
        session.client.start_afresh()
        session.client.say("b")
        session.client.cancel(2)
        session.client.cancel(1)
        session.pump()
        session.client.say("c", TURNS)
        session.pump()
        self.assertEqual(turns, [["a"]])
        cleanup.callback(None)
        session.pump()
        self.assertEqual(turns[1:], [[*(turn.text for turn in TURNS), "c"]])

    def test_memory(self) -> None:
        """Recalled turns count for the memory while they are remembered."""
        self.factory = self.make_factory(max_buffered=8 * 4096, max_message=4096, history_turns=4)
        quota = self.factory.message_memory.all
        self.robot.echo = True
        session = Session(self.factory).open()
        session.client.say("a", [Turn(Speaker.USER, "x" * 1000)] * 3 + [Turn(Speaker.ROBOT, "y" * 500)])
        session.pump()
        self.assertEqual(quota.taken, 1500)
        session.client.say("b")
        session.pump()
        self.assertEqual(quota.taken, 0)
        session.client.say("c", [Turn(Speaker.USER, "x" * 1000)])
        session.pump()
        self.assertEqual(quota.taken, 1000)
        session.client.say("d", [Turn(Speaker.USER, "x" * 900)])
        session.pump()
        self.assertEqual(quota.taken, 900)
        session.client.start_afresh()
        session.client.say("e")
        session.pump()
        self.assertEqual(quota.taken, 0)
        session.client.say("f", [Turn(Speaker.USER, "x" * 900)])
        session.pump()
        session.lose()
        self.assertEqual(quota.taken, 0)

    def test_time(self) -> None:
        """A RECALL has a time limit, and the message after it another of its own."""
        session = Session(self.factory).open()

        def send(kind: RecordType, payload: bytes) -> None:
            session.client._seal(kind, payload)
            session.server.dataReceived(session.client.data_to_send())

        send(RecordType.RECALL, encode(RecallChunk(False, b"\x91\x92\x00")))
        self.clock.advance(59)
        send(RecordType.RECALL, encode(RecallChunk(True, b"\xa1x")))
        self.clock.advance(59)
        send(RecordType.SAY, encode(Chunk(1, False, b"a")))
        self.clock.advance(59)
        self.assertFalse(session.wire.aborted)
        self.clock.advance(2)
        self.assertTrue(session.wire.aborted)
        self.assertLogged(r"aborted \(timeout\)")

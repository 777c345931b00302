"""The pace at which a session's records leave, on a clock that the tests drive."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from securechat.conversation import Conversation, Upstream
from securechat.errors import Fault, RobotError
from securechat.server.beat import EARLY, LEAD
from securechat.server.factory import ChatServerFactory
from securechat.server.outbox import HIGH_WATER
from securechat.ssh import keys
from securechat.wire.connection import MAX_CHUNK
from securechat.wire.events import FaultReceived, GoodbyeReceived, HostKeyReceived, ReplyReceived
from securechat.wire.messages import Reason
from securechat.wire.records import REKEY_SECONDS, RecordType
from securechat.wire.shaping import Shaping, is_bucket
from tests import EXAMPLES
from tests.harness.holding_clock import HoldingClock
from tests.harness.pair import HOST_KEY, PQ
from tests.harness.robot import PuppetRobot
from tests.server.test_protocol import ServerTestCase, Session, Wire

TICK = 0.125  # has an exact binary form, so that times can be compared
FRAME = 4 + PQ.record_size
START = 8.0
READ_SIZE = 64 * 1024  # bytes that Twisted reads from a socket at a time

# How a reply goes: pieces of text with the pauses before them, and how it ends.
Play = tuple[list[tuple[float, int]], str]


class TimedWire(Wire):
    """A transport that remembers when it was written to."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.record: list[tuple[float, int]] = []

    def write(self, data: bytes) -> None:
        super().write(data)
        self.record.append((self.clock.seconds(), len(data)))


def grid(ticks: int, start: float = START) -> list[tuple[float, int]]:
    return [(start + k * TICK, FRAME) for k in range(1, ticks + 1)]


def rounded(times: list[float]) -> list[float]:
    return [round(when, 6) for when in times]


class PaceTestCase(ServerTestCase):
    """A session whose server has a pace."""

    shaping = Shaping.REPLY

    def make_factory(self, **options: Any) -> ChatServerFactory:
        return super().make_factory(shaping=self.shaping, tick=TICK, **options)

    def open(self) -> Session:
        self.clock.advance(max(0.0, START - self.clock.seconds()))
        self.wire = TimedWire(self.clock)
        session = Session(self.factory, wire=self.wire).open()
        self.wire.record.clear()
        return session

    def run_until(self, end: float) -> None:
        """Let time pass, from one call to the next."""
        while calls := [call.getTime() for call in self.clock.getDelayedCalls() if call.getTime() <= end]:
            self.clock.advance(max(0.0, min(calls) - self.clock.seconds()))
        self.clock.advance(end - self.clock.seconds())

    def play(self, play: Play, session: Session, say: Callable[[int], None]) -> int:
        """Let the robot respond, where `say` makes it give so many characters, and wait; how many it gave."""
        pieces, ending = play
        said = 0
        for pause, size in pieces:
            self.run_until(self.clock.seconds() + pause)
            if self.robot.is_waiting:
                say(size)
                said += size
        while not self.robot.is_waiting:
            self.run_until(self.clock.seconds() + TICK)
        match ending:
            case "end":
                self.robot.end()
            case "fault":
                self.robot.fail(RobotError(Fault.BUSY, "test"))
            case "bug":
                self.robot.fail(ValueError("test"))
            case "cancel":
                session.client.cancel(1)
                session.pump()
        self.run_until(self.clock.seconds() + 400)
        session.pump()
        return said


class ReplyTests(PaceTestCase):
    """``--shaping reply``: a train for each message."""

    def test_nothingBeforeAMessage(self) -> None:
        """Nothing leaves until there is a message."""
        self.open()
        self.clock.advance(60)
        self.assertEqual(self.wire.record, [])

    def test_train(self) -> None:
        """Fifty records, one each tick, whatever the robot does; then silence."""
        session = self.open()
        session.say("x")
        self.robot.say("hello")
        self.robot.end()
        self.run_until(60)
        self.assertEqual(self.wire.record, grid(50))
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "hello", True)])

    def test_grid(self) -> None:
        """Trains begin at multiples of five milliseconds, whenever their messages come."""
        for arrival, start in ((0.0001, 0.005), (0.0049, 0.005), (0.005, 0.005), (0.0051, 0.01)):
            self.setUp()
            session = self.open()
            self.clock.advance(arrival)
            session.say("x")
            self.run_until(START + TICK + 0.02)
            [(when, _size)] = self.wire.record
            self.assertAlmostEqual(when, START + start + TICK)
            session.lose()
            self.doCleanups()

    def test_textIsNotHeldBack(self) -> None:
        """What the robot says leaves at the next tick, if there is time to seal it, while the robot goes on."""
        session = self.open()
        session.say("x")
        self.run_until(START + 10.9 * TICK)
        self.robot.say("first")
        self.run_until(START + 11 * TICK)
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "first", False)])

    def test_aRobotThatTakesLong(self) -> None:
        """The train goes on until the reply has ended, and then to the end of its bucket."""
        session = self.open()
        session.say("x")
        self.run_until(START + 60 * TICK)
        self.robot.end()
        self.run_until(100)
        self.assertEqual(self.wire.record, grid(75))
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "", True)])

    def test_aMessageWhileATrainRuns(self) -> None:
        """It is answered on that train's ticks, which then are a whole bucket's from there on."""
        session = self.open()
        session.say("one")
        self.robot.end()
        self.run_until(START + 20 * TICK)
        session.say("two")
        self.robot.say("2")
        self.robot.end()
        self.run_until(100)
        self.assertEqual(self.wire.record, grid(70))
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "", True), ReplyReceived(2, "2", True)])

    def test_cancel(self) -> None:
        """CANCEL stops the robot at once, and the train not at all."""
        session = self.open()
        session.say("x")
        self.run_until(START + 5.5 * TICK)
        session.client.cancel(1)
        session.pump()
        self.assertEqual(self.robot.cancelled, 1)
        self.run_until(100)
        self.assertEqual(self.wire.record, grid(50))
        session.pump()
        self.assertEqual(session.events, [FaultReceived(1, Fault.CANCELLED)])

    def test_cancelWhatIsOnItsWay(self) -> None:
        """A reply that is complete but not sent is stopped, too."""
        session = self.open()
        session.say("x")
        self.robot.say("y" * 5000)
        self.robot.end()
        self.run_until(START + 4.5 * TICK)
        session.pump()
        session.client.cancel(1)
        session.pump()
        self.run_until(100)
        session.pump()
        self.assertEqual(session.events[-1], FaultReceived(1, Fault.CANCELLED))
        self.assertEqual(len(session.events), 5)
        self.assertEqual(self.wire.record, grid(50))

    def test_nextHostKey(self) -> None:
        """A client that asks for the next host key gets it in the first record of the train, and no tick is added."""
        successor = keys.SigningKey.generate()
        self.factory.identity = replace(self.factory.identity, next_host_key=successor)
        session = self.open()
        session.client.ask_host_key()
        session.say("x")
        self.robot.say("hello")
        self.robot.end()
        self.run_until(START + 1.5 * TICK)
        session.pump()
        self.assertEqual(session.events, [HostKeyReceived(HOST_KEY.blob, successor.blob)])
        self.run_until(60)
        self.assertEqual(self.wire.record, grid(50))
        session.pump()
        self.assertEqual(session.events[1:], [ReplyReceived(1, "hello", True)])

    def test_nextHostKeyAfterRekey(self) -> None:
        """A REKEY that is due comes before the next host key, and takes a record as well."""
        self.factory.identity = replace(self.factory.identity, next_host_key=keys.SigningKey.generate())
        session = self.open()
        self.clock.advance(REKEY_SECONDS + 1)
        session.client.ask_host_key()
        session.say("x")
        start = self.clock.seconds()
        self.run_until(start + 1.5 * TICK)
        session.pump()
        self.assertEqual(session.events, [])
        self.run_until(start + 2.5 * TICK)
        session.pump()
        self.assertEqual([type(event) for event in session.events], [HostKeyReceived])

    def test_nextHostKeyAlone(self) -> None:
        """A client that asks without a message starts no train, and gets the key with the next reply."""
        self.factory.identity = replace(self.factory.identity, next_host_key=keys.SigningKey.generate())
        session = self.open()
        session.client._send(RecordType.HOSTKEY, b"")
        session.client._is_host_key_due = True
        session.pump()
        self.run_until(START + 20 * TICK)
        self.assertEqual(self.wire.record, [])
        session.say("x")
        self.run_until(self.clock.seconds() + 1.5 * TICK)
        session.pump()
        self.assertEqual([type(event) for event in session.events], [HostKeyReceived])

    def test_nextHostKeyAndGoodbye(self) -> None:
        """A server that ends the session before the next tick sends GOODBYE alone, and ignores a later question."""
        self.factory.identity = replace(self.factory.identity, next_host_key=keys.SigningKey.generate())
        for asks_first in (True, False):
            session = self.open()
            if asks_first:
                session.client.ask_host_key()
                session.say("x")
            session.server.leave(Reason.STOPPING)
            if not asks_first:
                session.client._send(RecordType.HOSTKEY, b"")
            session.pump()
            self.run_until(self.clock.seconds() + 60 * TICK)
            session.pump()
            self.assertEqual([type(event) for event in session.events], [GoodbyeReceived])
            self.assertNotIn("aborted (order)", "".join(self.log_lines()))

    def test_severalWait(self) -> None:
        """Messages that wait for one another share a train."""
        session = self.open()
        for text in ("one", "two", "three"):
            session.say(text)
        for _reply in range(3):
            self.run_until(self.clock.seconds() + 20 * TICK)
            self.robot.end()
        self.run_until(100)
        self.assertEqual(self.wire.record, grid(75))
        session.pump()
        self.assertEqual([event.id for event in session.events], [1, 2, 3])  # type: ignore[attr-defined]

    def test_refusedForMemory(self) -> None:
        """A message that was refused has a train, as one that is answered."""
        self.factory = self.make_factory(max_buffered=8 * 4096, max_message=4096)
        session = self.open()
        self.factory.message_memory.all.take(8 * 4096)
        session.say("x")
        self.run_until(60)
        self.assertEqual(self.wire.record, grid(50))
        session.pump()
        self.assertEqual(session.events, [FaultReceived(1, Fault.BUSY)])

    def test_messagesReadLate(self) -> None:
        """When a client that sends too much is read again, and how often, does not show in the length of its train."""
        for ticks in (3, 40):
            self.factory = self.make_factory(message_burst=1, message_rate=0.001)
            session = self.open()
            for number in range(200):
                session.client.say(str(number))
            in_socket = session.client.data_to_send()
            start = self.clock.seconds()
            for tick in range(400):
                if tick == ticks:
                    self.robot.end()
                while in_socket and session.wire.producerState == "producing":
                    session.server.dataReceived(in_socket[:READ_SIZE])
                    in_socket = in_socket[READ_SIZE:]
                    self.clock.advance(0)
                self.run_until(self.clock.seconds() + TICK)
            self.assertEqual(self.wire.record, grid(300, start))

    def test_missedTicks(self) -> None:
        """A reactor that was busy makes up for its ticks at once: the count is that of the time."""
        session = self.open()
        session.say("x")
        self.robot.end()
        self.clock.advance(10.5 * TICK)
        self.assertEqual(self.wire.record, [(START + 10.5 * TICK, FRAME)] * 10)
        self.run_until(100)
        self.assertEqual(self.wire.record[10:], grid(50)[10:])

    def test_oneRecordEachTick(self) -> None:
        """Each record leaves alone in its tick, in whatever reply of the session, REKEY included."""
        session = self.open()
        texts = []
        for number in range(12):
            session.say(f"message {number}")
            if number % 3 == 2:  # three at a time
                for earlier in range(number - 2, number + 1):
                    text = f"{earlier}" * (MAX_CHUNK + 10)
                    texts.append(text)
                    self.robot.say(text[:700])
                    self.run_until(self.clock.seconds() + 2.5 * TICK)
                    self.robot.say(text[700:])
                    self.robot.end()
                    self.clock.advance(0)
                if number % 2:
                    self.run_until(self.clock.seconds() + 60)  # until the train has ended
            if number == 8:
                session.server._connection._sealer._rekey_at = 0.0  # type: ignore[union-attr] # due now
        self.run_until(self.clock.seconds() + 100)
        self.assertEqual({size for _when, size in self.wire.record}, {FRAME})
        moments = [(when - START) / TICK for when, _size in self.wire.record]
        self.assertEqual(len(set(moments)), len(moments))
        self.assertEqual([moment % 1 for moment in moments], [self.wire.record[0][0] % TICK] * len(moments))
        session.pump()
        replies = [event for event in session.events if isinstance(event, ReplyReceived)]
        self.assertEqual("".join(event.text for event in replies), "".join(texts))

    def test_aSlowRobot(self) -> None:
        """A train begins when its message is complete; the time that the robot takes to begin does not move it."""
        clock = self.clock

        class Slow(PuppetRobot):
            async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
                clock.rightNow += 2.2 * TICK
                yield "hello"

        self.factory = self.make_factory(robot=Slow())
        session = self.open()
        session.say("x")
        self.run_until(60)
        self.assertEqual(self.wire.record[:2], [(START + 2.2 * TICK, FRAME)] * 2)  # missed
        self.assertEqual(self.wire.record[2:], grid(50)[2:])

    def test_neighbours(self) -> None:
        """Sessions whose ticks fall together are independent: one that is lost does not take the others with it."""
        sessions, wires = [], []
        for _ in range(4):
            sessions.append(self.open())
            wires.append(self.wire)
        for session in sessions:
            session.say("x")
        self.run_until(START + 9.98 * TICK)  # a record is sealed
        sessions[0].lose()
        self.run_until(START + 20.5 * TICK)  # none is
        sessions[1].lose()
        sessions[2].server.dataReceived(b"\xff" * 1000)
        self.run_until(START + 40.5 * TICK)
        self.assertEqual([len(wire.record) for wire in wires], [9, 20, 20, 40])
        self.assertEqual(wires[3].record, grid(40))

    def test_lost(self) -> None:
        """Nothing goes on when the connection is lost."""
        session = self.open()
        session.say("x")
        session.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aborted(self) -> None:
        """Nothing more is written when a client breaks the protocol."""
        session = self.open()
        session.say("x")
        session.server.dataReceived(b"garbage")
        self.run_until(100)
        self.assertTrue(self.wire.aborted)
        self.assertEqual(self.wire.record, [])

    def test_aClientThatDoesNotRead(self) -> None:
        """Its robot is not read, and the pace does not tell."""
        session = self.open()
        session.say("x")
        session.server.pauseProducing()
        self.robot.say("one")
        self.run_until(START + 20 * TICK)
        self.assertFalse(self.robot.is_waiting)
        session.server.resumeProducing()
        self.assertTrue(self.robot.is_waiting)
        self.assertEqual(self.wire.record, grid(20))

    def test_aRobotThatIsFasterThanThePace(self) -> None:
        """It is not read while more than 16 KiB wait."""
        session = self.open()
        session.say("x")
        self.robot.say("y" * 16_384)
        self.assertTrue(self.robot.is_waiting)
        self.robot.say("z")
        self.assertFalse(self.robot.is_waiting)
        self.run_until(START + TICK)
        self.assertTrue(self.robot.is_waiting)
        self.robot.end()
        self.run_until(100)
        self.assertEqual(self.wire.record, grid(50))
        session.pump()
        text = "".join(event.text for event in session.events)  # type: ignore[attr-defined]
        self.assertEqual(text, "y" * 16_384 + "z")


class HeldTests(ReplyTests):
    """The same on a precise clock: the daemon wakes up early, but each record leaves at its tick."""

    clock_type = HoldingClock

    def test_early(self) -> None:
        """The daemon does not wake up at the tick, when it would be late."""
        session = self.open()
        session.say("x")
        self.run_until(START + TICK - LEAD / 1000)
        [call] = [call for call in self.clock.getDelayedCalls() if call.getTime() < START + 2 * TICK]
        self.assertAlmostEqual(call.getTime(), START + TICK - EARLY / 1000)
        self.run_until(call.getTime())
        self.assertEqual(self.wire.record, grid(1))


class StreamRobot(PuppetRobot):
    """A robot that reads its server when it is polled."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.polls: list[float] = []
        self.arrived: list[str] = []  # texts that the server has sent
        self.upstream: Upstream | None = None

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        assert conversation.upstream is not None
        self.upstream = conversation.upstream
        self.upstream.poll = self.poll
        async with aclosing(super().reply(conversation)) as chunks:
            try:
                async for chunk in chunks:
                    yield chunk
            finally:
                self.upstream.poll = None

    def poll(self) -> None:
        self.polls.append(self.clock.seconds())
        texts, self.arrived = self.arrived, []
        for text in texts:
            if self.is_waiting:
                self.say(text)


class UpstreamTests(PaceTestCase):
    """A robot's server is read at ticks, immediately before their records are sealed."""

    def setUp(self) -> None:
        super().setUp()
        self.robot: StreamRobot = StreamRobot(self.clock)
        self.factory = self.make_factory()

    def seals(self, first: int, last: int) -> list[float]:
        """The times at which the records of ticks are sealed."""
        return [START + k * TICK - LEAD / 1000 for k in range(first, last + 1)]

    def assertPolls(self, times: list[float]) -> None:
        self.assertEqual(rounded(self.robot.polls), rounded(times))

    def test_oncePerTick(self) -> None:
        """The server is read once for each tick, and what it has sent leaves with that tick."""
        session = self.open()
        session.say("x")
        for tick in range(1, 5):
            self.run_until(START + tick * TICK - LEAD / 1000 - 0.001)
            self.robot.arrived.append(str(tick))
            self.run_until(START + tick * TICK)
            session.pump()
            self.assertEqual(session.events[-1], ReplyReceived(1, str(tick), False))
        self.assertPolls(self.seals(1, 4))

    def test_untilTheEnd(self) -> None:
        """When a reply has ended or is cancelled, its server is not read, although the train goes on."""
        session = self.open()
        for number, end in enumerate((self.robot.end, lambda: session.client.cancel(2)), 1):
            session.say("x")
            self.run_until(self.clock.seconds() + 2.5 * TICK)
            self.assertEqual(len(self.robot.polls), 2 * number)
            end()
            session.pump()
            assert self.robot.upstream is not None
            self.assertIsNone(self.robot.upstream.poll)
            self.run_until(self.clock.seconds() + 7.5 * TICK)
            self.assertEqual(len(self.robot.polls), 2 * number)

    def test_lost(self) -> None:
        """When the connection is lost, nothing is read, and no timer is left."""
        session = self.open()
        session.say("x")
        self.run_until(START + 2.5 * TICK)
        session.lose()
        assert self.robot.upstream is not None
        self.assertIsNone(self.robot.upstream.poll)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertPolls(self.seals(1, 2))

    def test_stalled(self) -> None:
        """While the client does not read, nor while text waits, the server is not read; afterwards it is."""
        session = self.open()
        session.say("x")
        self.run_until(START + 2.5 * TICK)
        session.server.pauseProducing()
        self.run_until(START + 4.5 * TICK)
        self.assertPolls(self.seals(1, 2))
        session.server.resumeProducing()
        self.run_until(START + 5.5 * TICK)
        self.robot.arrived.append("y" * (HIGH_WATER + 2 * MAX_CHUNK))
        self.run_until(START + 10.5 * TICK)
        self.assertPolls(self.seals(1, 2) + self.seals(5, 6) + self.seals(8, 10))

    def test_goodbye(self) -> None:
        """When the server leaves, the robot's is not read."""
        session = self.open()
        session.say("x")
        self.run_until(START + 1.5 * TICK)
        session.server.leave(Reason.STOPPING)
        self.run_until(START + 5 * TICK)
        self.assertPolls(self.seals(1, 1))
        self.assertEqual(self.wire.record, grid(2))

    def test_late(self) -> None:
        """For a tick that has passed, records are sealed without reading, but never twice in a row."""
        session = self.open()
        session.say("x")
        self.robot.arrived.append("one")
        self.clock.advance(4.5 * TICK)
        self.assertEqual(len(self.wire.record), 4)
        self.assertPolls([START + 4.5 * TICK] * 2)
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "one", False)])

    def test_longReads(self) -> None:
        """Reading that takes long moves neither this session's ticks nor another's, once the lead has grown."""
        sessions = [self.open() for _ in range(4)]
        wires = [session.wire for session in sessions]

        def poll() -> None:
            self.clock.rightNow += 0.008

        for session in sessions:
            session.say("x")
            assert self.robot.upstream is not None
            self.robot.upstream.poll = poll
        start = self.clock.seconds()
        self.run_until(start + 20 * TICK)
        for wire in wires:
            for k, (when, _size) in enumerate(wire.record[4:], 5):  # type: ignore[attr-defined]
                self.assertAlmostEqual(when, start + k * TICK, 6)
            for k, (when, _size) in enumerate(wire.record[:4], 1):  # type: ignore[attr-defined]
                self.assertLess(when - (start + k * TICK), 0.035)

    @settings(max_examples=EXAMPLES // 5)
    @given(st.lists(st.tuples(st.floats(0, 6 * TICK), st.integers(0, 2000)), max_size=8), st.booleans())
    def test_wheneverItSpeaks(self, pieces: list[tuple[float, int]], fails: bool) -> None:
        """When the server speaks, how much, and how it ends, does not show in when or how much is written."""
        self.setUp()
        session = self.open()
        session.say("x")
        for pause, size in pieces:
            self.run_until(self.clock.seconds() + pause)
            self.robot.arrived.append("y" * size)
        if fails:
            self.robot.fail(RobotError(Fault.BROKEN_ANSWER, "test"))
        else:
            self.robot.end()
        self.run_until(100)
        session.lose()
        self.doCleanups()
        self.assertEqual(self.wire.record, grid(len(self.wire.record)))
        self.assertIn(len(self.wire.record), (50, 75))
        self.assertLessEqual(set(rounded(self.robot.polls)), set(rounded(self.seals(1, 75))))


class WidthTests(PaceTestCase):
    """``--width``: several records at each tick."""

    def make_factory(self, **options: Any) -> ChatServerFactory:
        return super().make_factory(width=3, **options)

    def test_train(self) -> None:
        """Each tick's records leave in one write, and text fills as many of them as it needs."""
        session = self.open()
        session.say("x")
        self.robot.say("y" * 4 * MAX_CHUNK)
        self.run_until(START + TICK)
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "y" * MAX_CHUNK, False)] * 3)
        self.robot.end()
        self.run_until(100)
        self.assertEqual(self.wire.record, [(when, 3 * size) for when, size in grid(50)])
        session.pump()
        self.assertEqual(session.events[3:], [ReplyReceived(1, "y" * MAX_CHUNK, True)])

    def test_goodbye(self) -> None:
        """GOODBYE is the last record of its tick."""
        session = self.open()
        session.say("x")
        session.server.leave(Reason.STOPPING)
        self.run_until(100)
        self.assertEqual(self.wire.record, [(START + TICK, 3 * FRAME)])
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.STOPPING, 0)])


class GoodbyeTests(PaceTestCase):
    """The end takes a tick's place."""

    def test_serverLeaves(self) -> None:
        """While a train runs, GOODBYE is one of its records, and the last."""
        session = self.open()
        session.say("x")
        self.run_until(START + 3.5 * TICK)
        session.server.leave(Reason.STOPPING)
        session.server.leave(Reason.STOPPING)
        self.run_until(START + 40 * TICK)
        self.assertEqual(self.wire.record, grid(4))
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.STOPPING, 0)])

    def test_clientLeaves(self) -> None:
        """The client's GOODBYE is answered at a tick, then the connection closes."""
        session = self.open()
        session.say("x")
        self.run_until(START + 3.5 * TICK)
        session.client.goodbye(Reason.LEAVING, 0)
        session.pump()
        self.assertEqual(self.robot.cancelled, 1)
        self.assertFalse(self.wire.disconnecting)
        self.run_until(START + 4 * TICK)
        self.assertTrue(self.wire.disconnecting)
        self.assertEqual(self.wire.record, grid(4))

    def test_both(self) -> None:
        """GOODBYEs that cross, with a message between them, close the connection once both are through."""
        session = self.open()
        session.say("x")
        session.server.leave(Reason.STOPPING)
        session.client.start_afresh()
        session.client.say("y")
        session.client.goodbye(Reason.LEAVING, 0)
        session.pump()
        self.assertFalse(self.wire.disconnecting)
        self.run_until(START + TICK)
        self.assertTrue(self.wire.disconnecting)
        self.assertEqual(self.robot.asked, ["x"])
        self.assertEqual(self.wire.record, grid(1))

    def test_afterASealedRecord(self) -> None:
        """A record that is sealed already leaves at its tick, and GOODBYE at the next."""
        session = self.open()
        session.say("x")
        self.run_until(START + 3.98 * TICK)
        session.server.leave(Reason.STOPPING)
        self.run_until(START + 40 * TICK)
        self.assertEqual(self.wire.record, grid(5))
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.STOPPING, 0)])

    def test_atTheEndOfATrain(self) -> None:
        """It leaves also if the train's last record was sealed before the server left."""
        session = self.open()
        session.say("x")
        self.robot.end()
        self.run_until(START + 49.98 * TICK)
        session.server.leave(Reason.STOPPING)
        self.run_until(START + 60 * TICK)
        self.assertEqual(self.wire.record, grid(51))
        session.pump()
        self.assertEqual(session.events[-1], GoodbyeReceived(Reason.STOPPING, 1))

    def test_countsReplies(self) -> None:
        """GOODBYE has the number of the last reply that is complete, not that of the last message."""
        session = self.open()
        session.say("one")
        session.say("two")
        self.robot.end()
        self.run_until(START + 3.5 * TICK)
        session.server.leave(Reason.STOPPING)
        self.run_until(START + 40 * TICK)
        session.pump()
        self.assertEqual(session.events[-1], GoodbyeReceived(Reason.STOPPING, 1))

    def test_withoutATrain(self) -> None:
        """With no train running it leaves at once."""
        session = self.open()
        session.server.leave(Reason.STOPPING)
        self.assertEqual(self.wire.record, [(START, FRAME)])

    def test_afterARekey(self) -> None:
        """A REKEY that is due goes before it, on a tick of its own."""
        session = self.open()
        session.say("x")
        self.run_until(START + REKEY_SECONDS + 3.5 * TICK)
        session.pump()
        self.wire.record.clear()
        self.assertFalse(session.events)
        session.server._connection._sealer._rekey_at = 0.0  # type: ignore[union-attr] # due now
        session.server.leave(Reason.STOPPING)
        self.run_until(self.clock.seconds() + 10 * TICK)
        self.assertEqual(len(self.wire.record), 2)
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.STOPPING, 0)])


class ConstantTests(PaceTestCase):
    """``--shaping constant``: one train for the session."""

    shaping = Shaping.CONSTANT

    def test_always(self) -> None:
        """A record leaves each tick, said something or not, and REKEYs are among them."""
        session = self.open()
        self.run_until(START + REKEY_SECONDS / 2)
        session.say("x")
        self.robot.say("hello")
        self.robot.end()
        end = START + REKEY_SECONDS + 100
        self.run_until(end)
        self.assertEqual(self.wire.record, grid(int((end - START) / TICK)))
        session.pump()
        self.assertEqual(session.events, [ReplyReceived(1, "hello", True)])


class OffTests(PaceTestCase):
    """``--shaping off``: as it comes."""

    shaping = Shaping.OFF

    def test_atOnce(self) -> None:
        """A record leaves when there is text, and only then."""
        session = self.open()
        session.say("x")
        self.clock.advance(1)
        self.robot.say("hello")
        self.clock.advance(1)
        self.robot.end()
        self.run_until(100)
        self.assertEqual(self.wire.record, [(START + 1, FRAME), (START + 2, FRAME)])


def plays(*, longest: float, largest: int) -> st.SearchStrategy[Play]:
    """Replies that take less than so many seconds and have at most so many bytes."""
    pieces = st.lists(st.tuples(st.floats(0, longest / 8), st.integers(0, largest // 8)), max_size=7)
    return st.tuples(pieces, st.sampled_from(["end", "fault", "bug", "cancel"]))


FAULTS = {"fault": Fault.BUSY, "bug": Fault.INTERNAL, "cancel": Fault.CANCELLED}  # of the endings


class SameTests(PaceTestCase):
    """Replies of one bucket cannot be told apart by when and how much is written."""

    def writes(self, play: Play) -> list[tuple[float, int]]:
        """All that a server writes for one message whose robot does so; the client has the whole text by then."""
        self.setUp()
        session = self.open()
        session.say("x")
        said = self.play(play, session, lambda size: self.robot.say("x" * size))
        _pieces, ending = play
        texts = [event.text for event in session.events if isinstance(event, ReplyReceived)]
        heard = sum(map(len, texts))
        self.assertEqual("".join(texts), "x" * heard)
        if ending == "cancel":
            self.assertLessEqual(heard, said)
        else:
            self.assertEqual(heard, said)
        last = session.events[-1]
        if ending == "end":
            self.assertTrue(isinstance(last, ReplyReceived) and last.last)
        else:
            self.assertEqual(last, FaultReceived(1, FAULTS[ending]))
        session.lose()
        self.doCleanups()
        return self.wire.record

    @given(plays(longest=48 * TICK, largest=20_000), plays(longest=48 * TICK, largest=20_000))
    def test_pairs(self, one: Play, other: Play) -> None:
        """Any two replies that fit fifty ticks give the same writes at the same times; faults and cancels included."""
        first = self.writes(one)
        self.assertEqual(first, self.writes(other))
        self.assertEqual(first, grid(50))

    @settings(max_examples=EXAMPLES * 2 // 5)  # each is a long train
    @given(plays(longest=1500 * TICK, largest=32_000))
    def test_anyReply(self, play: Play) -> None:
        """Whatever the reply, the writes are those of a bucket."""
        writes = self.writes(play)
        self.assertEqual(writes, grid(len(writes)))
        self.assertTrue(is_bucket(len(writes)))

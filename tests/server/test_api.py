"""Sessions with ``--api``: requests in, results out."""

import gc
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast
from weakref import ref

from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface import implementer

from securechat.calls.requests import ApiCall
from securechat.conversation import Conversation
from securechat.errors import Fault, RobotError
from securechat.robots.circuit_breaker import CircuitBreaker, CircuitOpenError
from securechat.robots.fair_queue import FairQueue
from securechat.robots.guard import guard
from securechat.robots.interface import IApiRobot
from securechat.server.outbox import HIGH_WATER
from securechat.server.protocol import ChatServerFactory
from securechat.wire.connection import MAX_CHUNK
from securechat.wire.events import Admitted, FaultReceived, GoodbyeReceived, ReplyReceived, ResultReceived
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.messages import Reason
from securechat.wire.shaping import Shaping, is_bucket
from tests import EXAMPLES
from tests.calls.test_joining import content, pairs
from tests.calls.test_writer import ANY_EVENT, may_be_joined
from tests.harness.pair import USER_KEY
from tests.harness.robot import ApiPuppet, PuppetRobot
from tests.server.test_pacing import FRAME, START, TICK, PaceTestCase, Play, StreamRobot, grid, plays, rounded
from tests.server.test_protocol import Listed, ServerTestCase, Session

MANY = {
    "api": True,
    "call_burst": 10_000,
    "handshake_burst": 10_000,
    "max_sessions_per_source": 1000,
    "max_handshakes_per_source": 64,
}

STREAM = Head(200, "text/event-stream")
WHOLE = Head(200, "application/json")
DONE = ServerEvent("", b"[DONE]")

CHAT = "chat/completions"
BODY = b'{"model": "m", "messages": []}'


def event(text: str) -> ServerEvent:
    return ServerEvent("", content(text))


def heard(session: Session) -> list[Head | Piece | ServerEvent]:
    """The items of all results so far."""
    return [item for event in session.events if isinstance(event, ResultReceived) for item in event.items]


def body_of(session: Session) -> bytes:
    """The bodies of all results so far."""
    return b"".join(item.data for item in heard(session) if isinstance(item, Piece))


class ApiTestCase(ServerTestCase):
    """A factory that takes requests, with a puppet that answers them."""

    def setUp(self) -> None:
        super().setUp()
        self.robot: ApiPuppet = ApiPuppet()
        self.factory = self.make_factory()

    def make_factory(self, **options: Any) -> ChatServerFactory:
        return super().make_factory(**{**MANY, **options})

    def call(self, session: Session, path: str = CHAT, body: bytes = BODY) -> int:
        message_id = session.client.call(path, body)
        session.pump()
        return message_id


class AboutTests(ApiTestCase):
    """What clients are told."""

    def test_api(self) -> None:
        """With ``--api`` every client that is admitted may call, without it none."""
        for api in (True, False):
            self.factory = self.make_factory(api=api)
            for user_key in (None, USER_KEY):
                session = Session(self.factory, user_key=user_key)
                session.pump()
                about = session.events[-1]
                assert isinstance(about, Admitted)
                self.assertIs(about.api, api)

    def test_everyRobot(self) -> None:
        """A robot that only knows conversations answers requests, too."""
        self.factory = self.make_factory(robot=PuppetRobot(echo=True))
        session = Session(self.factory).open()
        self.call(session, body=b'{"messages": [{"role": "user", "content": "hello"}]}')
        response = json.loads(body_of(session))
        self.assertEqual((response["model"], response["choices"][0]["message"]["content"]), ("puppet", "hello"))
        self.call(session, "models", b"")
        self.call(session, "embeddings", b"{}")
        self.assertEqual([item.status for item in heard(session) if isinstance(item, Head)], [200, 200, 404])


class ResultTests(ApiTestCase):
    """Requests that are answered."""

    def test_stream(self) -> None:
        """Each item reaches the client as it comes; the log has the size of the request and nothing else."""
        session = Session(self.factory).open()
        self.call(session, body=b'{"model": "secret"}')
        for item in (STREAM, event("se"), event("cret"), DONE):
            self.robot.give(item)
            session.pump()
            self.assertEqual(heard(session)[-1], item)
        self.assertEqual([event.last for event in session.events], [False] * 4)  # type: ignore[attr-defined]
        self.robot.end()
        session.pump()
        self.assertEqual(session.events[-1], ResultReceived(1, [], True))
        self.assertLogged("^client 1: an API request of 19 bytes$")
        self.assertEqual([line for line in self.log_lines() if "secret" in line or "chat" in line], [])

    def test_whole(self) -> None:
        """Status, type, Retry-After and body of another response arrive as they are."""
        session = Session(self.factory).open()
        head = Head(429, "text/html; charset=x", 30)
        data = bytes(range(256)) * 20
        self.call(session, "models/a/b", b"")
        self.robot.give(head, Piece(data[:3000]), Piece(b""), Piece(data[3000:]))
        self.robot.end()
        session.pump()
        self.assertEqual(heard(session)[0], head)
        self.assertEqual(body_of(session), data)
        self.assertTrue(cast(ResultReceived, session.events[-1]).last)

    def test_request(self) -> None:
        """The robot gets the request as it was written, and the user's pseudonym, but not the conversation."""
        self.factory = self.make_factory(users=Listed())
        session = Session(self.factory, user_key=USER_KEY).open()
        session.say("hello")
        self.robot.end()
        session.pump()
        text = b' {"model":"m", "n": 1.50}'
        self.call(session, "responses", text)
        [(request, user_id, queue_key, upstream, _usage)] = self.robot.calls
        assert request.body is not None
        self.assertEqual((request.route.method, request.route.path), ("POST", "responses"))
        self.assertEqual(request.body.replaced({}), text)
        self.assertRegex(user_id, "^[0-9a-f]{32}$")
        self.assertEqual((queue_key, upstream), (user_id, None))

    def test_queueKeys(self) -> None:
        """Anonymous users are told apart, and those of one source share a place in the robot's queue."""
        for _ in range(2):
            self.call(Session(self.factory).open())
        one, other = self.robot.calls
        self.assertEqual(one.queue_key, other.queue_key)
        self.assertEqual(len({one.user_id, other.user_id, one.queue_key}), 3)

    def test_logsOnceASecond(self) -> None:
        """What comes within a second of the first request is logged in one line, at the end of the session at last."""
        session = Session(self.factory).open()
        for path in ("nowhere", "models/x", CHAT):
            self.call(session, path, b"{}")
        session.lose()
        self.assertEqual(
            [line for line in self.log_lines() if "API" in line],
            ["client 1: an API request of 2 bytes", "client 1: 2 API requests of 4 bytes"],
        )

    def test_noHistory(self) -> None:
        """A request neither sees nor changes the conversation, nor does it delay NEW."""
        session = Session(self.factory).open()

        def say(text: str) -> None:
            session.say(text)
            self.robot.say(text.upper())
            self.robot.end()
            session.pump()

        say("a")
        session.client.start_afresh()
        self.call(session)
        self.robot.give(WHOLE, Piece(b"x"))
        self.robot.end()
        session.pump()
        say("b")
        self.call(session)
        self.robot.give(WHOLE, Piece(b"x"))
        self.robot.end()
        say("c")
        self.assertEqual(self.robot.turns, [["a"], ["b"], ["b", "B", "c"]])

    def test_inTurn(self) -> None:
        """Messages and requests are answered one after the other."""
        session = Session(self.factory).open()
        session.client.say("a")
        session.client.call(CHAT, BODY)
        session.client.say("b")
        session.client.call("models", b"")
        session.pump()
        self.assertEqual((self.robot.asked, self.robot.calls), (["a"], []))
        self.robot.end()
        session.pump()
        self.assertEqual((self.robot.asked, len(self.robot.calls)), (["a"], 1))
        self.robot.give(WHOLE)
        self.robot.end()
        session.pump()
        self.robot.end()
        session.pump()
        self.robot.give(WHOLE)
        self.robot.end()
        session.pump()
        answers = [event for event in session.events if isinstance(event, ReplyReceived | ResultReceived)]
        self.assertEqual(
            [(type(event), event.id) for event in answers if event.last],
            [(ReplyReceived, 1), (ResultReceived, 2), (ReplyReceived, 3), (ResultReceived, 4)],
        )

    def test_memory(self) -> None:
        """A request counts for the memory until its result has ended."""
        quota = self.factory.message_memory.all
        session = Session(self.factory).open()
        for end in (self.robot.end, lambda: session.client.cancel(2), session.lose):
            self.call(session)
            self.assertGreater(quota.taken, len(BODY))
            self.robot.give(WHOLE)
            end()
            if end != session.lose:
                session.pump()
            self.assertEqual(quota.taken, 0)

    def test_idle(self) -> None:
        """A session whose request is being answered is not idle; the time counts from the end of the result."""
        self.factory = self.make_factory(idle_timeout=60.0)
        session = Session(self.factory).open()
        self.clock.advance(50)
        self.call(session, "nowhere", b"")
        self.clock.advance(50)
        self.call(session)
        self.clock.advance(50)
        self.clock.advance(50)
        self.robot.give(WHOLE)
        self.robot.end()
        session.pump()
        self.assertFalse([event for event in session.events if isinstance(event, GoodbyeReceived)])
        self.clock.advance(61)
        self.clock.advance(61)
        session.pump()
        self.assertEqual(session.events[-1], GoodbyeReceived(Reason.IDLE, 2))


class RefusalTests(ApiTestCase):
    """Requests that the robot is not asked."""

    def test_reasons(self) -> None:
        """The first reason that applies counts, and each answer comes in its turn."""
        self.robot.models = frozenset({"m"})
        self.factory = self.make_factory()
        session = Session(self.factory).open()
        requests = [
            ("nowhere", b"{"),
            ("models/../x", b"{"),
            ("models", b"{}"),
            (CHAT, b""),
            (CHAT, b"[]"),
            (CHAT, b'{"model": "m", "Model": 1}'),
            (CHAT, b'{"model": "x"}'),
            (CHAT, b"{}"),
            ("models/x", b""),
        ]
        answers: list[object] = []
        for path, body in requests:
            session.events.clear()
            self.call(session, path, body)
            last = session.events[-1]
            answers.append(last.fault if isinstance(last, FaultReceived) else cast(Head, heard(session)[0]).status)
            if not isinstance(last, FaultReceived):
                error = json.loads(body_of(session))["error"]
                self.assertEqual((error.keys(), error["type"]), ({"message", "type", "param", "code"}, error["type"]))
        self.assertEqual(answers, [Fault.NOT_FOUND] * 2 + [400] * 4 + [404] * 3)
        self.assertIn("m", json.loads(body_of(session))["error"]["message"])
        self.assertEqual(self.robot.calls, [])
        self.assertFalse(session.wire.aborted)
        self.assertEqual([line for line in self.log_lines() if line.startswith("robot")], [])

    def test_beforeTheRequestIsRead(self) -> None:
        """Memory comes before rate, and rate before what is wrong with the request."""
        self.factory = self.make_factory(call_burst=2, call_rate=0.001, max_buffered=8 * 4096, max_message=4096)
        session = Session(self.factory).open()
        self.call(session, "nowhere", b"")
        self.factory.message_memory.all.take(8 * 4096)
        for _ in range(2):
            self.call(session, "nowhere", b"")
        self.factory.message_memory.all.give_back(8 * 4096)
        self.call(session, "nowhere", b"")
        faults = [cast(FaultReceived, event).fault for event in session.events]
        self.assertEqual(faults, [Fault.NOT_FOUND, Fault.BUSY, Fault.BUSY, Fault.TOO_MANY_MESSAGES])

    def test_rates(self) -> None:
        """Requests have a rate and a burst of their own for each user or source."""
        self.factory = self.make_factory(call_burst=2, call_rate=0.5)
        session = Session(self.factory).open()
        other = Session(self.factory).open()
        for number in range(4):
            self.call(session if number % 2 else other, "nowhere", b"")
        self.clock.advance(2)
        self.call(session, "nowhere", b"")
        faults = [event.fault for event in session.events if isinstance(event, FaultReceived)]
        self.assertEqual(faults, [Fault.NOT_FOUND, Fault.TOO_MANY_MESSAGES, Fault.NOT_FOUND])

    def test_places(self) -> None:
        """Requests and messages share the five places."""
        session = Session(self.factory).open()
        for number in range(7):
            if number % 2:
                session.client.say("x")
            else:
                session.client.call(CHAT, BODY)
        session.pump()
        for number in range(5):
            if number % 2 == 0:
                self.robot.give(WHOLE)
            self.robot.end()
            session.pump()
        faults = [(event.id, event.fault) for event in session.events if isinstance(event, FaultReceived)]
        self.assertEqual(faults, [(6, Fault.TOO_MANY_MESSAGES), (7, Fault.TOO_MANY_MESSAGES)])


class CancelTests(ApiTestCase):
    """A robot stops at once when nobody waits for it."""

    def test_cancel(self) -> None:
        """CANCEL stops the robot in the same moment, and what waits of the result is dropped."""
        session = Session(self.factory).open()
        self.call(session)
        self.robot.give(STREAM, event("a"))
        session.pump()
        session.server.pauseProducing()
        session.client.cancel(1)
        session.server.dataReceived(session.client.data_to_send())
        self.assertEqual(self.robot.cancelled, 1)
        session.pump()
        self.assertEqual(session.events[-1], FaultReceived(1, Fault.CANCELLED))

    def test_cancelWhileFull(self) -> None:
        """It also does while the robot waits for the client to read."""
        session = Session(self.factory).open()
        self.call(session)
        session.server.pauseProducing()
        self.robot.give(STREAM)
        self.assertFalse(self.robot.is_waiting)
        session.client.cancel(1)
        session.server.dataReceived(session.client.data_to_send())
        self.assertEqual(self.robot.cancelled, 1)

    def test_cancelBeforeItsTurn(self) -> None:
        """A request that waits, or would be refused, is cancelled in its turn; one that has ended is not."""
        session = Session(self.factory).open()
        session.client.call(CHAT, BODY)
        session.client.call(CHAT, BODY)
        session.client.call("nowhere", b"")
        session.client.cancel(3)
        session.client.cancel(2)
        session.pump()
        self.assertEqual(session.events, [])
        self.robot.give(WHOLE)
        self.robot.end()
        session.client.cancel(1)
        session.pump()
        self.assertEqual(session.events[-2:], [FaultReceived(2, Fault.CANCELLED), FaultReceived(3, Fault.CANCELLED)])
        self.assertIn(ResultReceived(1, [WHOLE], False), session.events)
        self.assertEqual(len(self.robot.calls), 1)

    def test_endOfTheSession(self) -> None:
        """So does the end of the session, in whatever way it comes; later requests do nothing."""
        for end in ("lose", "garbage", "goodbye", "stop"):
            self.robot = ApiPuppet()
            self.factory = self.make_factory()
            session = Session(self.factory).open()
            session.client.call(CHAT, BODY)
            session.client.call(CHAT, BODY)
            session.pump()
            self.robot.give(STREAM, event("a"))
            match end:
                case "lose":
                    session.lose()
                case "garbage":
                    session.server.dataReceived(b"\xff" * 1000)
                case "goodbye":
                    session.client.goodbye(Reason.LEAVING, 0)
                    session.pump()
                case "stop":
                    session.server.leave(Reason.STOPPING)
            self.assertEqual(self.robot.cancelled, 1, end)
            self.clock.advance(1)
            self.assertEqual(len(self.robot.calls), 1, end)

    def test_shutDownGenerators(self) -> None:
        """A robot between two items is stopped, too: its generator is closed, not left behind."""
        closed: list[str] = []
        generators: list[object] = []  # so that they are not collected

        @implementer(IApiRobot)
        class Endless(PuppetRobot):
            models: frozenset[str] | None = None

            def call(self, call: ApiCall) -> AsyncGenerator[Head | Piece | ServerEvent, None]:
                generator = self._call()
                generators.append(generator)
                return generator

            async def _call(self) -> AsyncGenerator[Head | Piece | ServerEvent, None]:
                try:
                    session.server.pauseProducing()
                    while True:
                        yield STREAM
                finally:
                    closed.append("call")

        self.factory = self.make_factory(robot=Endless())
        session = Session(self.factory).open()
        self.call(session)
        self.assertEqual(closed, [])
        session.lose()
        self.assertEqual(closed, ["call"])


class Bug(Exception):  # noqa: N818 - of a robot
    """Unlike built-in exceptions, it can be referred to weakly."""


class MemoryTests(ApiTestCase):
    """What stays of a request."""

    def test_errorsAreNotKept(self) -> None:
        """An error takes no memory after it was reported, although garbage is collected much later."""
        gc.disable()
        self.addCleanup(gc.enable)
        makers: list[Callable[[], Exception]] = [lambda: RobotError(Fault.BUSY, "test"), Bug]
        for make in makers:
            for robot in (self.robot, guard(self.robot, FairQueue(1), CircuitBreaker(self.clock.seconds))):
                self.factory = self.make_factory(robot=robot)
                session = Session(self.factory).open()
                self.call(session)
                error = make()
                kept = ref(error)
                self.robot.fail(error)
                del error
                session.pump()
                self.assertEqual([type(event) for event in session.events][-1], FaultReceived)
                self.assertIsNone(kept())


class BoundTests(ApiTestCase):
    """What a robot may send, and how much of it waits."""

    def test_highWater(self) -> None:
        """A robot is not read while 16 KiB wait; the client gets all that was sent."""
        session = Session(self.factory).open()
        self.call(session)
        session.server.pauseProducing()
        self.robot.give(WHOLE)
        self.assertFalse(self.robot.is_waiting)
        session.server.resumeProducing()
        self.assertTrue(self.robot.is_waiting)
        pieces = [Piece(b"x" * HIGH_WATER), Piece(b"y")]
        self.robot.give(*pieces)
        self.robot.end()
        session.pump()
        self.assertEqual(body_of(session), b"".join(piece.data for piece in pieces))

    def fault_of(self, *items: Head | Piece | ServerEvent) -> Fault | None:
        """The fault in which a result ends, and that the next request is answered."""
        self.robot.calls.clear()
        session = Session(self.factory).open()
        self.call(session)
        for item in items:
            if self.robot.is_waiting:
                self.robot.give(item)
        if self.robot.is_waiting:
            self.robot.end()
        session.pump()
        last = session.events[-1]
        self.call(session)
        self.assertEqual(len(self.robot.calls), 2)
        self.robot.give(WHOLE)
        self.robot.end()
        session.pump()
        self.assertTrue(cast(ResultReceived, session.events[-1]).last)
        return last.fault if isinstance(last, FaultReceived) else None

    def test_maxReply(self) -> None:
        """``--max-reply`` stops the robot, in a body as in a stream."""
        self.factory = self.make_factory(max_reply=2000)
        piece = Piece(b"x" * 500)
        self.assertIsNone(self.fault_of(WHOLE, piece, piece, piece))
        self.assertEqual(self.fault_of(WHOLE, piece, piece, piece, piece, piece), Fault.TOO_LONG)
        self.assertIn("robot puppet: TOO_LONG: the reply exceeds --max-reply", self.log_lines())
        self.assertEqual(self.fault_of(STREAM, ServerEvent("", b"x" * 2000)), Fault.TOO_LONG)

    def test_maxReplyOfAStream(self) -> None:
        """Events count as they are sent: what is the same in all of them does not count each time."""
        self.factory = self.make_factory(max_reply=4000)
        self.assertIsNone(self.fault_of(STREAM, *(event(str(number)) for number in range(200))))
        self.assertEqual(self.fault_of(STREAM, *(event(str(number)) for number in range(1000))), Fault.TOO_LONG)

    def test_brokenAnswers(self) -> None:
        """A robot whose response cannot be sent is at fault, and not the session."""
        broken: list[list[Head | Piece | ServerEvent]] = [
            [],
            [Piece(b"x")],
            [event("x")],
            [WHOLE, WHOLE],
            [STREAM, STREAM],
            [WHOLE, event("x")],
            [STREAM, Piece(b"x")],
            [Head(99, "")],
            [Head(200, "é")],
            [STREAM, ServerEvent("\n", b"x")],
            [STREAM, ServerEvent("", b"\r")],
        ]
        for items in broken:
            self.assertEqual(self.fault_of(*items), Fault.BROKEN_ANSWER, items)
        self.assertIsNone(self.fault_of(WHOLE))
        self.assertIsNone(self.fault_of(STREAM))

    def test_faults(self) -> None:
        """A robot's fault ends the result, before the head or after it; a bug's text is not logged."""
        for items in ((), (STREAM,), (STREAM, event("a")), (WHOLE, Piece(b"x" * 2000))):
            for error, fault in (
                (RobotError(Fault.TIMED_OUT, "slow"), Fault.TIMED_OUT),
                (ValueError("secret"), Fault.INTERNAL),
                (CircuitOpenError(Fault.UNREACHABLE, "open"), Fault.UNREACHABLE),
            ):
                self.logged.clear()
                session = Session(self.factory).open()
                self.call(session)
                self.robot.give(*items)
                self.robot.fail(error)
                session.pump()
                self.assertEqual(session.events[-1], FaultReceived(1, fault))
                self.assertEqual(heard(session)[:1], list(items[:1]))
                lines = [line for line in self.log_lines() if line.startswith("robot")]
                self.assertEqual(len(lines), fault is not Fault.UNREACHABLE)
                self.assertFalse([line for line in lines if "secret" in line])

    def test_flippedBits(self) -> None:
        """A request with a flipped bit ends the session, and the robot is not asked."""
        session = Session(self.factory).open()
        session.client.call(CHAT, BODY)
        frame = session.client.data_to_send()[:FRAME]
        session.lose()
        for bit in range(0, len(frame) * 8, 61):
            session = Session(self.factory).open()
            session.client.call(CHAT, BODY)
            data = bytearray(session.client.data_to_send())
            data[bit // 8] ^= 0x80 >> bit % 8
            session.server.dataReceived(bytes(data))
            self.assertTrue(session.wire.aborted, bit)
            self.assertEqual(session.wire.value(), b"")
            session.lose()
        self.assertEqual(self.robot.calls, [])


class ApiPaceTestCase(PaceTestCase):
    """Requests to a server that has a pace."""

    def setUp(self) -> None:
        super().setUp()
        self.robot: ApiPuppet = ApiPuppet()
        self.factory = self.make_factory()

    def make_factory(self, **options: Any) -> ChatServerFactory:
        return super().make_factory(**{**MANY, **options})

    def call(self, session: Session) -> None:
        session.client.call(CHAT, BODY)
        session.pump()


class PaceTests(ApiPaceTestCase):
    """``--shaping reply``: a result looks like a reply."""

    def test_train(self) -> None:
        """A request has a train, whatever the robot does."""
        session = self.open()
        self.call(session)
        self.robot.give(STREAM, event("hello"), DONE)
        self.robot.end()
        self.run_until(60)
        self.assertEqual(self.wire.record, grid(50))
        session.pump()
        self.assertEqual(heard(session), [STREAM, event("hello"), DONE])

    def test_refusals(self) -> None:
        """So has a request that is refused for any reason."""
        for path, body in (("nowhere", b""), (CHAT, b"x"), ("models", b"x")):
            self.factory = self.make_factory()
            session = self.open()
            start = self.clock.seconds()
            session.client.call(path, body)
            session.pump()
            self.run_until(start + 60)
            self.assertEqual(self.wire.record, grid(50, start))
            session.lose()

    def test_firstWord(self) -> None:
        """What the robot says arrives within two ticks, whenever it does."""
        for number in range(20):
            session = self.open()
            self.call(session)
            self.run_until(self.clock.seconds() + 3 * TICK + number / 20 * TICK)
            self.robot.give(STREAM, event("first"))
            said = self.clock.seconds()
            while event("first") not in heard(session):
                self.run_until(self.clock.seconds() + TICK / 10)
                session.pump()
            self.assertLessEqual(self.clock.seconds() - said, 2 * TICK)
            session.lose()

    def test_joins(self) -> None:
        """Events that wait for a tick arrive joined, and those of which a part was sent do not change."""
        session = self.open()
        self.call(session)
        self.robot.give(STREAM, event("a"), event("b"))
        self.run_until(START + TICK)
        session.pump()
        self.robot.give(event("c"), event("d"), DONE, event("e"))
        self.run_until(START + 2 * TICK)
        session.pump()
        self.assertEqual(heard(session), [STREAM, event("ab"), event("cd"), DONE, event("e")])

    def test_cancel(self) -> None:
        """CANCEL stops the robot at once, and the train not at all."""
        session = self.open()
        self.call(session)
        self.robot.give(STREAM)
        self.run_until(START + 5.5 * TICK)
        session.client.cancel(1)
        session.pump()
        self.assertEqual(self.robot.cancelled, 1)
        self.run_until(100)
        self.assertEqual(self.wire.record, grid(50))
        session.pump()
        self.assertEqual(session.events[-1], FaultReceived(1, Fault.CANCELLED))

    def test_highWater(self) -> None:
        """The robot is not read while more than 16 KiB wait, and goes on as they leave."""
        session = self.open()
        self.call(session)
        self.robot.give(WHOLE, Piece(b"y" * (HIGH_WATER - 100)))
        self.assertTrue(self.robot.is_waiting)
        self.robot.give(Piece(b"z" * 200))
        self.assertFalse(self.robot.is_waiting)
        self.run_until(START + TICK)
        self.assertTrue(self.robot.is_waiting)
        self.robot.end()
        self.run_until(100)
        session.pump()
        self.assertEqual(body_of(session), b"y" * (HIGH_WATER - 100) + b"z" * 200)
        self.assertEqual(self.wire.record, grid(50))

    def test_fullRecords(self) -> None:
        """A long body fills its records: no more of them than its bytes need, and a hundredth."""
        session = self.open()
        self.call(session)
        self.robot.give(WHOLE, Piece(b"y" * 10_000))
        self.robot.end()
        self.run_until(100)
        session.pump()
        records = [event for event in session.events if isinstance(event, ResultReceived)]
        self.assertLessEqual(len(records), 10_200 / MAX_CHUNK + 1)

    def test_rekey(self) -> None:
        """A REKEY takes a record's place within a result."""
        session = self.open()
        self.call(session)
        self.robot.give(WHOLE, Piece(b"y" * 5000))
        self.robot.end()
        self.run_until(START + 3 * TICK)
        session.server._connection._sealer._rekey_at = 0.0  # type: ignore[union-attr] # due now
        self.run_until(100)
        session.pump()
        self.assertEqual(body_of(session), b"y" * 5000)
        self.assertEqual(self.wire.record, grid(50))


class ConstantTests(ApiPaceTestCase):
    """``--shaping constant``: requests change nothing."""

    shaping = Shaping.CONSTANT

    def test_always(self) -> None:
        """A record leaves each tick."""
        session = self.open()
        self.run_until(START + 10 * TICK)
        self.call(session)
        self.robot.give(STREAM, event("a"))
        self.run_until(START + 20 * TICK)
        self.robot.end()
        self.run_until(START + 100 * TICK)
        self.assertEqual(self.wire.record, grid(100))
        session.pump()
        self.assertEqual(heard(session), [STREAM, event("a")])


class WidthTests(ApiPaceTestCase):
    """``--width``: several records at each tick."""

    def test_train(self) -> None:
        """A body fills all records of a tick."""
        self.factory = self.make_factory(width=4)
        session = self.open()
        self.call(session)
        self.robot.give(WHOLE, Piece(b"y" * 10 * MAX_CHUNK))
        self.run_until(START + TICK)
        session.pump()
        self.assertGreater(len(body_of(session)), 4 * MAX_CHUNK - 100)
        self.robot.end()
        self.run_until(100)
        self.assertEqual(self.wire.record, [(when, 4 * size) for when, size in grid(50)])


@implementer(IApiRobot)
class ApiStreamRobot(StreamRobot):
    """A robot that reads the response to a request when it is polled."""

    models: frozenset[str] | None = None

    async def call(self, call: ApiCall) -> AsyncGenerator[Head | Piece | ServerEvent, None]:
        yield STREAM
        conversation = Conversation(call.user_id, [], call.queue_key, call.upstream)
        conversation.turns.append(cast(Any, call))
        assert call.upstream is not None
        self.upstream = call.upstream
        self.upstream.poll = self.poll
        try:
            while (text := await self._wait()) is not None:
                yield event(text)
        finally:
            self.upstream.poll = None


class UpstreamTests(ApiPaceTestCase):
    """The server of a robot is read at ticks for results as for replies."""

    def test_oncePerTick(self) -> None:
        """It is read once for each tick until the result has ended, and what came leaves joined with that tick."""
        robot = ApiStreamRobot(self.clock)
        self.factory = self.make_factory(robot=robot)
        session = self.open()
        self.call(session)
        for tick in range(1, 5):
            self.run_until(START + (tick - 0.5) * TICK)
            robot.arrived += [str(tick), "x"]
            self.run_until(START + tick * TICK)
            session.pump()
            self.assertEqual(heard(session)[-1], event(f"{tick}x"))
        self.assertEqual(len(robot.polls), 4)
        robot.end()
        self.run_until(100)
        self.assertEqual(len(set(rounded(robot.polls))), 4)
        self.assertEqual(self.wire.record, grid(50))


class SameTests(ApiPaceTestCase):
    """Results of one bucket cannot be told apart from one another, nor from replies."""

    def writes(self, play: Play, kind: str) -> list[tuple[float, int]]:
        """All that a server writes for one message; the client has the whole answer by then."""
        self.setUp()
        session = self.open()
        if kind == "reply":
            session.say("x")
        else:
            self.call(session)
            self.robot.give(STREAM if kind == "stream" else WHOLE)
        pieces, ending = play
        said = 0
        for pause, size in pieces:
            self.run_until(self.clock.seconds() + pause)
            if self.robot.is_waiting:
                said += size
                match kind:
                    case "reply":
                        self.robot.say("Q" * size)
                    case "stream":
                        self.robot.give(event("Q" * size))
                    case "body":
                        self.robot.give(Piece(b"Q" * size))
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
        if kind != "reply" and ending != "cancel":
            datas = [item.data for item in heard(session)[1:] if not isinstance(item, Head)]
            self.assertEqual(sum(data.count(b"Q") for data in datas), said)
        session.lose()
        self.doCleanups()
        return self.wire.record

    @settings(max_examples=max(10, EXAMPLES // 2))
    @given(plays(longest=48 * TICK, largest=16_000), plays(longest=48 * TICK, largest=16_000))
    def test_pairs(self, one: Play, other: Play) -> None:
        """A reply, a stream and a body that fit fifty ticks give the same writes at the same times."""
        self.assertEqual(self.writes(one, "reply"), grid(50))
        self.assertEqual(self.writes(other, "stream"), grid(50))
        self.assertEqual(self.writes(other, "body"), grid(50))

    @settings(max_examples=max(5, EXAMPLES // 5))
    @given(plays(longest=1500 * TICK, largest=32_000), st.sampled_from(["stream", "body"]))
    def test_anyResult(self, play: Play, kind: str) -> None:
        """Whatever the result, the writes are those of a bucket."""
        writes = self.writes(play, kind)
        self.assertEqual(writes, grid(len(writes)))
        self.assertTrue(is_bucket(len(writes)))


PAUSES = st.sampled_from([0.0, 0.0, 0.0, TICK / 3, TICK, 5 * TICK])


class ExactTests(ApiPaceTestCase):
    """What a client's door gets is what the robot's server sent, whatever the chunks and the times."""

    def exchange(self, head: Head, items: list[Any], data: st.DataObject) -> list[Any]:
        """The items that a client gets after the head."""
        self.shaping = data.draw(st.sampled_from(list(Shaping)))
        self.setUp()
        self.factory = self.make_factory(width=data.draw(st.sampled_from([1, 3])))
        session = self.open()
        self.call(session)
        self.robot.give(head)
        for item in items:
            while not self.robot.is_waiting:
                self.run_until(self.clock.seconds() + TICK)
            self.robot.give(item)
            if pause := data.draw(PAUSES):
                self.run_until(self.clock.seconds() + pause)
            if data.draw(st.booleans()):
                session.pump()
        while not self.robot.is_waiting:
            self.run_until(self.clock.seconds() + TICK)
        self.robot.end()
        for _ in range(400):
            self.run_until(self.clock.seconds() + TICK)
            session.pump()
        received = heard(session)
        self.assertEqual(received[0], head)
        self.assertTrue(cast(ResultReceived, session.events[-1]).last)
        session.lose()
        self.doCleanups()
        return received[1:]

    @settings(max_examples=max(10, EXAMPLES // 4))
    @given(st.lists(ANY_EVENT, max_size=10), st.data())
    def test_events(self, events: list[tuple[str, bytes]], data: st.DataObject) -> None:
        """Any events arrive byte for byte, unless the specification allows them to be joined."""
        sent = [ServerEvent(*event) for event in events]
        self.assertTrue(may_be_joined(sent, self.exchange(STREAM, sent, data)))

    @settings(max_examples=max(10, EXAMPLES // 4))
    @given(st.lists(pairs(), max_size=5), st.data())
    def test_completions(self, two: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
        """Those of completions arrive as JSON with the strings concatenated."""
        sent = [ServerEvent("", event) for pair in two for event in pair]
        self.assertTrue(may_be_joined(sent, self.exchange(STREAM, sent, data)))

    @settings(max_examples=max(10, EXAMPLES // 4))
    @given(st.lists(st.binary(max_size=1500), max_size=10), st.data())
    def test_bodies(self, parts: list[bytes], data: st.DataObject) -> None:
        """Bodies arrive byte for byte."""
        received = self.exchange(WHOLE, [Piece(part) for part in parts], data)
        self.assertEqual(b"".join(piece.data for piece in received), b"".join(parts))

"""A robot behind a queue and a circuit breaker."""

from contextlib import aclosing
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from securechat.calls.paths import Route
from securechat.calls.requests import ApiCall, Request
from securechat.errors import Fault, RobotError
from securechat.robots.circuit_breaker import CircuitBreaker
from securechat.robots.fair_queue import FairQueue
from securechat.robots.fallback import FallbackRobot
from securechat.robots.guard import GuardedRobot, guard
from securechat.robots.interface import IApiRobot, IRobot
from securechat.wire.items import Head, Piece, ServerEvent
from tests.harness.robot import ApiPuppet, EndlessRobot, Listener, ListenerTestCase, PuppetRobot, conversation


class GuardTests(ListenerTestCase):
    """A robot behind a queue and a circuit breaker."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.puppet = PuppetRobot()
        self.robot = GuardedRobot(
            cast(IRobot, self.puppet), FairQueue(1), CircuitBreaker(self.clock.seconds, jitter=lambda: 0.0)
        )

    def test_isARobot(self) -> None:
        """It has the interface and the name of a robot, and closes the one behind it."""
        verifyObject(IRobot, self.robot)
        self.assertEqual(self.robot.name, "puppet")
        self.successResultOf(self.robot.close())
        self.assertEqual(self.puppet.closed, 1)

    def test_passesOn(self) -> None:
        """Chunks are passed on as they arrive."""
        listener = Listener(self.robot)
        self.puppet.say("a")
        self.assertEqual(listener.heard, ["a"])
        self.puppet.end()
        self.successResultOf(listener.done)

    def test_waitsForSlot(self) -> None:
        """With one slot, the second user's message is sent after the reply to the first."""
        first, second = Listener(self.robot, "ann"), Listener(self.robot, "bob")
        self.assertEqual(len(self.puppet.asked), 1)
        self.puppet.end()
        self.successResultOf(first.done)
        self.assertEqual(len(self.puppet.asked), 2)
        self.puppet.say("b")
        self.assertEqual(second.heard, ["b"])
        self.abandon(second)

    def test_aRobotThatIsDown(self) -> None:
        """A robot that is down is tried once; other requests, also those in the queue, fail at once."""
        first, second = Listener(self.robot, "ann"), Listener(self.robot, "bob")
        self.puppet.fail(RobotError(Fault.UNREACHABLE, "refused"))
        self.assertEqual([self.fault_of(listener) for listener in (first, second)], [Fault.UNREACHABLE] * 2)
        self.assertEqual(len(self.puppet.asked), 1)
        self.clock.advance(1)
        third = Listener(self.robot)
        self.puppet.end()
        self.successResultOf(third.done)

    def test_manyWait(self) -> None:
        """However many requests wait for a robot that is down, each fails, and the slot is free."""
        listeners = [Listener(self.robot, str(number)) for number in range(2000)]
        self.puppet.fail(RobotError(Fault.UNREACHABLE, "refused"))
        self.assertEqual({self.fault_of(listener) for listener in listeners}, {Fault.UNREACHABLE})
        self.clock.advance(1)
        last = Listener(self.robot)
        self.puppet.end()
        self.successResultOf(last.done)

    def test_queueKey(self) -> None:
        """Users with the same queue key take turns with others as if they were one."""
        listeners = [Listener(self.robot, "ann")]
        for user, key in (("bob", "network"), ("cy", "network"), ("dan", "another")):
            listeners.append(Listener(self.robot, user, queue_key=key))
        ann, bob, cy, dan = listeners
        for listener in (ann, bob, dan, cy):
            self.assertNoResult(listener.done)
            self.puppet.end()
            self.successResultOf(listener.done)

    def test_cancel(self) -> None:
        """A request that is cancelled stops the robot and does not count as a failure."""
        first, second = Listener(self.robot, "ann"), Listener(self.robot, "bob")
        self.abandon(first)
        self.assertEqual((self.puppet.cancelled, len(self.puppet.asked)), (1, 2))
        self.abandon(second)

    def fail_once(self) -> None:
        """Open the circuit, and wait until a request may test the robot."""
        listener = Listener(self.robot)
        self.puppet.fail(RobotError(Fault.UNREACHABLE, "refused"))
        self.fault_of(listener)
        self.clock.advance(100)
        self.puppet.asked.clear()

    def test_testIsCancelled(self) -> None:
        """If the request that tests a robot is cancelled, or its reply is not read on, the next one tests it."""
        self.fail_once()
        self.abandon(Listener(self.robot, text="cancelled"))

        async def read_one() -> None:
            async with aclosing(self.robot.reply(conversation(text="not read on"))) as chunks:
                async for _chunk in chunks:
                    break

        self.fail_once()
        reading = Deferred.fromCoroutine(read_one())
        self.puppet.say("a")
        self.successResultOf(reading)
        self.fail_once()
        last = Listener(self.robot, text="last")
        self.puppet.end()
        self.successResultOf(last.done)
        self.assertEqual(self.puppet.asked, ["last"])

    def test_testSucceeds(self) -> None:
        """Others are asked again from the first chunk of the reply to the request that tests the robot."""
        self.robot = GuardedRobot(
            cast(IRobot, self.puppet), FairQueue(2), CircuitBreaker(self.clock.seconds, jitter=lambda: 0.0)
        )
        self.fail_once()
        test = Listener(self.robot, "ann")
        early = Listener(self.robot, "bob")
        self.assertEqual(self.fault_of(early), Fault.UNREACHABLE)
        self.puppet.say("a")
        self.assertEqual(len(self.puppet.asked), 1)
        second = Listener(self.robot, "bob")
        self.assertEqual(len(self.puppet.asked), 2)
        self.abandon(second)
        self.abandon(test)

    def test_emptyReply(self) -> None:
        """A reply without text is an answer, too."""
        self.fail_once()
        for _ in range(3):
            listener = Listener(self.robot)
            self.puppet.end()
            self.successResultOf(listener.done)
        self.assertEqual(len(self.puppet.asked), 3)

    def test_closesAtOnce(self) -> None:
        """A robot whose reply is not read on is closed at once, also behind a fallback."""
        endless: Any = EndlessRobot()
        guarded = cast(IRobot, GuardedRobot(endless, FairQueue(1), CircuitBreaker(self.clock.seconds)))

        async def read_one(robot: IRobot) -> None:
            async with aclosing(robot.reply(conversation())) as chunks:
                async for _chunk in chunks:
                    break

        for robot in (guarded, guarded, cast(IRobot, FallbackRobot([endless])), endless):
            endless.stopped.clear()
            self.successResultOf(Deferred.fromCoroutine(read_one(robot)))
            self.assertEqual(endless.stopped, ["x"])

    def test_slotsAreGivenBackOnce(self) -> None:
        """However a request ends, its slot is free after it, and only its slot."""
        for end in (
            lambda listener: self.puppet.end(),
            lambda listener: self.puppet.fail(RobotError(Fault.REFUSED, "test")),
            lambda listener: self.puppet.fail(KeyError("bug")),
            lambda listener: (self.puppet.say("a"), self.puppet.end()),  # type: ignore[func-returns-value]
            lambda listener: listener.done.cancel(),
        ):
            self.puppet.asked.clear()
            listener = Listener(self.robot, "ann")
            end(listener)
            listener.done.addErrback(lambda _failure: None)
            one, other = Listener(self.robot, "bob"), Listener(self.robot, "cy")
            self.assertEqual(len(self.puppet.asked), 2)
            self.abandon(other)
            self.abandon(one)

    def test_aBug(self) -> None:
        """Any exception of a robot is a fault, without the exception's text."""
        listener = Listener(self.robot)
        self.puppet.fail(KeyError("secret"))
        failure = self.failureResultOf(listener.done, RobotError)
        self.assertNotIn("secret", str(failure.value))


class ApiTests(ListenerTestCase):
    """A robot that answers API requests, behind a queue and a circuit breaker."""

    def setUp(self) -> None:
        self.puppet = ApiPuppet(models=frozenset({"m"}))
        clock = Clock()
        self.robot = cast(
            IApiRobot,
            guard(cast(IApiRobot, self.puppet), FairQueue(1), CircuitBreaker(clock.seconds, jitter=lambda: 0.0)),
        )
        self.found: list[object] = []

    def call(self, user: str = "ann", queue_key: str = "") -> Deferred[None]:
        async def read() -> None:
            request = Request(Route("GET", "models", None), None)
            async with aclosing(self.robot.call(ApiCall(request, user, queue_key, None))) as items:
                async for item in items:
                    self.found.append(item)

        return Deferred.fromCoroutine(read())

    def test_interface(self) -> None:
        """It has the interface, and the models, of the robot behind it; one without calls does not have it."""
        verifyObject(IApiRobot, self.robot)
        self.assertEqual(self.robot.models, {"m"})
        other = guard(cast(IRobot, PuppetRobot()), FairQueue(1), CircuitBreaker(lambda: 0.0))
        verifyObject(IRobot, other)
        self.assertFalse(IApiRobot.providedBy(other))
        self.assertFalse(hasattr(other, "call"))

    def test_passesOn(self) -> None:
        """The parts of a response are passed on as they arrive."""
        done = self.call()
        items: list[Head | Piece | ServerEvent] = [Head(503, "text/plain"), Piece(b"a")]
        self.puppet.give(*items)
        self.assertEqual(self.found, items)
        self.puppet.end()
        self.successResultOf(done)

    def test_queue(self) -> None:
        """Requests and conversations take turns, by their queue keys."""
        first, second, third = self.call("ann"), self.call("bob", "net"), self.call("cy", "net")
        other = Listener(self.robot, "dan")
        for done in (first, second, other.done):
            self.assertNoResult(done)
            self.puppet.end()
            self.successResultOf(done)
        self.assertEqual((len(self.puppet.calls), self.puppet.asked), (3, ["x"]))
        third.cancel()
        self.failureResultOf(third, CancelledError)
        self.assertEqual(self.puppet.cancelled, 1)

    def test_breaker(self) -> None:
        """A response with an error is an answer; a fault opens the circuit, also for conversations."""
        for _ in range(5):
            done = self.call()
            self.puppet.give(Head(503, "text/plain", 60))
            self.puppet.end()
            self.successResultOf(done)
        done = self.call()
        self.puppet.fail(RobotError(Fault.UNREACHABLE, "refused"))
        self.failureResultOf(done, RobotError)
        self.failureResultOf(self.call(), RobotError)
        self.assertEqual(self.fault_of(Listener(self.robot)), Fault.UNREACHABLE)
        self.assertEqual(len(self.puppet.calls), 6)

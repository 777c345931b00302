"""Robots that stand for one another, breakers, and places at a robot."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, cast

from msgspec import Meta
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from securechat.conversation import Conversation, Notice, Speaker, Turn
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.robots import registry
from securechat.robots.circuit_breaker import LONGEST_PAUSE, CircuitBreaker, CircuitOpenError
from securechat.robots.fair_queue import FairQueue
from securechat.robots.fallback import FallbackRobot
from securechat.robots.guard import GuardedRobot
from securechat.robots.interface import IRobot, IRobotMaker
from securechat.robots.registry import make_robots
from securechat.robots.settings import MaxConcurrent
from securechat.settings import Settings
from tests.harness.robot import PuppetRobot


def conversation(user: str = "ann", text: str = "x", queue_key: str = "") -> Conversation:
    return Conversation(user, [Turn(Speaker.USER, text)], queue_key)


class Listener:
    """Someone who asks a robot. `heard` is what came; `done` fires when there is no more."""

    def __init__(self, robot: object, user: str = "ann", text: str = "x", *, queue_key: str = "") -> None:
        self.heard: list[str] = []
        chunks = cast(IRobot, robot).reply(conversation(user, text, queue_key))
        self.done = Deferred.fromCoroutine(self._listen(chunks))

    async def _listen(self, chunks: AsyncGenerator[str, None]) -> None:
        async with aclosing(chunks):
            async for chunk in chunks:
                self.heard.append(chunk)


class ListenerTestCase(SynchronousTestCase):
    def fault_of(self, listener: Listener) -> Fault:
        return cast(RobotError, self.failureResultOf(listener.done, RobotError).value).fault

    def abandon(self, listener: Listener) -> None:
        listener.done.cancel()
        self.failureResultOf(listener.done, CancelledError)


class PlacesTests(ListenerTestCase):
    """So many at once, the others in turn."""

    def setUp(self) -> None:
        self.places = FairQueue(2)
        self.leaving: dict[str, Deferred[None]] = {}
        self.inside: list[str] = []

    def take(self, user: str) -> "Deferred[None]":
        async def stay() -> None:
            async with self.places.take(user):
                self.inside.append(user)
                self.leaving[user] = Deferred()
                await self.leaving[user]
            self.inside.remove(user)

        return Deferred.fromCoroutine(stay())

    def test_bounded(self) -> None:
        """The third waits until one of the first two leaves."""
        for user in ("ann", "bob", "cy"):
            self.take(user)
        self.assertEqual(self.inside, ["ann", "bob"])
        self.leaving["ann"].callback(None)
        self.assertEqual(self.inside, ["cy", "bob"][::-1])

    def test_fair(self) -> None:
        """A user waits for one question at a time, so that nobody waits behind all of somebody's."""
        self.take("ann")
        self.take("ann")
        waiting = self.take("ann")
        busy = self.take("ann")
        self.assertEqual(cast(RobotError, self.failureResultOf(busy, RobotError).value).fault, Fault.BUSY)
        self.take("bob")
        self.leaving["ann"].callback(None)
        self.assertNoResult(waiting)
        self.leaving["ann"].callback(None)
        self.assertIn("bob", self.inside)

    def test_givenUp(self) -> None:
        """Who does not want to wait any more leaves no gap."""
        for user in ("ann", "bob"):
            self.take(user)
        waiting = self.take("cy")
        self.take("dan")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.leaving["ann"].callback(None)
        self.leaving["bob"].callback(None)
        self.assertEqual(self.inside, ["dan"])
        self.take("eve")
        self.take("cy")
        self.assertEqual(self.inside, ["dan", "eve"])

    def test_givenUpInside(self) -> None:
        """A question that is cancelled gives its place to the next."""
        first = self.take("ann")
        self.take("bob")
        self.take("cy")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertIn("cy", self.inside)


class BreakerTests(SynchronousTestCase):
    """When a robot is left alone, and for how long."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.breaker = CircuitBreaker(self.clock.seconds, jitter=lambda: 0.0)

    def fail(self, fault: Fault = Fault.UNREACHABLE, retry_after: float | None = None) -> None:  # type: ignore[override]
        self.breaker.enter()
        self.breaker.failed(RobotError(fault, "test", retry_after))

    def assertOpen(self, seconds: float) -> None:
        """It lets nobody through for so long, and then one."""
        self.clock.advance(seconds - 0.01)
        error = self.assertRaises(CircuitOpenError, self.breaker.enter)
        assert isinstance(error, CircuitOpenError)
        self.assertAlmostEqual(error.retry_after or 0.0, 0.01)
        self.clock.advance(0.02)
        self.breaker.enter()
        self.assertRaises(CircuitOpenError, self.breaker.enter)

    def test_unreachable(self) -> None:
        """One failure to connect is enough for a second's pause; each further doubles it, up to a minute."""
        self.fail()
        for pause in (1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE):
            self.assertOpen(pause)
            self.breaker.failed(RobotError(Fault.UNREACHABLE, "test"))
        self.assertOpen(LONGEST_PAUSE)
        self.breaker.answered()
        self.fail()
        self.assertOpen(1)

    def test_keepsTheFault(self) -> None:
        """Who is not let through hears why."""
        self.fail(Fault.BUSY, 100)
        error = self.assertRaises(CircuitOpenError, self.breaker.enter)
        assert isinstance(error, CircuitOpenError)
        self.assertEqual(error.fault, Fault.BUSY)

    def test_quota(self) -> None:
        """A robot that says when to come back is left alone for that long."""
        self.fail(Fault.BUSY, 7 * 60 * 60)
        self.assertOpen(7 * 60 * 60)

    def test_inARow(self) -> None:
        """A broken answer or two say nothing; the third in a row does."""
        for fault in (Fault.BROKEN_ANSWER, Fault.TIMED_OUT):
            self.fail(fault)
        self.breaker.answered()
        for fault in (Fault.BROKEN_ANSWER, Fault.TIMED_OUT, Fault.INTERNAL):
            self.fail(fault)
        self.assertOpen(1)

    def test_refusal(self) -> None:
        """A robot that refuses is alive."""
        for _time in range(10):
            self.fail(Fault.REFUSED)
        self.breaker.enter()

    def test_theOneThatFindsOut(self) -> None:
        """After the pause a failure of any kind opens it again; a user who leaves lets the next one find out."""
        self.fail()
        self.clock.advance(1)
        self.breaker.enter()
        self.breaker.abandoned()
        self.breaker.enter()
        self.breaker.failed(RobotError(Fault.TIMED_OUT, "test"))
        self.assertOpen(2)

    def test_failuresAtOnce(self) -> None:
        """Many that were asked before it opened count once."""
        for _time in range(10):
            self.breaker.enter()
        for _time in range(10):
            self.breaker.failed(RobotError(Fault.UNREACHABLE, "test"))
        self.assertOpen(1)

    def test_jitter(self) -> None:
        """Pauses differ."""
        self.breaker = CircuitBreaker(self.clock.seconds, jitter=lambda: 1.0)
        self.fail()
        self.assertOpen(1.2)


class GuardTests(ListenerTestCase):
    """A robot behind its places and its breaker."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.puppet = PuppetRobot()
        self.robot = GuardedRobot(
            cast(IRobot, self.puppet), FairQueue(1), CircuitBreaker(self.clock.seconds, jitter=lambda: 0.0)
        )

    def test_isARobot(self) -> None:
        """It is one to whoever asks."""
        verifyObject(IRobot, self.robot)
        self.assertEqual(self.robot.name, "puppet")
        self.successResultOf(self.robot.close())
        self.assertEqual(self.puppet.closed, 1)

    def test_passesOn(self) -> None:
        """What the robot says is heard as it comes."""
        listener = Listener(self.robot)
        self.puppet.say("a")
        self.assertEqual(listener.heard, ["a"])
        self.puppet.end()
        self.successResultOf(listener.done)

    def test_waitsForItsPlace(self) -> None:
        """The second user's question is asked when the first has its answer."""
        first, second = Listener(self.robot, "ann"), Listener(self.robot, "bob")
        self.assertEqual(len(self.puppet.asked), 1)
        self.puppet.end()
        self.successResultOf(first.done)
        self.assertEqual(len(self.puppet.asked), 2)
        self.puppet.say("b")
        self.assertEqual(second.heard, ["b"])
        self.abandon(second)

    def test_aRobotThatIsDown(self) -> None:
        """It costs one user an attempt; the others hear at once, also those that waited for it."""
        first, second = Listener(self.robot, "ann"), Listener(self.robot, "bob")
        self.puppet.fail(RobotError(Fault.UNREACHABLE, "refused"))
        self.assertEqual([self.fault_of(listener) for listener in (first, second)], [Fault.UNREACHABLE] * 2)
        self.assertEqual(len(self.puppet.asked), 1)
        self.clock.advance(1)
        third = Listener(self.robot)
        self.puppet.end()
        self.successResultOf(third.done)

    def test_manyWait(self) -> None:
        """However many users wait for a robot that is down, each hears of it, and the robot's place is free."""
        listeners = [Listener(self.robot, str(number)) for number in range(2000)]
        self.puppet.fail(RobotError(Fault.UNREACHABLE, "refused"))
        self.assertEqual({self.fault_of(listener) for listener in listeners}, {Fault.UNREACHABLE})
        self.clock.advance(1)
        last = Listener(self.robot)
        self.puppet.end()
        self.successResultOf(last.done)

    def test_sharedPlace(self) -> None:
        """Users whose conversations have the same queue key share one place to wait in."""
        first = Listener(self.robot, "ann")
        waiting, busy = (Listener(self.robot, user, queue_key="network") for user in ("bob", "cy"))
        other = Listener(self.robot, "dan", queue_key="another")
        self.assertEqual(self.fault_of(busy), Fault.BUSY)
        self.puppet.end()
        self.successResultOf(first.done)
        self.puppet.end()
        self.successResultOf(waiting.done)
        self.puppet.end()
        self.successResultOf(other.done)

    def test_cancel(self) -> None:
        """A question that is cancelled stops the robot, and says nothing about it."""
        first, second = Listener(self.robot, "ann"), Listener(self.robot, "bob")
        self.abandon(first)
        self.assertEqual((self.puppet.cancelled, len(self.puppet.asked)), (1, 2))
        self.abandon(second)

    def test_aBug(self) -> None:
        """Whatever a robot raises is a fault."""
        listener = Listener(self.robot)
        self.puppet.fail(KeyError("secret"))
        failure = self.failureResultOf(listener.done, RobotError)
        self.assertNotIn("secret", str(failure.value))


class FarSettings(Settings, frozen=True):
    """Those of a robot with a key, which is asked a few questions at once."""

    key_file: Annotated[str | None, Meta(description="key")] = None
    max_concurrent: MaxConcurrent = 4
    url: Annotated[str, Meta(description="address")] = ""


@implementer(IRobotMaker)
class PuppetMaker:
    """Makes puppets, and tells what they were made of."""

    summary = ""

    def __init__(self, name: str, settings: type[Settings]) -> None:
        self.name = name
        self.settings = settings
        self.made: list[tuple[Settings, str | None]] = []

    def makeRobot(self, reactor: object, settings: Settings, key: str | None) -> IRobot:
        self.made.append((settings, key))
        robot = PuppetRobot()
        robot.name = self.name
        return cast(IRobot, robot)


class AssemblyTests(SynchronousTestCase):
    """From what an operator writes to the one robot that is asked."""

    def setUp(self) -> None:
        self.near = PuppetMaker("near", Settings)
        self.far = PuppetMaker("far-one", FarSettings)
        self.patch(registry, "BUILT_IN", {maker.name: maker for maker in (self.near, self.far)})

    def test_one(self) -> None:
        """One robot stands alone, and its key may have the short name or the long."""
        for variable in ("SECURECHAT_ROBOT_KEY", "SECURECHAT_FAR_ONE_KEY"):
            robot = make_robots(None, [("far-one", ["url=x"])], {variable: "secret"})
            self.assertIsInstance(robot, GuardedRobot)
        self.assertEqual(self.far.made, [(FarSettings(url="x"), "secret")] * 2)

    def test_several(self) -> None:
        """Each has its own options, and no key but its own: they are asked by other people."""
        environ = {"SECURECHAT_ROBOT_KEY": "whose?"}
        robot = make_robots(None, [("far-one", []), ("near", [])], environ)
        self.assertIsInstance(robot, FallbackRobot)
        self.assertEqual(self.far.made, [(FarSettings(), None)])
        make_robots(None, [("far-one", []), ("near", [])], {**environ, "SECURECHAT_FAR_ONE_KEY": "mine"})
        self.assertEqual(self.far.made[-1], (FarSettings(), "mine"))
        self.assertEqual(self.near.made, [(Settings(), None)] * 2)

    def test_places(self) -> None:
        """A robot that wants a limit has one; the operator says which."""
        self.assertIsInstance(make_robots(None, [("near", [])], {}), PuppetRobot)
        robot = make_robots(None, [("far-one", ["max-concurrent=1"])], {})
        listeners = [Listener(robot, user) for user in ("ann", "bob")]
        self.assertEqual([listener.done.called for listener in listeners], [False, False])
        for wrong in ("0", "x", "-1", "1e9"):
            error = self.assertRaises(
                ConfigurationError, make_robots, None, [("far-one", [f"max-concurrent={wrong}"])], {}
            )
            self.assertIn("max-concurrent", str(error))
        for listener in listeners:
            listener.done.cancel()
            self.failureResultOf(listener.done, CancelledError)


class ChainTests(ListenerTestCase):
    """The next answers when the one before cannot."""

    def setUp(self) -> None:
        self.robots = [PuppetRobot(), PuppetRobot(), PuppetRobot()]
        for robot, name in zip(self.robots, ("turing", "ollama", "eliza"), strict=True):
            robot.name = name
        self.chain = FallbackRobot(cast(list[IRobot], self.robots))

    def test_isARobot(self) -> None:
        """It is one to whoever asks, by the first one's name, and closes them all."""
        verifyObject(IRobot, self.chain)
        self.assertEqual(self.chain.name, "turing")
        self.successResultOf(self.chain.close())
        self.assertEqual([robot.closed for robot in self.robots], [1, 1, 1])

    def test_first(self) -> None:
        """While the first answers nobody else is asked."""
        listener = Listener(self.chain)
        self.robots[0].say("a", "b")
        self.robots[0].end()
        self.successResultOf(listener.done)
        self.assertEqual(listener.heard, ["a", "b"])
        self.assertEqual([len(robot.asked) for robot in self.robots], [1, 0, 0])

    def test_next(self) -> None:
        """The user is told who answers, and why."""
        listener = Listener(self.chain)
        self.robots[0].fail(RobotError(Fault.BUSY, "test"))
        self.robots[1].fail(KeyError("bug"))
        self.assertEqual(listener.heard, [])
        self.robots[2].say("hello")
        self.robots[2].end()
        self.successResultOf(listener.done)
        self.assertEqual(
            listener.heard,
            ["[turing is busy, or its quota is used up; ollama is broken; eliza answers]\n", "hello"],
        )

    def test_noAnswer(self) -> None:
        """A robot that only says why it does not answer gives way to the next; the last one is heard."""
        listener = Listener(self.chain)
        self.robots[0].say(Notice("I found nothing."))
        self.robots[0].end()
        self.robots[1].say(Notice("a moment"), "hello", Notice("the end"))
        self.robots[1].end()
        self.successResultOf(listener.done)
        self.assertEqual(listener.heard, ["[turing has no answer; ollama answers]\n", "a moment", "hello", "the end"])
        listener = Listener(self.chain)
        for robot in self.robots:
            robot.say(Notice("nothing"))
            robot.end()
        self.successResultOf(listener.done)
        self.assertEqual(listener.heard, ["nothing"])

    def test_tooLate(self) -> None:
        """A reply that has begun is nobody else's."""
        listener = Listener(self.chain)
        self.robots[0].say("half")
        self.robots[0].fail(RobotError(Fault.BROKEN_ANSWER, "cut"))
        self.assertEqual(self.fault_of(listener), Fault.BROKEN_ANSWER)
        self.assertEqual(self.robots[1].asked, [])

    def test_last(self) -> None:
        """When nobody can, the last one's fault is the user's."""
        listener = Listener(self.chain)
        for robot, fault in zip(self.robots, (Fault.BUSY, Fault.TIMED_OUT, Fault.UNREACHABLE), strict=True):
            robot.fail(RobotError(fault, "test"))
        self.assertEqual(self.fault_of(listener), Fault.UNREACHABLE)

    def test_cancel(self) -> None:
        """A question that is cancelled is not passed on."""
        listener = Listener(self.chain)
        self.abandon(listener)
        self.assertEqual([robot.cancelled for robot in self.robots], [1, 0, 0])
        self.assertEqual(self.robots[1].asked, [])

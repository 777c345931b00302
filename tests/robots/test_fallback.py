"""Robots that stand for one another, breakers, and places at a robot."""

from collections.abc import Mapping
from typing import cast

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from securechat.conversation import Notice
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.robots import registry
from securechat.robots.fallback import FallbackRobot
from securechat.robots.guard import GuardedRobot
from securechat.robots.interface import IRobot, IRobotMaker, Option
from securechat.robots.registry import make_robots
from tests.harness.robot import Listener, ListenerTestCase, PuppetRobot


@implementer(IRobotMaker)
class PuppetMaker:
    """Makes puppets, and tells what they were made of."""

    summary = ""

    def __init__(self, name: str, *options: Option) -> None:
        self.name = name
        self.options = options
        self.made: list[tuple[dict[str, str], str | None]] = []

    def makeRobot(self, reactor: object, options: Mapping[str, str], key: str | None) -> IRobot:
        self.made.append((dict(options), key))
        robot = PuppetRobot()
        robot.name = self.name
        return cast(IRobot, robot)


class AssemblyTests(SynchronousTestCase):
    """From what an operator writes to the one robot that is asked."""

    def setUp(self) -> None:
        self.near = PuppetMaker("near")
        self.far = PuppetMaker("far-one", Option("key-file", ""), Option("max-concurrent", "", "4"), Option("url", ""))
        self.patch(registry, "BUILT_IN", {maker.name: maker for maker in (self.near, self.far)})

    def test_one(self) -> None:
        """One robot stands alone, and its key may have the short name or the long."""
        for variable in ("SECURECHAT_ROBOT_KEY", "SECURECHAT_FAR_ONE_KEY"):
            robot = make_robots(None, [("far-one", ["url=x"])], {variable: "secret"})
            self.assertIsInstance(robot, GuardedRobot)
        self.assertEqual(self.far.made, [({"url": "x"}, "secret")] * 2)

    def test_several(self) -> None:
        """Each has its own options, and no key but its own: they are asked by other people."""
        environ = {"SECURECHAT_ROBOT_KEY": "whose?"}
        robot = make_robots(None, [("far-one", []), ("near", [])], environ)
        self.assertIsInstance(robot, FallbackRobot)
        self.assertEqual(self.far.made, [({}, None)])
        make_robots(None, [("far-one", []), ("near", [])], {**environ, "SECURECHAT_FAR_ONE_KEY": "mine"})
        self.assertEqual(self.far.made[-1], ({}, "mine"))
        self.assertEqual(self.near.made, [({}, None)] * 2)

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

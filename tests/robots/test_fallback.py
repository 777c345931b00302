"""Several robots as one, and how they are created from options."""

from typing import Annotated, Any, cast

from msgspec import Meta
from twisted.internet.defer import CancelledError
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from securechat.conversation import Notice
from securechat.errors import ConfigurationError, Fault, RobotError
from securechat.robots import registry
from securechat.robots.circuit_breaker import CircuitOpenError
from securechat.robots.fallback import FallbackRobot
from securechat.robots.guard import GuardedRobot
from securechat.robots.interface import IRobot, IRobotMaker
from securechat.robots.registry import make_robots
from securechat.robots.settings import MaxConcurrent
from securechat.settings import Settings
from tests.harness.robot import Listener, ListenerTestCase, PuppetRobot


class FarSettings(Settings, frozen=True):
    """Those of a robot with a key, which is asked a few questions at once."""

    key_file: Annotated[str | None, Meta(description="key")] = None
    max_concurrent: MaxConcurrent = 4
    url: Annotated[str, Meta(description="address")] = ""


@implementer(IRobotMaker)
class PuppetMaker:
    """Creates puppets, and records the options and keys it was given."""

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
    """From the operator's options to the robot that is asked."""

    def setUp(self) -> None:
        self.near = PuppetMaker("near", Settings)
        self.far = PuppetMaker("far-one", FarSettings)
        self.patch(registry, "BUILT_IN", {maker.name: maker for maker in (self.near, self.far)})

    def test_one(self) -> None:
        """A single robot needs no fallback; its key can be in the variable with or without its name."""
        for variable in ("SECURECHAT_ROBOT_KEY", "SECURECHAT_FAR_ONE_KEY"):
            robot = make_robots(None, [("far-one", ["url=x"])], {variable: " secret\n"})
            self.assertIsInstance(robot, GuardedRobot)
        self.assertEqual(self.far.made, [(FarSettings(url="x"), "secret")] * 2)
        make_robots(None, [("far-one", [])], {"SECURECHAT_ROBOT_KEY": "shared", "SECURECHAT_FAR_ONE_KEY": "own"})
        self.assertEqual(self.far.made[-1], (FarSettings(), "own"))

    def test_several(self) -> None:
        """Each of several robots has its own options, and only the key in the variable with its name."""
        environ = {"SECURECHAT_ROBOT_KEY": "whose?"}
        robot = make_robots(None, [("far-one", []), ("near", [])], environ)
        self.assertIsInstance(robot, FallbackRobot)
        self.assertEqual(self.far.made, [(FarSettings(), None)])
        make_robots(None, [("far-one", []), ("near", [])], {**environ, "SECURECHAT_FAR_ONE_KEY": "mine"})
        self.assertEqual(self.far.made[-1], (FarSettings(), "mine"))
        self.assertEqual(self.near.made, [(Settings(), None)] * 2)

    def test_maxConcurrent(self) -> None:
        """A robot with the option max-concurrent is guarded, and other robots are not."""
        self.assertIsInstance(make_robots(None, [("near", [])], {}), PuppetRobot)
        robot = make_robots(None, [("far-one", ["max-concurrent=1"])], {})
        listeners = [Listener(robot, user) for user in ("ann", "bob")]
        self.assertEqual([listener.done.called for listener in listeners], [False, False])
        for options, number in (["max-concurrent=1"], 1), (["max-concurrent=3"], 3), ([], 4):
            robot = make_robots(None, [("far-one", options)], {})
            puppet = cast(PuppetRobot, cast(GuardedRobot, robot)._robot)
            more = [Listener(robot, str(user)) for user in range(6)]
            self.assertEqual(len(puppet.asked), number)
            listeners += reversed(more)  # the last in the queue first
        for wrong in ("0", "x", "-1", "1e9"):
            error = self.assertRaises(
                ConfigurationError, make_robots, None, [("far-one", [f"max-concurrent={wrong}"])], {}
            )
            self.assertIn("max-concurrent", str(error))
        for listener in listeners:
            listener.done.cancel()
            self.failureResultOf(listener.done, CancelledError)


class FallbackTests(ListenerTestCase):
    """If a robot cannot answer, the next one does."""

    def setUp(self) -> None:
        self.robots = [PuppetRobot(), PuppetRobot(), PuppetRobot()]
        for robot, name in zip(self.robots, ("turing", "ollama", "eliza"), strict=True):
            robot.name = name
        self.robot = FallbackRobot(cast(list[IRobot], self.robots))

    def test_isARobot(self) -> None:
        """It has the interface of a robot and the name of the first one, and closes all of them."""
        verifyObject(IRobot, self.robot)
        self.assertEqual(self.robot.name, "turing")
        self.successResultOf(self.robot.close())
        self.assertEqual([robot.closed for robot in self.robots], [1, 1, 1])

    def test_first(self) -> None:
        """If the first robot answers, the others are not asked."""
        listener = Listener(self.robot)
        self.robots[0].say("a", "b")
        self.robots[0].end()
        self.successResultOf(listener.done)
        self.assertEqual(listener.heard, ["a", "b"])
        self.assertEqual([len(robot.asked) for robot in self.robots], [1, 0, 0])

    def test_next(self) -> None:
        """The user is told which robot answers, and why."""
        listener = Listener(self.robot)
        self.robots[0].fail(RobotError(Fault.BUSY, "test"))
        self.robots[1].fail(KeyError("bug"))
        self.assertEqual(listener.heard, [])
        self.robots[2].say("hello")
        self.robots[2].end()
        self.successResultOf(listener.done)
        self.assertEqual(
            listener.heard,
            ["[turing is busy or over its quota; ollama failed; eliza answers instead]\n", "hello"],
        )

    def test_noAnswer(self) -> None:
        """If a robot sends notices only, the next one is asked; the notices of the last one are shown."""
        listener = Listener(self.robot)
        self.robots[0].say(Notice("I found nothing."))
        self.robots[0].end()
        self.robots[1].say(Notice("a moment"), "hello", Notice("the end"))
        self.robots[1].end()
        self.successResultOf(listener.done)
        self.assertEqual(
            listener.heard, ["[turing has no answer; ollama answers instead]\n", "a moment", "hello", "the end"]
        )
        listener = Listener(self.robot)
        for robot in self.robots:
            robot.say(Notice("nothing"))
            robot.end()
        self.successResultOf(listener.done)
        self.assertEqual(listener.heard, ["nothing"])

    def test_tooLate(self) -> None:
        """After a reply has begun, no other robot is asked."""
        listener = Listener(self.robot)
        self.robots[0].say("half")
        self.robots[0].fail(RobotError(Fault.BROKEN_ANSWER, "cut"))
        self.assertEqual(self.fault_of(listener), Fault.BROKEN_ANSWER)
        self.assertEqual(self.robots[1].asked, [])

    def test_last(self) -> None:
        """If no robot can answer, the user is shown the fault of the last one."""
        listener = Listener(self.robot)
        for robot, fault in zip(self.robots, (Fault.BUSY, Fault.TIMED_OUT, Fault.UNREACHABLE), strict=True):
            robot.fail(RobotError(fault, "test"))
        self.assertEqual(self.fault_of(listener), Fault.UNREACHABLE)

    def test_reasons(self) -> None:
        """The user is told why the first robot did not answer."""
        for fault, reason in (
            (Fault.UNREACHABLE, "turing cannot be reached"),
            (Fault.TIMED_OUT, "turing took too long"),
            (Fault.BUSY, "turing is busy or over its quota"),
            (Fault.REFUSED, "turing refused to answer"),
            (Fault.TOO_LONG, "the message is too long for turing"),
            (Fault.BROKEN_ANSWER, "turing failed"),
            (Fault.INTERNAL, "turing failed"),
        ):
            listener = Listener(self.robot)
            self.robots[0].fail(RobotError(fault, "test"))
            self.robots[1].say("hello")
            self.robots[1].end()
            self.successResultOf(listener.done)
            self.assertEqual(listener.heard, [f"[{reason}; ollama answers instead]\n", "hello"])
            self.assertEqual([type(chunk) for chunk in listener.heard], [Notice, str])  # the reason is not remembered

    def test_log(self) -> None:
        """A robot that fails is logged with its fault, unless its circuit is open: that failure was logged before."""
        logged: list[Any] = []
        observer = cast(Any, logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for error in (
            RobotError(Fault.UNREACHABLE, "connection refused"),
            CircuitOpenError(Fault.UNREACHABLE, "connection refused", 1.0),
        ):
            listener = Listener(self.robot)
            self.robots[0].fail(error)
            self.robots[1].end()
            self.robots[2].end()
            self.successResultOf(listener.done)
        [event] = [event for event in logged if event.get("log_format")]
        self.assertEqual(event["log_format"].format(**event), "robot turing: UNREACHABLE: connection refused")
        self.assertIs(event["log_level"], LogLevel.warn)

    def test_cancel(self) -> None:
        """A request that is cancelled is not passed on."""
        listener = Listener(self.robot)
        self.abandon(listener)
        self.assertEqual([robot.cancelled for robot in self.robots], [1, 0, 0])
        self.assertEqual(self.robots[1].asked, [])

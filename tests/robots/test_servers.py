"""Several servers as one robot, each of them a puppet."""

from contextlib import aclosing
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from securechat.calls.paths import Route
from securechat.calls.requests import ApiCall, Request
from securechat.errors import Fault, RobotError
from securechat.robots.circuit_breaker import CircuitOpenError
from securechat.robots.counters import counters_of
from securechat.robots.errors import UnansweredError
from securechat.robots.interface import IApiRobot
from securechat.robots.server_choice import Candidate, choose
from securechat.robots.servers import as_one
from securechat.wire.items import Head, Item, Piece
from tests.harness.logs import logged_lines
from tests.harness.robot import ApiPuppet, Listener, ListenerTestCase

DOWN = RobotError(Fault.UNREACHABLE, "connection refused")
LOST = UnansweredError(Fault.BROKEN_ANSWER, "ResponseNeverReceived")
LIMIT = 2


class ServersTestCase(ListenerTestCase):
    """Three servers, of which `first` is the user ann's, `second` her next, and `third` the last."""

    def setUp(self) -> None:
        self.logged = logged_lines(self)
        self.clock = Clock()
        self.start("a:1", "b:1", "c:1")

    def start(self, *names: str) -> None:
        self.puppets = {name: ApiPuppet(models=frozenset({"m"})) for name in names}
        for name, puppet in self.puppets.items():
            puppet.name = name
        robots = [cast(IApiRobot, puppet) for puppet in self.puppets.values()]
        self.robot = as_one("openai", robots, LIMIT, self.clock.seconds)
        left = [Candidate(name, True, 0) for name in names]
        self.order: list[ApiPuppet] = []
        while left:
            chosen = choose("ann", left, LIMIT)
            left.remove(chosen)
            self.order.append(self.puppets[chosen.name])
        self.first, self.second = self.order[:2]

    def assertAnswers(self, puppet: ApiPuppet, listener: Listener | None = None) -> None:
        """A puppet is the one that is asked, and its answer is the reply."""
        listener = listener or Listener(self.robot)
        puppet.say("hello")
        puppet.end()
        self.successResultOf(listener.done)
        self.assertEqual(listener.heard, ["hello"])


class ReplyTests(ServersTestCase):
    """Conversations."""

    def test_interface(self) -> None:
        """It is a robot with the models of its servers, and closes all of them."""
        verifyObject(IApiRobot, self.robot)
        self.assertEqual((self.robot.name, self.robot.models), ("openai", {"m"}))
        self.successResultOf(self.robot.close())
        self.assertEqual([puppet.closed for puppet in self.order], [1, 1, 1])

    def test_stays(self) -> None:
        """A conversation stays with one server."""
        for _ in range(3):
            self.assertAnswers(self.first)
        self.assertEqual(self.logged, [])

    def test_down(self) -> None:
        """A question that cannot be sent goes to the next server at once, and further ones go there directly."""
        listener = Listener(self.robot)
        self.first.fail(DOWN)
        self.assertAnswers(self.second, listener)
        self.assertEqual(
            self.logged, [f"robot openai: {self.first.name}: UNREACHABLE: connection refused; asking another server"]
        )
        self.assertAnswers(self.second)
        self.assertEqual(len(self.first.asked), 1)

    def test_comesBack(self) -> None:
        """After a pause one question tests a server that was down; others go there again from its first word on."""
        listener = Listener(self.robot)
        self.first.fail(DOWN)
        self.assertAnswers(self.second, listener)
        self.clock.advance(2)
        test = Listener(self.robot)
        self.assertAnswers(self.second)
        self.assertEqual((len(self.first.asked), len(self.second.asked)), (2, 2))
        self.logged.clear()
        self.first.say("hel", "lo")
        self.assertEqual(self.logged, [f"robot openai: {self.first.name} answers again"])
        self.first.end()
        self.successResultOf(test.done)
        self.assertAnswers(self.first)
        self.assertEqual(len(self.logged), 1)

    def test_begun(self) -> None:
        """A fault ends a reply that has begun; the operator learns of which server."""
        listener = Listener(self.robot)
        self.first.say("hel")
        self.first.fail(DOWN)
        error = self.failureResultOf(listener.done, RobotError).value
        self.assertEqual((listener.heard, str(error)), (["hel"], f"{self.first.name}: connection refused"))
        self.assertEqual(self.second.asked, [])
        self.assertEqual(self.logged, [])

    def test_allDown(self) -> None:
        """If no server can be reached the last failure is the reply, and then none is asked for a while."""
        listener = Listener(self.robot)
        for puppet in self.order:
            puppet.fail(DOWN)
        error = self.failureResultOf(listener.done, RobotError).value
        self.assertEqual(str(error), f"{self.order[-1].name}: connection refused")
        self.assertEqual(len(self.logged), 2)
        [counters] = counters_of(self.robot)
        self.assertTrue(counters.breaker.is_open)
        error = self.failureResultOf(Listener(self.robot).done, CircuitOpenError).value
        self.assertEqual(error.fault, Fault.UNREACHABLE)
        self.assertEqual([len(puppet.asked) for puppet in self.order], [1, 1, 1])
        self.assertEqual(counters.outcomes, {"unreachable": 1, "circuit-open": 1})
        self.clock.advance(2)
        self.assertAnswers(self.first)

    def test_lost(self) -> None:
        """A question whose connection is lost unanswered is asked once more: it may be what makes servers crash."""
        listener = Listener(self.robot)
        self.first.fail(LOST)
        self.assertAnswers(self.second, listener)
        listener = Listener(self.robot)
        self.first.fail(LOST)
        self.second.fail(LOST)
        self.assertEqual(self.fault_of(listener), Fault.BROKEN_ANSWER)
        self.assertEqual(self.order[2].asked, [])

    def test_faults(self) -> None:
        """A server that is busy is passed over; other faults are its answer."""
        for fault in Fault:
            self.start("a:1", "b:1", "c:1")
            listener = Listener(self.robot)
            self.first.fail(RobotError(fault, "test", 7.0))
            if fault in (Fault.UNREACHABLE, Fault.BUSY):
                self.assertAnswers(self.second, listener)
                continue
            error = self.failureResultOf(listener.done, RobotError).value
            self.assertEqual((error.fault, error.retry_after), (fault, 7.0))
            self.assertEqual(self.second.asked, [])

    def test_bug(self) -> None:
        """An unexpected exception of a server's robot is a fault of this question."""
        listener = Listener(self.robot)
        self.first.fail(KeyError("secret"))
        error = self.failureResultOf(listener.done, RobotError).value
        self.assertEqual(error.fault, Fault.INTERNAL)
        self.assertNotIn("secret", str(error))

    def test_cancel(self) -> None:
        """A question that is cancelled stops its server, and is not asked again."""
        self.abandon(Listener(self.robot))
        self.assertEqual((self.first.cancelled, self.second.asked), (1, []))
        self.assertAnswers(self.first)

    def test_load(self) -> None:
        """No server gets more than its limit; the other questions wait for the first one that is free."""
        listeners = [Listener(self.robot, f"user {number}") for number in range(3 * LIMIT + 2)]
        self.assertEqual([len(puppet.asked) for puppet in self.order], [LIMIT] * 3)
        [counters] = counters_of(self.robot)
        self.assertEqual((counters.queue.active, counters.queue.waiting), (3 * LIMIT, 2))
        self.assertEqual([server.queue.waiting for server in counters.servers], [0, 0, 0])
        self.second.end()
        self.assertEqual([len(puppet.asked) for puppet in self.order], [LIMIT, LIMIT + 1, LIMIT])
        for listener in listeners:
            if not listener.done.called:
                self.abandon(listener)

    def test_loadWhileDown(self) -> None:
        """While servers are down the others still get no more than their limit."""
        self.start("a:1", "b:1")
        self.assertAnswers(self.first)
        listener = Listener(self.robot)
        self.first.fail(DOWN)
        listeners = [listener, *(Listener(self.robot, f"user {number}") for number in range(4))]
        self.assertEqual(len(self.second.asked), LIMIT)
        self.second.end()
        self.assertEqual(len(self.second.asked), LIMIT + 1)
        for listener in listeners:
            if not listener.done.called:
                self.abandon(listener)
        self.assertAnswers(self.second)

    def test_failsWhileWaiting(self) -> None:
        """A question that waits for a server which fails meanwhile goes to another one that may be asked."""
        self.start("a:1", "b:1")
        one = Listener(self.robot)
        self.first.fail(DOWN)
        two, waiting = Listener(self.robot, "bob"), Listener(self.robot, "cy")
        self.assertEqual((len(self.first.asked), len(self.second.asked)), (1, LIMIT))
        self.clock.advance(2)
        self.second.fail(RobotError(Fault.TIMED_OUT, "x", retry_after=60))
        self.assertEqual(self.fault_of(two), Fault.TIMED_OUT)
        self.assertAnswers(self.first, waiting)
        self.assertEqual(len([line for line in self.logged if "asking another" in line]), 1)
        self.abandon(one)


class CallTests(ServersTestCase):
    """API requests."""

    def call(self) -> Deferred[list[object]]:
        async def read() -> list[object]:
            request = Request(Route("GET", "models", None), None)
            async with aclosing(self.robot.call(ApiCall(request, "ann", "", None))) as items:
                return [item async for item in items]

        return Deferred.fromCoroutine(read())

    def test_answer(self) -> None:
        """The response of the server of the user's conversations is passed on, also one with an error."""
        for status in (200, 400, 404, 500):
            done = self.call()
            items: list[Item] = [Head(status, "text/plain"), Piece(b"a")]
            self.first.give(*items)
            self.first.end()
            self.assertEqual(self.successResultOf(done), items)

    def test_down(self) -> None:
        """A request that cannot be sent goes to the next server."""
        done = self.call()
        self.first.fail(DOWN)
        self.second.give(Head(200, "text/plain"))
        self.second.end()
        self.assertEqual(self.successResultOf(done), [Head(200, "text/plain")])

    def test_busy(self) -> None:
        """So does one that a server has no time for; if none has, the response of the last one is passed on."""
        items: list[Item] = [Head(503, "text/plain"), Piece(b"loading")]
        done = self.call()
        self.first.give(*items)
        self.first.end()
        self.second.give(Head(429, "text/plain"))
        self.second.end()
        self.order[2].give(*items)
        self.order[2].end()
        self.assertEqual(self.successResultOf(done), items)
        self.assertEqual(
            self.logged,
            [
                f"robot openai: {puppet.name}: BUSY: HTTP status {status}; asking another server"
                for puppet, status in ((self.first, 503), (self.second, 429))
            ],
        )
        [counters] = counters_of(self.robot)
        self.assertEqual([dict(server.outcomes) for server in counters.servers], [{"ok": 1}] * 3)

    def test_begun(self) -> None:
        """A response that has begun is not asked for again."""
        done = self.call()
        self.first.give(Head(200, "text/plain"))
        self.first.fail(LOST)
        self.failureResultOf(done, RobotError)
        self.assertEqual(self.second.calls, [])

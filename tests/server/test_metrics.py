"""The metrics, read from a server with clients in memory."""

from collections.abc import AsyncGenerator
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from securechat.conversation import Conversation
from securechat.errors import Fault, RobotError
from securechat.robots.circuit_breaker import CircuitBreaker
from securechat.robots.fair_queue import FairQueue
from securechat.robots.fallback import FallbackRobot
from securechat.robots.guard import GuardedRobot
from securechat.server import counters
from securechat.server.factory import ChatServerFactory
from securechat.server.metrics import registry_of
from securechat.server.metrics_site import MAX_AGE, MAX_CONNECTIONS, MetricsSite, Pages
from securechat.wire.shaping import Shaping
from tests.harness.pair import PQ, USER_KEY
from tests.harness.robot import PuppetRobot
from tests.server.test_protocol import Listed, ServerTestCase, Session

SUITE = PQ.name.decode()


class Channel(StringTransport):
    """The transport of a reader of the metrics."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class MetricsTestCase(ServerTestCase):
    """A server whose metrics are read over HTTP."""

    def setUp(self) -> None:
        super().setUp()
        self.serve(self.factory)

    def serve(self, factory: ChatServerFactory) -> None:
        self.factory = factory
        self.site = MetricsSite(Pages(registry_of(factory), lambda: not factory.is_stopping, self.clock), self.clock)

    def get(self, request: bytes) -> tuple[str, str]:
        """The response to a request: its head and its body."""
        channel = self.site.buildProtocol(None)
        assert channel is not None
        self.channel = Channel()
        channel.makeConnection(self.channel)
        channel.dataReceived(request)
        head, _, body = self.channel.value().decode().partition("\r\n\r\n")
        channel.connectionLost(Failure(ConnectionDone()))
        return head, body

    def metrics(self) -> dict[str, float]:
        """The samples, by ``name{label=value,…}``."""
        self.clock.advance(MAX_AGE)
        head, body = self.get(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn("200 OK", head)
        samples: dict[str, float] = {}
        for family in text_string_to_metric_families(body):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                key = f"{sample.name}{{{labels}}}" if labels else sample.name
                self.assertNotIn(key, samples)
                samples[key.removeprefix("securechat_")] = sample.value
        return samples

    def assertMetrics(self, **expected: float) -> None:
        """Samples without labels, by name."""
        metrics = self.metrics()
        self.assertEqual({name: metrics[name] for name in expected}, expected)


class MetricsTests(MetricsTestCase):
    """What is counted."""

    def test_handshakes(self) -> None:
        """Handshakes count by suite and outcome, aborted ones also by category, and sessions as long as they last."""
        Session(self.factory).open()
        cut = Session(self.factory)
        cut.lose()
        metrics = self.metrics()
        self.assertEqual(metrics[f"handshakes_total{{outcome=admitted,suite={SUITE}}}"], 1)
        self.assertEqual(metrics["handshakes_total{outcome=failed,suite=none}"], 1)
        self.assertEqual(metrics["aborts_total{category=cut}"], 1)
        self.assertEqual((metrics["sessions"], metrics["handshakes_in_progress"]), (1, 0))
        waiting = Session(self.factory)
        self.clock.advance(self.factory.settings.hello_timeout)
        self.assertTrue(waiting.wire.aborted)
        self.assertEqual(self.metrics()["aborts_total{category=timeout}"], 1)
        self.assertMetrics(handshakes_in_progress=1)  # its connection is not lost yet

    def test_refusedConnections(self) -> None:
        """So do connections that were closed because of a limit."""
        self.serve(self.make_factory(max_handshakes_per_source=1))
        Session(self.factory)
        self.assertRaises(AssertionError, Session, self.factory)
        self.assertMetrics(connections_refused_total=1, handshakes_in_progress=1)

    def test_replies(self) -> None:
        """Messages count when they arrive, and replies when they have been sent, by outcome."""
        session = Session(self.factory).open()
        session.say("hello")
        self.robot.say("hi")
        self.assertMetrics(messages_total=1, messages_waiting=1, messages_buffered_bytes=5)
        self.robot.end()
        session.say("again")
        self.robot.fail(RobotError(Fault.TIMED_OUT, "x"))
        session.pump()
        metrics = self.metrics()
        self.assertEqual(metrics["replies_total{outcome=ok,to=message}"], 1)
        self.assertEqual(metrics["replies_total{outcome=timed-out,to=message}"], 1)
        self.assertEqual(metrics["replies_total{outcome=ok,to=call}"], 0)
        self.assertMetrics(messages_total=2, messages_waiting=0, messages_buffered_bytes=0)

    def test_calls(self) -> None:
        """API requests count by themselves, also those that are refused."""
        self.serve(self.make_factory(api=True))
        session = Session(self.factory).open()
        session.client.call("nonsense", b"")
        session.pump()
        self.assertMetrics(messages_total=0, calls_total=1)
        self.assertEqual(self.metrics()["replies_total{outcome=not-found,to=call}"], 1)

    def test_tokens(self) -> None:
        """The tokens that robots report are added."""

        class Reporting(PuppetRobot):
            async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
                conversation.usage.add(7, 3)
                yield "hello"

        self.robot = Reporting()
        self.serve(self.make_factory())
        session = Session(self.factory).open()
        for _ in range(2):
            session.say("hello")
        metrics = self.metrics()
        self.assertEqual((metrics["tokens_total{kind=prompt}"], metrics["tokens_total{kind=completion}"]), (14, 6))

    def test_users(self) -> None:
        """With --metrics-users, authorized users have series of their own; all others share one."""
        users = Listed()
        self.serve(self.make_factory(users=users, metrics_users=True))
        for key in (USER_KEY, None):
            session = Session(self.factory, user_key=key).open()
            session.say("hello")
        name = users.name_of(USER_KEY.blob)
        metrics = self.metrics()
        self.assertEqual(metrics[f"user_messages_total{{user={name}}}"], 1)
        self.assertEqual(metrics["user_messages_total{user=}"], 1)
        self.assertEqual(metrics["messages_total"], 2)

    def test_noUsers(self) -> None:
        """Without it, no series names a user."""
        self.serve(self.make_factory(users=Listed()))
        Session(self.factory, user_key=USER_KEY).open().say("hello")
        self.assertEqual([name for name in self.metrics() if "user" in name.partition("{")[0]], [])
        self.assertMetrics(messages_total=1)

    def test_manyUsers(self) -> None:
        """The number of users with series of their own is limited."""
        self.patch(counters, "MAX_USERS", 2)
        counted = counters.Counters(by_user=True)
        for name in "abcda":
            counted.of_user(name).messages += 1
        self.assertEqual({name: user.messages for name, user in counted.users.items()}, {"": 2, "a": 2, "b": 1})

    def test_robots(self) -> None:
        """Requests to remote robots count by outcome; answers are timed, without the time in the queue."""
        puppets = [PuppetRobot(), PuppetRobot()]
        guarded: list[Any] = []
        for puppet in puppets:
            breaker = CircuitBreaker(self.clock.seconds, jitter=lambda: 0.0)
            guarded.append(GuardedRobot(puppet, FairQueue(1), breaker))
            guarded[-1].counters[0].clock = self.clock.seconds
        self.serve(self.make_factory(robot=FallbackRobot(guarded)))
        first, second = (Session(self.factory).open() for _ in range(2))
        first.say("hello")
        second.say("hello")
        metrics = self.metrics()
        self.assertEqual(metrics["robot_requests_active{robot=puppet}"], 1)
        self.assertEqual(metrics["robot_requests_waiting{robot=puppet}"], 1)
        self.clock.advance(3 - MAX_AGE)
        puppets[0].say("hi")
        self.clock.advance(5)
        puppets[0].end()
        puppets[0].fail(RobotError(Fault.UNREACHABLE, "x"))  # the second one, which fell back
        metrics = self.metrics()
        self.assertEqual(metrics["robot_requests_total{outcome=ok,robot=puppet}"], 1)
        self.assertEqual(metrics["robot_requests_total{outcome=unreachable,robot=puppet}"], 1)
        self.assertEqual(metrics["robot_circuit_open{robot=puppet}"], 1)
        self.assertEqual(metrics["robot_requests_active{robot=puppet-2}"], 1)
        self.assertEqual(metrics["robot_first_part_seconds_bucket{le=2.5,robot=puppet}"], 0)
        self.assertEqual(metrics["robot_first_part_seconds_bucket{le=5.0,robot=puppet}"], 1)
        self.assertEqual(metrics["robot_answer_seconds_sum{robot=puppet}"], 8)
        self.assertEqual(metrics["robot_answer_seconds_count{robot=puppet}"], 1)

    def test_ticks(self) -> None:
        """Each tick counts with its lateness, in seconds."""
        self.serve(self.make_factory(shaping=Shaping.REPLY, robot=PuppetRobot(echo=True)))
        session = Session(self.factory).open()
        session.say("hello")
        for _ in range(3):
            self.clock.advance(0.1)
        metrics = self.metrics()
        self.assertGreater(metrics["tick_lateness_seconds_count"], 1)
        self.assertLessEqual(metrics["tick_lateness_seconds_bucket{le=0.0005}"], metrics["tick_lateness_seconds_count"])

    def test_keys(self) -> None:
        """Keys that are older than their file show."""
        users = Listed()
        self.serve(self.make_factory(users=users))
        self.assertMetrics(keys_stale=0)
        users.problem = "keys:3: not a valid key"
        self.assertMetrics(keys_stale=1, configuration_stale=0)

    def test_configuration(self) -> None:
        """So does a configuration that is older than its file."""
        pages = Pages(registry_of(self.factory, lambda: True), lambda: True, self.clock)
        self.site = MetricsSite(pages, self.clock)
        self.assertMetrics(keys_stale=0, configuration_stale=1)

    def test_ledger(self) -> None:
        """So does usage that cannot be saved."""
        self.assertMetrics(ledger_stale=0)
        self.factory.accounts.problem = "disk full"
        self.assertMetrics(ledger_stale=1)


class HttpTests(MetricsTestCase):
    """The HTTP server."""

    def test_health(self) -> None:
        """The daemon is alive as long as it answers, and ready until it stops."""
        self.assertEqual(self.get(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")[1], "ok\n")
        self.assertEqual(self.get(b"GET /readyz?x HTTP/1.1\r\nHost: x\r\n\r\n")[1], "ready\n")
        self.factory.stop()
        head, body = self.get(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn("503", head.splitlines()[0])
        self.assertEqual(body, "stopping\n")
        self.assertEqual(self.get(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")[1], "ok\n")
        self.assertMetrics(ready=0)

    def test_formats(self) -> None:
        """Prometheus gets OpenMetrics if it asks for it."""
        accept = b"Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n"
        head, body = self.get(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + accept + b"\r\n")
        self.assertIn("Content-Type: application/openmetrics-text", head)
        self.assertTrue(body.endswith("# EOF\n"))
        head, body = self.get(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn("Content-Type: text/plain", head)
        self.assertNotIn("# EOF", body)

    def test_manyReaders(self) -> None:
        """Metrics are made at most twice a second, however often they are read."""
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        before = self.get(request)[1]
        Session(self.factory).open()
        self.assertEqual(self.get(request)[1], before)
        self.assertMetrics(sessions=1)

    def test_refusals(self) -> None:
        """Other pages and methods are refused in one line; a body closes the connection."""
        self.assertIn("404", self.get(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")[0])
        self.assertIn("405", self.get(b"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n")[0])
        self.assertEqual(self.get(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")[1], "")
        self.assertFalse(self.channel.aborted)
        self.get(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        self.assertTrue(self.channel.aborted)
        self.get(b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertTrue(self.channel.aborted)

    def test_connections(self) -> None:
        """Connections are limited, and those that say nothing are closed."""
        channels = [self.site.buildProtocol(None) for _ in range(MAX_CONNECTIONS)]
        self.assertIsNone(self.site.buildProtocol(None))
        assert channels[0] is not None
        transport = StringTransport()
        channels[0].makeConnection(transport)
        self.clock.advance(100)
        self.assertTrue(transport.disconnecting)
        channels[0].connectionLost(Failure(ConnectionDone()))
        self.assertIsNotNone(self.site.buildProtocol(None))

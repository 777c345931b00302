"""The daemon's metrics, in the form of prometheus_client. They are read from the counters when they are asked for.

Only ``--metrics`` loads this module. Names follow https://prometheus.io/docs/practices/naming/. Labels have values from
fixed sets, except for `robot`, and for `user` with ``--metrics-users``, of which there are at most MAX_USERS.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

import twisted
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from securechat import __version__
from securechat.distribution import Distribution
from securechat.errors import Category, Fault
from securechat.robots.counters import CIRCUIT_OPEN, RobotCounters, outcome_of
from securechat.server.factory import ChatServerFactory

NO_SUITE: Final = "none"  # the handshake failed before a suite was chosen
OUTCOMES: Final = (*map(outcome_of, (None, *Fault)), CIRCUIT_OPEN)

ROBOT_GAUGES: Final[Sequence[tuple[str, str, Callable[[RobotCounters], float]]]] = (
    ("securechat_robot_requests_active", "Requests that the robot is answering.", lambda robot: robot.queue.active),
    ("securechat_robot_requests_limit", "The limit on these, max-concurrent.", lambda robot: robot.queue.limit),
    ("securechat_robot_requests_waiting", "Requests in the robot's queue.", lambda robot: robot.queue.waiting),
    (
        "securechat_robot_circuit_open",
        "Whether the robot is not asked for a while, because it failed.",
        lambda robot: robot.breaker.is_open,
    ),
)

Samples = Iterable[tuple[Sequence[str], float]]  # label values and the value


def registry_of(factory: ChatServerFactory, is_stale: Callable[[], bool] = lambda: False) -> CollectorRegistry:
    """A registry with the metrics of a daemon and of its process.

    `is_stale`: whether the configuration file cannot be used at present.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(DaemonCollector(factory, is_stale))
    ProcessCollector(registry=registry)
    return registry


class DaemonCollector(Collector):
    """Reads the counters of a daemon."""

    def __init__(self, factory: ChatServerFactory, is_stale: Callable[[], bool]) -> None:
        self._factory = factory
        self._is_stale = is_stale

    def collect(self) -> Iterator[Metric]:
        yield from self._server()
        yield from self._sessions()
        yield from self._messages()
        if self._factory.settings.metrics_users:
            yield from self._users()
        yield from self._robots()

    def _server(self) -> Iterator[Metric]:
        factory = self._factory
        about = {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
        yield InfoMetricFamily("securechat_build", "Versions of the daemon and of what it runs on.", about)
        yield _gauge(
            "securechat_ready", "Whether clients are admitted: 0 while the daemon stops.", not factory.is_stopping
        )
        yield _gauge(
            "securechat_keys_stale",
            "Whether a file of authorized or revoked keys cannot be used.",
            bool(factory.users.problem),
        )
        yield _gauge(
            "securechat_configuration_stale",
            "Whether the configuration in force is older than its file, which cannot be used.",
            self._is_stale(),
        )
        yield _gauge(
            "securechat_ledger_stale",
            "Whether the usage of users cannot be saved. It is kept in memory until it can.",
            bool(factory.accounts.problem),
        )
        lateness = factory.beat.lateness
        yield _histogram(
            "securechat_tick_lateness_seconds",
            "Time from the moment of a tick until its records could be written.",
            (),
            [((), lateness)],
            scale=1000,
        )

    def _sessions(self) -> Iterator[Metric]:
        factory, counters, settings = self._factory, self._factory.counters, self._factory.settings
        admitted = factory.admission.sessions.total
        yield _gauge("securechat_sessions", "Sessions of admitted clients.", admitted)
        yield _gauge("securechat_sessions_limit", "The limit on sessions, --max-sessions.", settings.max_sessions)
        yield _gauge(
            "securechat_handshakes_in_progress",
            "Connections whose client is not admitted.",
            sum(not session.is_admitted for session in factory.sessions),
        )
        yield _counter(
            "securechat_connections_refused",
            "Connections closed at once because of a limit.",
            (),
            [((), counters.refused)],
        )
        handshakes, suites = counters.handshakes, [suite.decode() for suite in settings.suites]
        yield _counter(
            "securechat_handshakes",
            "Handshakes that have ended, by cipher suite and outcome.",
            ("suite", "outcome"),
            [
                *(((suite, "admitted"), handshakes[suite, True]) for suite in suites),
                *(((suite or NO_SUITE, "failed"), handshakes[suite, False]) for suite in (*suites, "")),
            ],
        )
        yield _counter(
            "securechat_aborts",
            "Connections aborted after they were accepted, by category (protocol, section 12).",
            ("category",),
            (((category.value,), counters.aborts[category]) for category in Category),
        )

    def _messages(self) -> Iterator[Metric]:
        factory, counters = self._factory, self._factory.counters
        total = counters.total()
        yield _counter("securechat_messages", "Messages received.", (), [((), total.messages)])
        yield _counter("securechat_calls", "API requests received.", (), [((), total.calls)])
        yield _counter(
            "securechat_tokens",
            "Tokens, as far as the robots' servers report them.",
            ("kind",),
            [(("prompt",), total.usage.prompt), (("completion",), total.usage.completion)],
        )
        yield _counter(
            "securechat_replies",
            "Replies that were sent to their end, by what they answer and outcome.",
            ("to", "outcome"),
            (
                (("call" if is_result else "message", outcome_of(fault)), counters.replies[is_result, fault])
                for is_result in (False, True)
                for fault in (None, *Fault)
            ),
        )
        waiting = [session.waiting for session in factory.sessions if session.is_admitted]
        yield _gauge(
            "securechat_messages_waiting",
            "Messages and API requests without a whole reply.",
            sum(number for number, _size in waiting),
        )
        yield _gauge(
            "securechat_messages_buffered_bytes",
            "Memory that messages take until they are answered, of --max-buffered.",
            factory.message_memory.all.taken,
        )
        yield _gauge(
            "securechat_messages_buffered_limit_bytes",
            "The limit on that memory, --max-buffered.",
            factory.settings.max_buffered,
        )
        yield _gauge(
            "securechat_replies_buffered_bytes",
            "Parts of replies that wait to be sent.",
            sum(size for _number, size in waiting),
        )

    def _users(self) -> Iterator[Metric]:
        """The series without a user is that of all clients who are not authorized users."""
        users = self._factory.counters.users.items()
        label = ("user",)
        yield _counter(
            "securechat_user_messages", "Messages received.", label, (((name,), user.messages) for name, user in users)
        )
        yield _counter(
            "securechat_user_calls", "API requests received.", label, (((name,), user.calls) for name, user in users)
        )
        yield _counter(
            "securechat_user_tokens",
            "Tokens, as far as the robots' servers report them.",
            ("user", "kind"),
            (
                ((name, kind), number)
                for name, user in users
                for kind, number in (("prompt", user.usage.prompt), ("completion", user.usage.completion))
            ),
        )

    def _robots(self) -> Iterator[Metric]:
        robots = dict(_labelled(self._factory.robot_counters))
        label = ("robot",)
        yield _counter(
            "securechat_robot_requests",
            "Messages and API requests that a remote robot was to answer, by outcome.",
            ("robot", "outcome"),
            (((name, outcome), robot.outcomes[outcome]) for name, robot in robots.items() for outcome in OUTCOMES),
        )
        for gauge, text, value in ROBOT_GAUGES:
            yield _gauges(gauge, text, label, [((name,), value(robot)) for name, robot in robots.items()])
        yield _histogram(
            "securechat_robot_first_part_seconds",
            "Time from a request until the first part of its answer.",
            label,
            [((name,), robot.first) for name, robot in robots.items()],
        )
        yield _histogram(
            "securechat_robot_answer_seconds",
            "Time from a request until the end of a complete answer. A client that reads slowly delays it.",
            label,
            [((name,), robot.whole) for name, robot in robots.items()],
        )


def _labelled(robots: Iterable[RobotCounters]) -> Iterator[tuple[str, RobotCounters]]:
    """Robots with names that differ: a second one of the same name is NAME-2."""
    seen: dict[str, int] = {}
    for robot in robots:
        number = seen[robot.name] = seen.get(robot.name, 0) + 1
        yield robot.name if number == 1 else f"{robot.name}-{number}", robot


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, float(value))


def _gauges(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def _counter(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    """A counter; its series have the suffix ``_total``."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    distributions: Iterable[tuple[Sequence[str], Distribution]],
    *,
    scale: float = 1,
) -> Metric:
    """A histogram; values and bounds are divided by `scale`."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, distribution in distributions:
        bounds = [*(str(bound / scale) for bound in distribution.bounds), "+Inf"]
        counts = map(float, accumulate(distribution.counts))
        family.add_metric(values, list(zip(bounds, counts, strict=True)), distribution.sum / scale)
    return family

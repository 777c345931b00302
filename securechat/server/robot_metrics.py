"""The metrics of robots, and of the servers of those that have several."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client.metrics_core import Metric

from securechat.errors import Fault
from securechat.robots.counters import CIRCUIT_OPEN, RobotCounters, outcome_of
from securechat.server.metric_families import counter, gauges, histogram

OUTCOMES: Final = (*map(outcome_of, (None, *Fault)), CIRCUIT_OPEN)

GAUGES: Final[Sequence[tuple[str, str, Callable[[RobotCounters], float]]]] = (
    ("securechat_robot_requests_active", "Requests that the robot is answering.", lambda robot: robot.queue.active),
    ("securechat_robot_requests_limit", "The limit on these, max-concurrent.", lambda robot: robot.queue.limit),
    ("securechat_robot_requests_waiting", "Requests in the robot's queue.", lambda robot: robot.queue.waiting),
    (
        "securechat_robot_circuit_open",
        "Whether the robot is not asked for a while, because it failed.",
        lambda robot: robot.breaker.is_open,
    ),
)


def robot_metrics(counters: Iterable[RobotCounters]) -> Iterator[Metric]:
    """The metrics of the robots with these counters."""
    robots = dict(_labelled(counters))
    label = ("robot",)
    yield counter(
        "securechat_robot_requests",
        "Messages and API requests that a remote robot was to answer, by outcome.",
        ("robot", "outcome"),
        (((name, outcome), robot.outcomes[outcome]) for name, robot in robots.items() for outcome in OUTCOMES),
    )
    for name, text, value in GAUGES:
        yield gauges(name, text, label, [((robot,), value(counted)) for robot, counted in robots.items()])
    yield histogram(
        "securechat_robot_first_part_seconds",
        "Time from a request until the first part of its answer.",
        label,
        [((name,), robot.first) for name, robot in robots.items()],
    )
    yield histogram(
        "securechat_robot_answer_seconds",
        "Time from a request until the end of a complete answer. A client that reads slowly delays it.",
        label,
        [((name,), robot.whole) for name, robot in robots.items()],
    )
    yield from _server_metrics(robots)


def _server_metrics(robots: Mapping[str, RobotCounters]) -> Iterator[Metric]:
    """The servers of robots that have several."""
    servers = {
        (name, server): counters for name, robot in robots.items() for server, counters in _labelled(robot.servers)
    }
    label = ("robot", "server")
    yield counter(
        "securechat_robot_server_requests",
        "Messages and API requests that one of a robot's servers was to answer, by outcome.",
        (*label, "outcome"),
        (((*names, outcome), server.outcomes[outcome]) for names, server in servers.items() for outcome in OUTCOMES),
    )
    yield gauges(
        "securechat_robot_server_requests_active",
        "Requests that the server is answering.",
        label,
        [(names, server.queue.active) for names, server in servers.items()],
    )
    yield gauges(
        "securechat_robot_server_circuit_open",
        "Whether the server is not asked for a while, because it failed.",
        label,
        [(names, server.breaker.is_open) for names, server in servers.items()],
    )
    yield histogram(
        "securechat_robot_server_first_part_seconds",
        "Time from a request to the server until the first part of its answer.",
        label,
        [(names, server.first) for names, server in servers.items()],
    )


def _labelled(robots: Iterable[RobotCounters]) -> Iterator[tuple[str, RobotCounters]]:
    """Robots with names that differ: a second one of the same name is NAME-2."""
    seen: dict[str, int] = {}
    for robot in robots:
        number = seen[robot.name] = seen.get(robot.name, 0) + 1
        yield robot.name if number == 1 else f"{robot.name}-{number}", robot

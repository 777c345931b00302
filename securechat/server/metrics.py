"""The daemon's metrics, in the form of prometheus_client. They are read from the counters when they are asked for.

Only ``--metrics`` loads this module. Names follow https://prometheus.io/docs/practices/naming/. Labels have values from
fixed sets, except for `robot` and `server`, which are configured, and for `user` with ``--metrics-users``, of which
there are at most MAX_USERS.
"""

import platform
import time
from collections.abc import Callable, Iterator
from typing import Final

import twisted
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import (
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from securechat import __version__
from securechat.errors import Category, Fault
from securechat.robots.counters import outcome_of
from securechat.server.factory import ChatServerFactory
from securechat.server.metric_families import counter, gauge, histogram
from securechat.server.robot_metrics import robot_metrics

NO_SUITE: Final = "none"  # the handshake failed before a suite was chosen


def registry_of(
    factory: ChatServerFactory,
    is_stale: Callable[[], bool] = lambda: False,
    lines_lost: Callable[[], int] = lambda: 0,
) -> CollectorRegistry:
    """A registry with the metrics of a daemon and of its process.

    `is_stale`: whether the configuration file cannot be used at present. `lines_lost`: the number of lines of the log
    that could not be written.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(DaemonCollector(factory, is_stale, lines_lost))
    ProcessCollector(registry=registry)
    return registry


class DaemonCollector(Collector):
    """Reads the counters of a daemon."""

    def __init__(self, factory: ChatServerFactory, is_stale: Callable[[], bool], lines_lost: Callable[[], int]) -> None:
        self._factory = factory
        self._is_stale = is_stale
        self._lines_lost = lines_lost

    def collect(self) -> Iterator[Metric]:
        yield from self._server()
        yield from self._sessions()
        yield from self._messages()
        if self._factory.settings.metrics_users:
            yield from self._users()
        yield from robot_metrics(self._factory.robot_counters)

    def _server(self) -> Iterator[Metric]:
        factory = self._factory
        about = {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
        yield InfoMetricFamily("securechat_build", "Versions of the daemon and of what it runs on.", about)
        yield gauge(
            "securechat_ready", "Whether clients are admitted: 0 while the daemon stops.", not factory.is_stopping
        )
        yield gauge(
            "securechat_keys_stale",
            "Whether a file of authorized or revoked keys cannot be used.",
            bool(factory.users.problem),
        )
        yield gauge(
            "securechat_configuration_stale",
            "Whether the configuration in force is older than its file, which cannot be used.",
            self._is_stale(),
        )
        yield gauge(
            "securechat_ledger_stale",
            "Whether the usage of users cannot be saved. It is kept in memory until it can.",
            bool(factory.accounts.problem),
        )
        yield counter(
            "securechat_log_lines_lost",
            "Lines of the log that could not be written, because the disk is full or has failed.",
            (),
            [((), self._lines_lost())],
        )
        yield gauge("securechat_time_seconds", "The system clock, in seconds since 1970.", time.time())
        lateness = factory.beat.lateness
        yield histogram(
            "securechat_tick_lateness_seconds",
            "Time from the moment of a tick until its records could be written.",
            (),
            [((), lateness)],
            scale=1000,
        )

    def _sessions(self) -> Iterator[Metric]:
        factory, counters, settings = self._factory, self._factory.counters, self._factory.settings
        admitted = factory.admission.sessions.total
        yield gauge("securechat_sessions", "Sessions of admitted clients.", admitted)
        yield gauge("securechat_sessions_limit", "The limit on sessions, --max-sessions.", settings.max_sessions)
        yield gauge(
            "securechat_handshakes_in_progress",
            "Connections whose client is not admitted.",
            sum(not session.is_admitted for session in factory.sessions),
        )
        yield counter(
            "securechat_connections_refused",
            "Connections closed at once because of a limit.",
            (),
            [((), counters.refused)],
        )
        handshakes, suites = counters.handshakes, [suite.decode() for suite in settings.suites]
        yield counter(
            "securechat_handshakes",
            "Handshakes that have ended, by cipher suite and outcome.",
            ("suite", "outcome"),
            [
                *(((suite, "admitted"), handshakes[suite, True]) for suite in suites),
                *(((suite or NO_SUITE, "failed"), handshakes[suite, False]) for suite in (*suites, "")),
            ],
        )
        yield counter(
            "securechat_aborts",
            "Connections aborted after they were accepted, by category (protocol, section 12).",
            ("category",),
            (((category.value,), counters.aborts[category]) for category in Category),
        )

    def _messages(self) -> Iterator[Metric]:
        factory, counters = self._factory, self._factory.counters
        total = counters.total()
        yield counter("securechat_messages", "Messages received.", (), [((), total.messages)])
        yield counter("securechat_calls", "API requests received.", (), [((), total.calls)])
        yield counter(
            "securechat_tokens",
            "Tokens, as far as the robots' servers report them.",
            ("kind",),
            [(("prompt",), total.usage.prompt), (("completion",), total.usage.completion)],
        )
        yield counter(
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
        yield gauge(
            "securechat_messages_waiting",
            "Messages and API requests without a whole reply.",
            sum(number for number, _size in waiting),
        )
        yield gauge(
            "securechat_messages_buffered_bytes",
            "Memory that messages take until they are answered, of --max-buffered.",
            factory.message_memory.all.taken,
        )
        yield gauge(
            "securechat_messages_buffered_limit_bytes",
            "The limit on that memory, --max-buffered.",
            factory.settings.max_buffered,
        )
        yield gauge(
            "securechat_replies_buffered_bytes",
            "Parts of replies that wait to be sent.",
            sum(size for _number, size in waiting),
        )

    def _users(self) -> Iterator[Metric]:
        """The series without a user is that of all clients who are not authorized users."""
        users = self._factory.counters.users.items()
        label = ("user",)
        yield counter(
            "securechat_user_messages", "Messages received.", label, (((name,), user.messages) for name, user in users)
        )
        yield counter(
            "securechat_user_calls", "API requests received.", label, (((name,), user.calls) for name, user in users)
        )
        yield counter(
            "securechat_user_tokens",
            "Tokens, as far as the robots' servers report them.",
            ("user", "kind"),
            (
                ((name, kind), number)
                for name, user in users
                for kind, number in (("prompt", user.usage.prompt), ("completion", user.usage.completion))
            ),
        )

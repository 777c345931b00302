"""A limit on what is written to the log, so that no client and no robot can fill the disk.

It applies to every line of the process, also to Twisted's own: a peer causes those, too, for instance with connections
beyond the limit on open files.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, globalLogPublisher
from zope.interface import implementer

from securechat.server.log_format import line_of, log_observers
from securechat.wire.token_bucket import TokenBucket

BURST: Final = 16 * 1024  # bytes of each kind of line before the rate applies: more than a hundred lines
RATE: Final = 512  # bytes per second of each kind: a peer can cause some ten kinds, which makes 300 kB a minute
SUMMARY_INTERVAL: Final = 10.0  # seconds from the first line that is left out to the line that counts them
MAX_KINDS: Final = 64  # that are told apart; the daemon and Twisted have some forty
MAX_LINE: Final = 100  # characters of a line in a summary

_FIELD: Final = re.compile(r"\{[^{}]*\}")


class ILogReactor(IReactorTime, IReactorFromThreads):
    """The reactor's interfaces that a limit uses."""


class _Kind:
    """The lines that one statement of the program writes."""

    __slots__ = ("bucket", "first_omitted", "level", "line", "namespace", "omitted")

    def __init__(self, event: LogEvent, now: float) -> None:
        self.namespace = str(event.get("log_namespace", "-"))
        self.level: Any = event.get("log_level", LogLevel.info)
        self.line = _FIELD.sub("…", str(event.get("log_format", "…")))[:MAX_LINE]
        self.bucket = TokenBucket(BURST, RATE, now)
        self.omitted = 0  # lines left out since the last summary
        self.first_omitted = 0.0  # when the first of them was


@implementer(ILogObserver)
class LogLimit:
    """Passes events on to another observer, up to a rate for each kind; of the others it writes the number."""

    def __init__(self, observer: ILogObserver, reactor: ILogReactor) -> None:
        self._observer = observer
        self._reactor = reactor
        self._kinds: dict[object, _Kind] = {}
        self._has_omitted = False  # lines that are in no summary yet
        self._summary: IDelayedCall | None = None

    def __call__(self, event: LogEvent) -> None:
        now = self._reactor.seconds()
        kind = self._kind_of(event, now)
        if kind.bucket.take(now):
            # Tracebacks and, with --log-text, messages are long: bytes count, not lines. They are those of a line of
            # text; as JSON, it has some three times as many.
            line = line_of(event) or ""
            kind.bucket.spend(len(line.encode(errors="replace")))
            self._observer(event)
            return
        if not kind.omitted:
            kind.first_omitted = now
        kind.omitted += 1
        if not self._has_omitted:
            self._has_omitted = True
            self._reactor.callFromThread(self._plan_summary)  # any thread may log

    def close(self) -> None:
        """Write the summary that is due, if one is."""
        if self._summary is not None:
            self._summary.cancel()
        if self._has_omitted:
            self._summarize()

    def _kind_of(self, event: LogEvent, now: float) -> _Kind:
        # The text of a line before it is filled in is a constant of the program.
        key: object = (event.get("log_namespace"), event.get("log_format"))
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MAX_KINDS:  # a robot's plugin may log text that is already filled in
                key, event = None, {}
            kind = self._kinds.setdefault(key, _Kind(event, now))
        return kind

    def _plan_summary(self) -> None:
        if self._has_omitted:
            self._summary = self._reactor.callLater(SUMMARY_INTERVAL, self._summarize)

    def _summarize(self) -> None:
        self._summary = None
        self._has_omitted = False
        now = self._reactor.seconds()
        for kind in list(self._kinds.values()):
            if kind.omitted:
                Logger(kind.namespace, observer=self._observer).emit(
                    kind.level,
                    '… and {count} more like "{line}" in the last {seconds:.0f} s',
                    count=kind.omitted,
                    line=kind.line,
                    seconds=now - kind.first_omitted,
                )
                kind.omitted = 0


def limit_log(reactor: ILogReactor) -> Callable[[], None]:
    """Limit what the present observers of Twisted's log see, until the returned function is called."""
    limits = [(observer, LogLimit(observer, reactor)) for observer in log_observers()]
    for observer, limit in limits:
        globalLogPublisher.removeObserver(observer)
        globalLogPublisher.addObserver(limit)

    def undo() -> None:
        for observer, limit in limits:
            limit.close()
            globalLogPublisher.removeObserver(limit)
            globalLogPublisher.addObserver(observer)

    return undo

"""Twisted's lines of text for the log, at a tenth of the cost.

``twistd`` decides where the log goes, by ``--logfile``, ``--syslog`` and ``--logger``, and when its file is rotated.
Only the formatting is replaced here, and only where the present one makes exactly these lines.
"""

import time
from contextlib import suppress
from functools import lru_cache
from typing import Final

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    formatEventAsClassicLogText,
    globalLogPublisher,
)

_SAMPLE: Final[LogEvent] = {
    "log_format": "sample",
    "log_time": 0.0,
    "log_namespace": "securechat",
    "log_level": LogLevel.info,
}

_UNUSUAL: Final = frozenset({"log_failure", "log_system", "log_flattened"})  # what a line is made of in another way


@lru_cache(maxsize=1)  # lines come many a second, or seldom
def _time_of(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))


def line_of(event: LogEvent) -> str | None:
    """The same as Twisted's `formatEventAsClassicLogText`: None for an event without text."""
    if _UNUSUAL.isdisjoint(event):
        # Twisted does the rest: formats that only it understands, and events that lack something.
        with suppress(Exception):
            text = event["log_format"].format_map(event)
            system = f"{event['log_namespace']}#{event['log_level'].name}"
            if text:
                return f"{_time_of(int(event['log_time']))} [{system}] {text}".replace("\n", "\n\t") + "\n"
    return formatEventAsClassicLogText(event)


def log_observers() -> list[ILogObserver]:
    """The present observers of Twisted's log."""
    trace: list[tuple[object, ILogObserver]] = []
    Logger().debug(log_trace=trace)  # without a text, so nothing is written; who sees it is added to the trace
    return [observer for publisher, observer in trace if publisher is globalLogPublisher]


def write_lines() -> None:
    """Have the observers that write Twisted's lines to a file use `line_of`."""
    for observer in log_observers():
        if isinstance(observer, FileLogObserver) and observer.formatEvent(_SAMPLE) == formatEventAsClassicLogText(
            _SAMPLE
        ):
            observer.formatEvent = line_of

"""Twisted's lines of text for the log, at a tenth of the cost.

``twistd`` decides where the log goes, by ``--logfile``, ``--syslog`` and ``--logger``, and when its file is rotated.
Only the formatting is replaced here, and only where the present one makes exactly these lines.
"""

import time
from functools import lru_cache

from twisted.logger import FileLogObserver, ILogObserver, LogEvent, Logger, LogLevel, globalLogPublisher
from twisted.logger import formatEventAsClassicLogText as twisted_line_of

_SAMPLE: LogEvent = {
    "log_format": "sample",
    "log_time": 0.0,
    "log_namespace": "securechat",
    "log_level": LogLevel.info,
}


@lru_cache(maxsize=1)  # lines come many a second, or seldom
def _time_of(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))


def line_of(event: LogEvent) -> str | None:
    """The same as Twisted's `formatEventAsClassicLogText`: None for an event without text."""
    if "log_failure" not in event and "log_system" not in event and "log_flattened" not in event:
        try:
            text = event["log_format"].format_map(event)
            system = f"{event['log_namespace']}#{event['log_level'].name}"
            if text:
                return f"{_time_of(int(event['log_time']))} [{system}] {text}".replace("\n", "\n\t") + "\n"
        except Exception:
            pass  # a format that only Twisted understands, or an event that lacks something
    return twisted_line_of(event)


def log_observers() -> list[ILogObserver]:
    """The present observers of Twisted's log."""
    trace: list[tuple[object, ILogObserver]] = []
    Logger().debug(log_trace=trace)  # without a text, so nothing is written; who sees it is added to the trace
    return [observer for publisher, observer in trace if publisher is globalLogPublisher]


def write_lines() -> None:
    """Have the observers that write Twisted's lines to a file use `line_of`."""
    for observer in log_observers():
        if isinstance(observer, FileLogObserver) and observer.formatEvent(_SAMPLE) == twisted_line_of(_SAMPLE):
            observer.formatEvent = line_of  # type: ignore[method-assign]

"""Events as lines of the log: text, at a tenth of the cost of Twisted's formatting, or JSON.

The log is always in English, whatever the locale: it is read by filters and pasted into search engines.
"""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    eventAsText,
    formatEventAsClassicLogText,
    globalLogPublisher,
)

FIELDS: Final = (  # of an event that JSON shows; no other field leaves the process
    *("event", "client", "address", "port", "user", "key", "certificate", "suite"),
    *("duration", "messages", "records_received", "records_sent", "reason", "category"),
)
_UNUSUAL: Final = frozenset({"log_failure", "log_system", "log_flattened"})  # what a line is made of in another way


@lru_cache(maxsize=1)  # most lines have the same second as the one before
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


def json_of(event: LogEvent) -> str | None:
    """One JSON object in ASCII, and a newline; None for an event without text.

    It has `time` (UTC), `level`, `system` (the module) and `message` (the text of the line). An event of a connection
    also has all of FIELDS, null where nothing is known.
    """
    message = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not message:
        return None
    level = event.get("log_level")
    line = {
        "time": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(timespec="milliseconds"),
        "level": getattr(level, "name", "info"),
        "system": str(event.get("log_namespace", "-")),
        "message": message,
    }
    if "event" in event:
        line.update((name, event.get(name)) for name in FIELDS)
    return json.dumps(line) + "\n"


def log_observers() -> list[ILogObserver]:
    """The present observers of Twisted's log."""
    trace: list[tuple[object, ILogObserver]] = []
    Logger().debug(log_trace=trace)  # without a text, so nothing is written; who sees it is added to the trace
    return [observer for publisher, observer in trace if publisher is globalLogPublisher]

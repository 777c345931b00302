"""Lines of the log, compared with those of Twisted's own formatter."""

import json
import os
import time
from collections.abc import Callable
from typing import cast

from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    formatEventAsClassicLogText,
    globalLogPublisher,
)
from twisted.python import log as legacy_log
from twisted.trial.unittest import SynchronousTestCase

from securechat.server.log_format import FIELDS, json_of, line_of


class _Odd:
    """An object with a method, as some of Twisted's formats call it, and one that cannot be formatted."""

    name = "odd"

    def method(self) -> str:
        return "called"

    def __str__(self) -> str:
        raise ValueError("no text")


def events_of(*calls: Callable[[Logger], object]) -> list[LogEvent]:
    """The events of these calls of a logger."""
    events: list[LogEvent] = []
    for call in calls:
        call(Logger("chat", observer=cast(ILogObserver, events.append)))
    return events


class LineTests(SynchronousTestCase):
    """One event as text."""

    def assertLikeTwisted(self, *events: LogEvent) -> None:
        for event in events:
            self.assertEqual(line_of(event), formatEventAsClassicLogText(event))

    def test_line(self) -> None:
        """A line has the time, the module, the level and the text."""
        (event,) = events_of(lambda log: log.warn("client {number}: {what}", number=7, what="aborted"))
        event["log_time"] = 1.75
        self.assertRegex(
            line_of(event) or "", r"^19\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[chat#warn\] client 7: aborted\n$"
        )
        self.assertLikeTwisted(event)

    def test_formats(self) -> None:
        """Every format that Twisted understands gives Twisted's text, and so does one that it does not."""
        self.assertLikeTwisted(
            *events_of(
                lambda log: log.info("{a!r} {a:>5} {b[0]} {c.name} {{}}", a="x", b=["first"], c=_Odd()),
                lambda log: log.info("{c.method()} {d()}", c=_Odd(), d=lambda: "called, too"),
                lambda log: log.info("{missing}"),
                lambda log: log.info("{0} {} {", a=1),
                lambda log: log.info("{c}", c=_Odd()),
                lambda log: log.info(cast(str, b"bytes {a}"), a=1),
                lambda log: log.info(cast(str, 5)),
                lambda log: log.info("two\nlines\n{a}", a="and\nmore"),
                lambda log: log.info(""),
                lambda log: log.info(),
            )
        )

    def test_incomplete(self) -> None:
        """Events without a time, a module or a level, and those of Twisted's old interface."""
        self.assertLikeTwisted({}, {"log_format": "text"}, {"log_format": "text", "log_system": "-"})
        seen: list[LogEvent] = []
        observer = cast(ILogObserver, seen.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        legacy_log.msg("old", "interface", system="web")
        self.assertLikeTwisted(*seen)
        self.assertIn("[web] old interface", line_of(seen[-1]) or "")

    def test_failure(self) -> None:
        """A failure has its whole traceback."""
        try:
            raise ValueError("x" * 1000)
        except ValueError:
            (event,) = events_of(lambda log: log.failure("failed at {what}", what="a tick"))
        self.assertLikeTwisted(event)
        line = line_of(event) or ""
        self.assertIn("failed at a tick\n\tTraceback", line)
        self.assertIn("ValueError: " + "x" * 1000, line)

    def test_timeZones(self) -> None:
        """Times are local, before and after the clocks change."""
        before = os.environ.get("TZ")

        def restore() -> None:
            os.environ.pop("TZ", None)
            if before is not None:
                os.environ["TZ"] = before
            time.tzset()

        self.addCleanup(restore)
        (event,) = events_of(lambda log: log.info("text"))
        for zone in ("EST5EDT,M3.2.0,M11.1.0", "IST-5:30", "UTC0"):
            os.environ["TZ"] = zone
            time.tzset()
            for when in range(1_700_000_000, 1_731_536_000, 3_600_007):
                event["log_time"] = when + 0.999
                self.assertLikeTwisted(event)


class JsonTests(SynchronousTestCase):
    """One event as JSON."""

    def parse(self, event: LogEvent) -> dict[str, object]:
        line = json_of(event) or ""
        self.assertTrue(line.isascii() and line.endswith("}\n") and line.count("\n") == 1, line)
        return cast(dict[str, object], json.loads(line))

    def test_line(self) -> None:
        """An object has the time in UTC, the level, the module and the text, but no field of the event."""
        (event,) = events_of(lambda log: log.warn("client {number}:\n{what}", number=7, what="你好\x1b"))
        event["log_time"] = 1.75
        expected = {"time": "1970-01-01T00:00:01.750+00:00", "level": "warn", "system": "chat"}
        self.assertEqual(self.parse(event), {**expected, "message": "client 7:\n你好\x1b"})

    def test_connection(self) -> None:
        """An event of a connection has all fields, null if unknown, and no others."""
        (event,) = events_of(lambda log: log.info("{event}", event="ended", client=7, secret="s3cret"))
        line = self.parse(event)
        self.assertEqual(list(line), ["time", "level", "system", "message", *FIELDS])
        self.assertEqual((line["client"], line["user"]), (7, None))

    def test_unusual(self) -> None:
        """Failures have their traceback; events of Twisted's old interface and incomplete ones are lines, too."""
        try:
            raise ValueError("wrong")
        except ValueError:
            (event,) = events_of(lambda log: log.failure("failed"))
        self.assertRegex(str(self.parse(event)["message"]), r"(?s)^failed\nTraceback .*ValueError: wrong")
        self.assertEqual(self.parse({"log_format": "text"})["level"], "info")
        self.assertEqual(self.parse({"log_text": "old", "log_format": "{log_text}"})["message"], "old")
        self.assertEqual(self.parse({"log_format": "{name}", "name": "\udc80"})["message"], "\udc80")
        self.assertIsNone(json_of({}))

"""Lines of the log, compared with those of Twisted's own formatter."""

import os
import time
from collections.abc import Callable
from io import StringIO
from syslog import LOG_INFO
from typing import Any, cast

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    eventFromJSON,
    formatEventAsClassicLogText,
    globalLogPublisher,
    jsonFileLogObserver,
    textFileLogObserver,
)
from twisted.python import log as legacy_log
from twisted.python.syslog import SyslogObserver
from twisted.trial.unittest import SynchronousTestCase

from securechat.server.log_format import line_of, write_lines


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


class WriteTests(SynchronousTestCase):
    """The observers of the whole process."""

    def observe(self, observer: FileLogObserver) -> Any:
        """Add an observer; it is returned after `write_lines`."""
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        write_lines()
        return observer

    def test_text(self) -> None:
        """An observer that writes Twisted's lines writes the same lines, each once, and nothing of its own."""
        file = StringIO()
        observer = self.observe(textFileLogObserver(file))
        self.assertIs(observer.formatEvent, line_of)
        self.assertEqual(file.getvalue(), "")
        Logger("chat").info("client {number} left", number=7)
        self.assertRegex(file.getvalue(), r"^\S+ \[chat#info\] client 7 left\n$")

    def test_others(self) -> None:
        """Observers that an operator chose keep their format."""
        for observer in (
            textFileLogObserver(StringIO(), timeFormat="%H:%M"),
            FileLogObserver(StringIO(), lambda event: "!"),
        ):
            before = observer.formatEvent
            self.assertIs(self.observe(observer).formatEvent, before)
        file = StringIO()
        self.observe(jsonFileLogObserver(file, recordSeparator=""))
        Logger("chat").info("client {number} left", number=7)
        self.assertEqual(eventFromJSON(file.getvalue().splitlines()[-1])["number"], 7)

    def test_syslog(self) -> None:
        """Syslog gets the text of each event once, with its priority."""
        lines: list[tuple[int, str]] = []

        class Syslog(SyslogObserver):
            def openlog(self, *_options: object) -> None:
                """Nothing leaves this process."""

            def syslog(self, priority: int, line: str) -> None:
                lines.append((priority, line))

        legacy_log.addObserver(emit := Syslog("test").emit)
        self.addCleanup(legacy_log.removeObserver, emit)
        write_lines()
        Logger("chat").info("client {number} left", number=7)
        self.assertEqual(lines, [(LOG_INFO, "[-] client 7 left")])

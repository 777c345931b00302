"""What the user sees of requests."""

import io
import os
import re
import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.api.report import Report, Style

SECOND = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


class ReportTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.errors = io.StringIO()
        self.patch(sys, "stderr", self.errors)

    def report(self, style: Style) -> Report:
        return Report(style, self.clock, lambda: "2/4")

    def seen(self) -> str:
        """What was written since the last call."""
        text = self.errors.getvalue()
        self.errors.seek(0)
        self.errors.truncate()
        return text


class LineTests(ReportTestCase):
    """A log."""

    def test_line(self) -> None:
        """A request has one line, when it has ended."""
        record = self.report(Style.LINES).began("POST", "/v1/completions")
        record.events += 2
        self.clock.advance(1.26)
        record.events += 3
        self.assertEqual(self.seen(), "")
        record.ended(200, "")
        self.assertRegex(self.seen(), rf"\A{SECOND} POST /v1/completions 200 ok 1\.3 s, 5 events\n\Z")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failed(self) -> None:
        """The line says how a request failed, and if its program got no status."""
        report = self.report(Style.LINES)
        report.began("GET", "/v1/models").ended(0, "cancelled")
        self.assertRegex(self.seen(), rf"\A{SECOND} GET /v1/models - cancelled 0\.0 s, 0 events\n\Z")

    def test_long(self) -> None:
        """A line is short and has no control characters, whatever was requested."""
        self.report(Style.LINES).began("GET", "/v1/models/\x1b[2J" + "x" * 1000).ended(200, "")
        line = self.seen()
        self.assertLess(len(line), 200)
        self.assertNotIn("\x1b", line)

    def test_slowReader(self) -> None:
        """While the log cannot be written, requests are not logged; problems are."""
        report = self.report(Style.LINES)
        report.hold(True)
        report.began("GET", "/").ended(200, "")
        report.complain("x")
        self.assertEqual(self.seen(), "securechat: x\n")
        report.hold(False)
        report.began("GET", "/").ended(200, "")
        self.assertIn("GET", self.seen())

    def test_nothing(self) -> None:
        """A quiet client shows messages only."""
        report = self.report(Style.NOTHING)
        report.began("GET", "/").ended(200, "")
        report.note("x")
        self.clock.advance(1)
        self.assertEqual(self.seen(), "x\n")


class StatusTests(ReportTestCase):
    """A terminal."""

    def setUp(self) -> None:
        super().setUp()
        self.width = 100
        self.patch(self.errors, "fileno", lambda: 2)
        self.patch(os, "get_terminal_size", lambda descriptor: os.terminal_size((self.width, 25)))

    def test_redraws(self) -> None:
        """The status is one line, drawn again at most five times a second and only if it has changed."""
        report = self.report(Style.STATUS)
        record = report.began("POST", "/v1/completions")
        record.events += 1000
        self.assertEqual(self.seen(), "")
        self.clock.advance(0.2)
        self.assertEqual(self.seen(), "\r\x1b[Krequests: 1 running, 0 done; sessions: 2/4; events: 1000")
        self.clock.advance(10)
        self.assertEqual(self.seen(), "")
        record.events += 1
        record.ended(200, "")
        self.clock.advance(0.2)
        self.assertEqual(self.seen(), "\r\x1b[Krequests: 0 running, 1 done; sessions: 2/4; events: 1001")

    def test_messages(self) -> None:
        """A message is written in place of the status, which is drawn again below it."""
        report = self.report(Style.STATUS)
        report.note("first")
        self.clock.advance(0.2)
        self.seen()
        report.complain("problem")
        self.assertEqual(self.seen(), "\r\x1b[Ksecurechat: problem\n")
        self.clock.advance(0.2)
        self.assertTrue(re.match(r"\r\x1b\[Krequests: 0", self.seen()))

    def test_narrow(self) -> None:
        """The status is cut to the width of the terminal, so that it remains one line."""
        report = self.report(Style.STATUS)
        self.width = 20
        report.note("x")
        self.clock.advance(0.2)
        self.assertEqual(self.seen(), "x\n\r\x1b[Krequests: 0 running")

    def test_closes(self) -> None:
        """In the end the line is empty, and no timer is left."""
        report = self.report(Style.STATUS)
        report.note("x")
        self.clock.advance(0.2)
        report.began("GET", "/").ended(200, "")
        self.seen()
        report.close()
        report.close()
        self.assertEqual(self.seen(), "\r\x1b[K")
        report.note("y")
        self.assertEqual((self.seen(), self.clock.getDelayedCalls()), ("y\n", []))

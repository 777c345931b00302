"""The file of the log: moved away, too large, on a full disk."""

import os
import stat
import sys
import time
from io import StringIO
from pathlib import Path
from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from securechat.server import log_file
from securechat.server.log_file import LOOK_INTERVAL, MAX_FILES, LogFile

FULL = Path("/dev/full")


def format_event(event: LogEvent) -> str | None:
    text = event["log_format"].format(**event)
    return f"{text}\n" if text else None


class LogFileTests(SynchronousTestCase):
    """A log file whose lines are the texts of events."""

    def setUp(self) -> None:
        self.now = 100.0
        self.patch(time, "monotonic", lambda: self.now)
        self.printed = StringIO()
        self.patch(sys, "__stderr__", self.printed)
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "log"
        self.log = self.make(self.path)
        self.logged: list[LogEvent] = []
        observer = cast(ILogObserver, self.logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def make(self, path: Path) -> LogFile:
        log = LogFile(path, format_event)
        log.open()
        self.addCleanup(lambda: os.close(log._file))
        return log

    def write(self, *texts: str) -> None:
        for text in texts:
            self.log({"log_format": text})

    def assertFiles(self, **contents: str) -> None:
        found = {path.name: path.read_text() for path in self.directory.iterdir()}
        self.assertEqual(found, {name.replace("_", "."): content for name, content in contents.items()})

    def assertLost(self, count: int) -> None:
        """The log says how many lines are missing."""
        self.assertEqual([(event["log_format"], event["count"]) for event in self.logged], [(log_file.LOST, count)])

    def test_lines(self) -> None:
        """Lines are appended to what is there; an event without text is none."""
        self.write("one", "", "two")
        self.make(self.path)({"log_format": "thr\N{LATIN SMALL LETTER E WITH ACUTE}e"})
        self.assertFiles(log="one\ntwo\nthr\xe9e\n")

    def test_movedAway(self) -> None:
        """A file that was moved away is replaced by a new one within a second."""
        self.write("one")
        self.path.rename(self.directory / "old")
        self.write("two")
        self.now += LOOK_INTERVAL
        self.write("three")
        self.assertFiles(old="one\ntwo\n", log="three\n")

    def test_replaced(self) -> None:
        """So is a file that was replaced by another."""
        self.write("one")
        self.path.rename(self.directory / "old")
        self.path.write_text("new\n")
        self.now += LOOK_INTERVAL
        self.write("two")
        self.assertFiles(old="one\n", log="new\ntwo\n")

    def test_reopen(self) -> None:
        """At a signal it is replaced at once; without having been moved, it is continued."""
        self.write("one")
        self.path.rename(self.directory / "old")
        self.log.reopen()
        self.write("two")
        self.log.reopen()
        self.write("three")
        self.assertFiles(old="one\n", log="two\nthree\n")

    def test_cannotBeReopened(self) -> None:
        """If there can be no new file, the old one is used, which is said once."""
        directory = self.directory.with_suffix(".old")
        self.directory.rename(directory)
        self.write("one")
        self.now += LOOK_INTERVAL
        self.write("two")
        self.log.reopen()
        self.assertEqual((directory / "log").read_text(), "one\ntwo\n")
        self.assertEqual([event["problem"] for event in self.logged], ["No such file or directory"])
        self.assertEqual(self.printed.getvalue(), f"securechat: log file {self.path}: No such file or directory\n")

    def test_size(self) -> None:
        """A file that becomes too large is renamed, and so are the older ones; there is a limit to their number."""
        self.patch(log_file, "MAX_SIZE", 8)
        self.write("one", "two", "three", "four")
        self.assertFiles(log_2="one\ntwo\n", log_1="three\n", log="four\n")
        self.write(*(str(number) * 7 for number in range(9)), *"abcdefghijklmnopqrst")
        self.assertEqual(len(list(self.directory.iterdir())), MAX_FILES)
        self.assertEqual(self.path.read_text(), "q\nr\ns\nt\n")

    def test_sizeAtStart(self) -> None:
        """What a file contains when it is opened counts."""
        self.patch(log_file, "MAX_SIZE", 8)
        self.path.write_text("before\n")
        self.make(self.path)({"log_format": "one"})
        self.assertFiles(log_1="before\n", log="one\n")

    def test_cannotBeRenamed(self) -> None:
        """A file that cannot be renamed is continued, which is said once."""
        self.patch(log_file, "MAX_SIZE", 8)
        (self.directory / f"log.{MAX_FILES - 2}").mkdir()
        (self.directory / f"log.{MAX_FILES - 1}").write_text("")
        self.write("one", "two", "three", "four")
        self.assertEqual(self.path.read_text(), "one\ntwo\nthree\nfour\n")
        self.assertEqual(self.printed.getvalue().count("\n"), 1)

    def test_fullDisk(self) -> None:
        """A full disk is reported once; the lines that were lost are counted, and logged when there is room again."""
        if not FULL.exists():
            raise SkipTest("no /dev/full")
        self.path.unlink()
        self.path.symlink_to(FULL)
        self.log = self.make(self.path)
        self.write("one", "two", "three")
        self.assertEqual(self.printed.getvalue(), f"securechat: log file {self.path}: No space left on device\n")
        self.path.unlink()
        self.log.reopen()
        self.write("four", "five")
        self.assertFiles(log="four\nfive\n")
        self.assertLost(3)
        self.assertEqual(self.log.lines_lost, 3)

    def test_incompleteLine(self) -> None:
        """A line that did not fit whole is lost, and the next one begins on a line of its own."""
        real = os.write
        self.patch(os, "write", lambda file, data: real(file, data[:3]))
        self.write("first")
        self.patch(os, "write", real)
        self.write("second")
        self.assertFiles(log="fir\nsecond\n")
        self.assertLost(1)
        self.assertEqual(self.log.lines_lost, 1)

    def test_noStandardError(self) -> None:
        """Nothing fails if standard error is closed or missing."""
        if not FULL.exists():
            raise SkipTest("no /dev/full")
        self.path.unlink()
        self.path.symlink_to(FULL)
        self.log = self.make(self.path)
        self.printed.close()
        self.write("one")
        self.patch(sys, "__stderr__", None)
        self.write("two")
        self.path.unlink()
        self.log.reopen()
        self.write("three")
        self.assertLost(2)

    def test_permissions(self) -> None:
        """The umask applies."""
        self.addCleanup(os.umask, os.umask(0o077))
        path = self.directory / "other"
        self.make(path)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

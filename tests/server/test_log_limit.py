"""The limit on the log, with a clock of its own, a log file in memory, and statements that log too much."""

from collections.abc import Callable
from io import StringIO
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, LogLevel, globalLogPublisher, textFileLogObserver
from twisted.python import log as legacy_log
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from securechat.server.log_limit import ILogReactor, LogLimit, limit_log


@implementer(ILogReactor)
class LogClock(Clock):
    """A Clock that takes calls from threads; there are none."""

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:
        callable(*args, **kwargs)


class LogLimitTests(SynchronousTestCase):
    """One observer behind a limit."""

    def setUp(self) -> None:
        self.clock = LogClock()
        self.file = StringIO()
        self.limit = LogLimit(textFileLogObserver(self.file, timeFormat=None), self.clock)
        self.log = Logger("chat", observer=self.limit)

    def lines(self) -> list[str]:
        return self.file.getvalue().splitlines()

    def test_passes(self) -> None:
        """A hundred lines at once are written as they are, and no timer is started."""
        for number in range(100):
            self.log.info("client {number} left", number=number)
        self.assertEqual(self.lines(), [f"- [chat#info] client {number} left" for number in range(100)])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.limit.close()
        self.assertEqual(len(self.lines()), 100)

    def test_summary(self) -> None:
        """What is left out is counted; a line says how many there were, ten seconds after the first of them."""
        for number in range(1000):
            self.log.warn("client {number} from {peer}: not let in", number=number, peer="192.0.2.1")
        written = len(self.lines())
        self.assertLess(written, 250)
        self.clock.advance(9.9)
        self.assertEqual(len(self.lines()), written)
        self.clock.advance(0.1)
        self.assertEqual(
            self.lines()[written:],
            [f'- [chat#warn] … and {1000 - written} more like "client … from …: not let in" in the last 10 s'],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nextSummary(self) -> None:
        """Each summary counts what was left out since the one before it, and says in which time that was."""
        for _ in range(3):
            for _ in range(1000):
                self.log.info("client left")
            self.clock.advance(10)
        summaries = [line for line in self.lines() if "more like" in line]
        written = len(self.lines()) - len(summaries)
        counts = [int(line.partition("… and ")[2].split()[0]) for line in summaries]
        self.assertEqual(sum(counts), 3000 - written)
        self.assertLess(max(counts), 1000)
        self.assertTrue(all(line.endswith(" in the last 10 s") for line in summaries))

    def test_timeOfASummary(self) -> None:
        """A summary says how long ago the first of the lines was left out, not the last."""
        for _ in range(1000):
            self.log.info("client left")
        self.clock.advance(4)
        for _ in range(1000):
            self.log.info("client left")
        self.clock.advance(6)
        self.assertTrue(self.lines()[-1].endswith(" in the last 10 s"), self.lines()[-1])

    def test_anotherThread(self) -> None:
        """Any thread may log; the timer of the summary is started by the reactor's."""
        calls: list[Callable[[], object]] = []
        self.patch(self.clock, "callFromThread", calls.append)
        for _ in range(1000):
            self.log.info("client left")
        self.assertEqual((len(calls), self.clock.getDelayedCalls()), (1, []))
        calls[0]()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_close(self) -> None:
        """A limit that ends writes the summary that is due, and starts no more timers."""
        for number in range(1000):
            self.log.info("client {number} left", number=number)
        self.clock.advance(3)
        self.limit.close()
        self.assertRegex(self.lines()[-1], r'… and \d+ more like "client … left" in the last 3 s$')
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.limit.close()
        self.assertEqual(len([line for line in self.lines() if "more like" in line]), 1)

    def test_recovers(self) -> None:
        """A minute after a flood, lines of its kind are written again."""
        for _ in range(1000):
            self.log.info("client left")
        self.clock.advance(60)
        before = len(self.lines())
        for _ in range(100):
            self.log.info("client left")
        self.assertEqual(len(self.lines()), before + 100)

    def test_kindsAreSeparate(self) -> None:
        """A flood of one kind of line leaves out none of another."""
        for _ in range(1000):
            self.log.info("client left")
        before = len(self.lines())
        self.log.info("the keys stay as they were")
        Logger("other", observer=self.limit).info("client left")
        self.assertEqual(len(self.lines()), before + 2)

    def test_longFlood(self) -> None:
        """Ten kinds of lines, as many as a peer can cause, make less than a megabyte in the first minute and later."""
        sizes = []
        for _ in range(3):
            before = len(self.file.getvalue().encode())
            for _ in range(600):
                for kind in range(10):
                    for number in range(20):
                        self.log.warn(f"client {{number}} from {{peer}}: {kind}", number=number, peer="[2001:db8::1]:5")
                self.clock.advance(0.1)
            sizes.append(len(self.file.getvalue().encode()) - before)
        self.assertLess(sizes[0], 600_000)
        self.assertLess(max(sizes[1:]), 400_000)
        self.assertGreater(min(sizes), 100_000)

    def test_tracebacks(self) -> None:
        """Tracebacks count by their size."""
        for _ in range(1000):
            try:
                raise ValueError("x" * 1000)
            except ValueError:
                self.log.failure("unhandled error at a tick")
        self.assertLess(len(self.file.getvalue()), 20_000)
        self.assertIn("ValueError: xxx", self.file.getvalue())

    def test_aLineLongerThanTheLimit(self) -> None:
        """One long line is written; those after it wait until it is paid for."""
        self.log.debug("client 1: {text}", text="长" * 10_000)
        self.log.debug("client 1: {text}", text="short")
        self.clock.advance(20)
        self.log.debug("client 1: {text}", text="after 20 s")
        self.assertEqual(len([line for line in self.lines() if "client" in line and "more" not in line]), 1)
        self.clock.advance(20)
        self.log.debug("client 1: {text}", text="after 40 s")
        self.assertEqual(self.lines()[-1], "- [chat#debug] client 1: after 40 s")

    def test_summariesHaveNoValues(self) -> None:
        """A summary consists of a line's fixed words: it has nothing that was filled in."""
        for _ in range(1000):
            self.log.debug("client {number}: {text}", number=77, text="secret " * 10)
        self.file.truncate(0)
        self.clock.advance(10)
        self.assertIn('"client …: …"', self.file.getvalue())
        self.assertNotIn("secret", self.file.getvalue())
        self.assertNotIn("77", self.file.getvalue())

    def test_countlessKinds(self) -> None:
        """A program that fills in its lines itself makes no more kinds than there may be; the rest are one kind."""
        for number in range(10_000):
            self.log.info(f"line {number} of a plugin, and " + "x" * 900)
        self.assertLess(len(self.lines()), 100)
        self.clock.advance(10)
        self.assertLess(len(self.lines()), 200)
        self.assertTrue(any('more like "…"' in line for line in self.lines()))


class LimitLogTests(SynchronousTestCase):
    """The limit on the whole process's log."""

    def test_everyLine(self) -> None:
        """Every line is limited, also Twisted's own and those of its old interface, until that is undone."""
        seen: list[dict[str, Any]] = []
        observer = cast(ILogObserver, seen.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        clock = LogClock()
        undo = limit_log(clock)
        for write in (Logger("twisted.web").info, legacy_log.msg):
            seen.clear()
            for _ in range(1000):
                write("HTTP connection closed")
            self.assertLess(len(seen), 400)
            self.assertGreater(len(seen), 100)
        undo()
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual([event["log_level"] for event in seen[-2:]], [LogLevel.info] * 2)
        self.assertTrue(all("more like" in event["log_format"] for event in seen[-2:]))
        seen.clear()
        for _ in range(1000):
            Logger("twisted.web").info("HTTP connection closed")
        self.assertEqual(len(seen), 1000)

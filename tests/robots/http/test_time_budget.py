"""Timeouts for several steps."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.http.time_budget import TimeBudget


class TimeBudgetTests(SynchronousTestCase):
    """Timeouts for several steps."""

    def test_together(self) -> None:
        """Steps share one timeout; the time between them does not count; a reset starts it again."""
        clock = Clock()
        budget = TimeBudget(clock, 10.0)

        def wait() -> tuple["Deferred[int]", "Deferred[int]"]:
            step: Deferred[int] = Deferred()
            return step, Deferred.fromCoroutine(budget.wait(step))

        for _ in range(2):
            step, done = wait()
            clock.advance(4.0)
            step.callback(7)
            self.assertEqual(self.successResultOf(done), 7)
            clock.advance(100.0)
        step, done = wait()
        clock.advance(1.9)
        self.assertNoResult(done)
        clock.advance(0.2)
        self.assertEqual(self.failureResultOf(done, RobotError).value.fault, Fault.TIMED_OUT)
        step, done = wait()
        clock.advance(0.0)
        self.failureResultOf(done, RobotError)
        budget.reset(3.0)
        step, done = wait()
        clock.advance(2.9)
        step.callback(8)
        self.assertEqual(self.successResultOf(done), 8)
        self.assertEqual(clock.getDelayedCalls(), [])

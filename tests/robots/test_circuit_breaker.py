"""When a robot is left alone, and for how long."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.circuit_breaker import LONGEST_PAUSE, CircuitBreaker, CircuitOpenError


class BreakerTests(SynchronousTestCase):
    """When a robot is left alone, and for how long."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.breaker = CircuitBreaker(self.clock.seconds, jitter=lambda: 0.0)

    def fail(self, fault: Fault = Fault.UNREACHABLE, retry_after: float | None = None) -> None:  # type: ignore[override]
        self.breaker.enter()
        self.breaker.failed(RobotError(fault, "test", retry_after))

    def assertOpen(self, seconds: float) -> None:
        """It lets nobody through for so long, and then one."""
        self.clock.advance(seconds - 0.01)
        error = self.assertRaises(CircuitOpenError, self.breaker.enter)
        assert isinstance(error, CircuitOpenError)
        self.assertAlmostEqual(error.retry_after or 0.0, 0.01)
        self.clock.advance(0.02)
        self.breaker.enter()
        self.assertRaises(CircuitOpenError, self.breaker.enter)

    def test_unreachable(self) -> None:
        """One failure to connect is enough for a second's pause; each further doubles it, up to a minute."""
        self.fail()
        for pause in (1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE):
            self.assertOpen(pause)
            self.breaker.failed(RobotError(Fault.UNREACHABLE, "test"))
        self.assertOpen(LONGEST_PAUSE)
        self.breaker.answered()
        self.fail()
        self.assertOpen(1)

    def test_keepsTheFault(self) -> None:
        """Who is not let through hears why."""
        self.fail(Fault.BUSY, 100)
        error = self.assertRaises(CircuitOpenError, self.breaker.enter)
        assert isinstance(error, CircuitOpenError)
        self.assertEqual(error.fault, Fault.BUSY)

    def test_quota(self) -> None:
        """A robot that says when to come back is left alone for that long."""
        self.fail(Fault.BUSY, 7 * 60 * 60)
        self.assertOpen(7 * 60 * 60)

    def test_inARow(self) -> None:
        """A broken answer or two say nothing; the third in a row does."""
        for fault in (Fault.BROKEN_ANSWER, Fault.TIMED_OUT):
            self.fail(fault)
        self.breaker.answered()
        for fault in (Fault.BROKEN_ANSWER, Fault.TIMED_OUT, Fault.INTERNAL):
            self.fail(fault)
        self.assertOpen(1)

    def test_refusal(self) -> None:
        """A robot that refuses is alive."""
        for _time in range(10):
            self.fail(Fault.REFUSED)
        self.breaker.enter()

    def test_theOneThatFindsOut(self) -> None:
        """After the pause a failure of any kind opens it again; a user who leaves lets the next one find out."""
        self.fail()
        self.clock.advance(1)
        self.breaker.enter()
        self.breaker.abandoned()
        self.breaker.enter()
        self.breaker.failed(RobotError(Fault.TIMED_OUT, "test"))
        self.assertOpen(2)

    def test_failuresAtOnce(self) -> None:
        """Many that were asked before it opened count once."""
        for _time in range(10):
            self.breaker.enter()
        for _time in range(10):
            self.breaker.failed(RobotError(Fault.UNREACHABLE, "test"))
        self.assertOpen(1)

    def test_jitter(self) -> None:
        """Pauses differ."""
        self.breaker = CircuitBreaker(self.clock.seconds, jitter=lambda: 1.0)
        self.fail()
        self.assertOpen(1.2)

"""When a robot is not asked, and for how long."""

from typing import cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.circuit_breaker import LONGEST_PAUSE, CircuitBreaker, CircuitOpenError


class BreakerTests(SynchronousTestCase):
    """When a robot is not asked, and for how long."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.breaker = CircuitBreaker(self.clock.seconds, jitter=lambda: 0.0)

    def fail(self, fault: Fault = Fault.UNREACHABLE, retry_after: float | None = None) -> None:  # type: ignore[override]
        self.breaker.enter()
        self.breaker.failed(RobotError(fault, "test", retry_after))

    def assertOpen(self, seconds: float) -> None:
        """The circuit is open for this time; then it admits one request."""
        self.clock.advance(seconds - 0.01)
        error = self.assertRaises(CircuitOpenError, self.breaker.enter)
        assert isinstance(error, CircuitOpenError)
        self.assertAlmostEqual(error.retry_after or 0.0, 0.01)
        self.clock.advance(0.02)
        self.breaker.enter()
        self.assertRaises(CircuitOpenError, self.breaker.enter)

    def test_unreachable(self) -> None:
        """A failure to connect opens the circuit for a second; each further failure doubles that, up to a minute."""
        self.fail()
        for pause in (1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE):
            self.assertOpen(pause)
            self.breaker.failed(RobotError(Fault.UNREACHABLE, "test"))
        self.assertOpen(LONGEST_PAUSE)
        self.breaker.succeeded()
        self.fail()
        self.assertOpen(1)

    def test_faultWhileOpen(self) -> None:
        """While the circuit is open, requests fail with the fault that opened it."""
        self.fail(Fault.BUSY, 100)
        error = self.assertRaises(CircuitOpenError, self.breaker.enter)
        assert isinstance(error, CircuitOpenError)
        self.assertEqual(error.fault, Fault.BUSY)

    def test_quota(self) -> None:
        """A robot that sends a time to retry after is not asked before."""
        self.fail(Fault.BUSY, 7 * 60 * 60)
        self.assertOpen(7 * 60 * 60)

    def test_inARow(self) -> None:
        """Broken answers and timeouts open the circuit when there are three in a row."""
        for fault in (Fault.BROKEN_ANSWER, Fault.TIMED_OUT):
            self.fail(fault)
        self.breaker.succeeded()
        for fault in (Fault.BROKEN_ANSWER, Fault.TIMED_OUT, Fault.INTERNAL):
            self.fail(fault)
        self.assertOpen(1)

    def test_faults(self) -> None:
        """Each fault opens the circuit at once, after three in a row, or never: a refusal is an answer."""
        times = {Fault.UNREACHABLE: 1, **dict.fromkeys((Fault.TIMED_OUT, Fault.BROKEN_ANSWER, Fault.INTERNAL), 3)}
        for fault in Fault:
            self.setUp()
            for _time in range(times.get(fault, 10)):
                self.fail(fault)
            if fault in times:
                self.assertRaises(CircuitOpenError, self.breaker.enter)
            else:
                self.breaker.enter()

    def test_testRequest(self) -> None:
        """After the pause any failure opens the circuit again; if the test request is cancelled, the next one tests."""
        self.fail()
        self.clock.advance(1)
        self.breaker.enter()
        self.breaker.abandoned()
        self.breaker.enter()
        self.breaker.failed(RobotError(Fault.TIMED_OUT, "test"))
        self.assertOpen(2)

    def test_failuresAtOnce(self) -> None:
        """Concurrent requests that fail together count as one failure."""
        for _time in range(10):
            self.breaker.enter()
        for _time in range(10):
            self.breaker.failed(RobotError(Fault.UNREACHABLE, "test"))
        self.assertOpen(1)

    def test_oldRequests(self) -> None:
        """A request from before the circuit opened does not extend the pause, whenever it fails."""
        for _time in range(2):
            self.breaker.enter()
        self.breaker.failed(RobotError(Fault.UNREACHABLE, "test"))
        self.clock.advance(0.9)
        self.breaker.failed(RobotError(Fault.UNREACHABLE, "test"))
        self.assertOpen(0.1)

    def test_retryAfter(self) -> None:
        """The longer of the pause and the time after which the robot wants to be asked counts."""
        for retry_after, pause in (0.0, 1), (0.5, 1), (3, 3):
            self.setUp()
            self.fail(Fault.BUSY, retry_after)
            self.assertOpen(pause)

    def test_randomByDefault(self) -> None:
        """Pauses of several servers differ."""
        ends = set()
        for _time in range(5):
            self.breaker = CircuitBreaker(self.clock.seconds)
            self.fail()
            error = self.assertRaises(CircuitOpenError, self.breaker.enter)
            assert isinstance(error, CircuitOpenError)
            ends.add(error.retry_after)
        self.assertEqual(len(ends), 5)
        self.assertGreaterEqual(min(cast(set[float], ends)), 1)
        self.assertLessEqual(max(cast(set[float], ends)), 1.2)

    def test_jitter(self) -> None:
        """Pauses are extended at random."""
        self.breaker = CircuitBreaker(self.clock.seconds, jitter=lambda: 1.0)
        self.fail()
        self.assertOpen(1.2)

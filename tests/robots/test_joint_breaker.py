"""The circuit breakers of several servers as one."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.circuit_breaker import CircuitBreaker, CircuitOpenError
from securechat.robots.joint_breaker import JointBreaker


class JointBreakerTests(SynchronousTestCase):
    """When a robot with two servers is not asked."""

    def test_open(self) -> None:
        """It is open while both are, for the shorter of their pauses; what is reported to it makes no difference."""
        clock = Clock()
        breakers = [CircuitBreaker(clock.seconds, jitter=lambda: 0.0) for _ in range(2)]
        joint = JointBreaker(breakers)
        breakers[0].failed(RobotError(Fault.BUSY, "x", 30))
        joint.enter()
        joint.failed(RobotError(Fault.UNREACHABLE, "x"))
        self.assertFalse(joint.is_open)
        joint.enter()
        breakers[1].failed(RobotError(Fault.UNREACHABLE, "y"))
        self.assertTrue(joint.is_open)
        joint.succeeded()
        joint.abandoned()
        error = self.assertRaises(CircuitOpenError, joint.enter)
        assert isinstance(error, CircuitOpenError)
        self.assertEqual((error.fault, error.retry_after), (Fault.UNREACHABLE, 1))
        clock.advance(1)
        joint.enter()
        joint.enter()  # it is each server's own breaker that admits one request only
        self.assertTrue(joint.is_open)
        breakers[1].succeeded()
        self.assertFalse(joint.is_open)

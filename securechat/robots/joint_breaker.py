"""The circuit breakers of several servers as one."""

from collections.abc import Sequence

from securechat.errors import RobotError
from securechat.robots.circuit_breaker import CircuitBreaker, CircuitOpenError


class JointBreaker:
    """Open while all of the breakers are. It has no state: each server's own breaker is told how requests end."""

    def __init__(self, breakers: Sequence[CircuitBreaker]) -> None:
        self._breakers = breakers

    @property
    def is_open(self) -> bool:
        """As in CircuitBreaker."""
        return all(breaker.is_open for breaker in self._breakers)

    def enter(self) -> None:
        """CircuitOpenError if no server may be asked: that of the server that may be asked first."""
        refusals: list[CircuitOpenError] = []
        for breaker in self._breakers:
            refusal = breaker.refusal()
            if refusal is None:
                return
            refusals.append(refusal)
        raise min(refusals, key=lambda refusal: refusal.retry_after or 0.0)

    def succeeded(self) -> None:
        """As in CircuitBreaker."""

    def failed(self, error: RobotError) -> None:
        """As in CircuitBreaker."""

    def abandoned(self) -> None:
        """As in CircuitBreaker."""

"""A clock as precise as the daemon's."""

from twisted.internet.task import Clock


class HoldingClock(Clock):
    """Holding until a time takes exactly until then."""

    rightNow: float

    def hold_until(self, when: float) -> None:
        self.rightNow = max(self.rightNow, when)

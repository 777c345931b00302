"""A token bucket, for rate limits."""


class TokenBucket:
    """Holds at most `burst` tokens and gains `rate` tokens per second. `now` is in seconds of any monotonic clock."""

    __slots__ = ("_burst", "_rate", "_then", "_tokens")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._tokens = float(burst)
        self._then = now

    def take(self, now: float) -> bool:
        """Take a token; False if there is none."""
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def spend(self, tokens: float) -> None:
        """Take more tokens after a successful `take`, even if there are not that many: later ones pay for them."""
        self._tokens -= tokens

    def give_back(self) -> None:
        """Return a token that was taken."""
        self._tokens += 1

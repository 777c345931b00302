"""The token bucket."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.token_bucket import TokenBucket


class TokenBucketTests(SynchronousTestCase):
    """Tokens and time."""

    def test_burstThenRate(self) -> None:
        """The burst is available at once, then one token per period, never more than the burst."""
        bucket = TokenBucket(2, 0.5, now=100.0)
        self.assertEqual([bucket.take(100.0) for _ in range(3)], [True, True, False])
        self.assertFalse(bucket.take(101.9))
        self.assertTrue(bucket.take(102.0))
        self.assertFalse(bucket.take(102.0))
        self.assertEqual([bucket.take(10_000.0) for _ in range(3)], [True, True, False])

    def test_debt(self) -> None:
        """What is spent beyond the tokens at hand has to be gained again before one can be taken."""
        bucket = TokenBucket(2, 0.5, now=100.0)
        self.assertTrue(bucket.take(100.0))
        bucket.spend(5)
        self.assertFalse(bucket.take(109.9))
        self.assertTrue(bucket.take(110.0))

    def test_givenBack(self) -> None:
        """A token that is given back is available again, within the burst."""
        bucket = TokenBucket(1, 0.5, now=0.0)
        self.assertTrue(bucket.take(0.0))
        for _ in range(3):
            bucket.give_back()
        self.assertEqual([bucket.take(0.0) for _ in range(2)], [True, False])

    def test_giveBack(self) -> None:
        """A token that is given back is one token, and no more than the burst is ever there."""
        bucket = TokenBucket(3, 0.001, 0.0)
        self.assertEqual([bucket.take(0.0) for _ in range(4)], [True, True, True, False])
        bucket.give_back()
        self.assertEqual([bucket.take(0.0) for _ in range(2)], [True, False])
        for _ in range(9):
            bucket.give_back()
        self.assertEqual([bucket.take(0.0) for _ in range(4)], [True, True, True, False])

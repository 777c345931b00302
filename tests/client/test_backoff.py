"""Delays between attempts to connect."""

import itertools

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.backoff import FIRST_DELAY, IDLE_DELAY, MAX_DELAY, Backoff


class BackoffTests(SynchronousTestCase):
    """Exponential backoff."""

    def test_doubles(self) -> None:
        """The delay doubles with each failure up to a minute, and begins anew after a success."""
        backoff = Backoff(lambda: 1.0)
        self.assertEqual([backoff.next() for _failure in range(8)], [1, 2, 4, 8, 16, 32, 60, 60])
        backoff.reset()
        self.assertEqual(backoff.next(), FIRST_DELAY)

    def test_lasting(self) -> None:
        """A cause that will last is met again at most once a minute."""
        self.assertEqual(Backoff(lambda: 1.0).next(is_lasting=True), MAX_DELAY)

    def test_jitter(self) -> None:
        """Delays differ, by at most a half."""
        delays = [Backoff().next() for _client in range(50)]
        self.assertGreater(len(set(delays)), 25)
        self.assertTrue(all(FIRST_DELAY / 2 <= delay <= FIRST_DELAY for delay in delays))

    def test_idle(self) -> None:
        """Idle clients spread their first attempts evenly over some seconds, and only these."""
        delays = []
        for number in range(10):
            backoff = Backoff(lambda: number / 9)  # noqa: B023 - it is used in this round
            delays.append(backoff.next(is_idle=True))
            self.assertLessEqual(backoff.next(is_idle=True), 2 * FIRST_DELAY)
        self.assertEqual((delays[0], delays[-1]), (FIRST_DELAY / 2, IDLE_DELAY))
        steps = [late - early for early, late in itertools.pairwise(delays)]
        self.assertAlmostEqual(min(steps), max(steps))

"""The schedule of records: ticks and buckets."""

import math
from decimal import ROUND_CEILING, Decimal, localcontext
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.shaping import Train, burst_size, is_bucket, next_bucket

TICK = 100  # milliseconds
NAMED = [50, 75, 100, 150, 200, 300, 400, 600, 800, 1200]


def run(train: Train, needed: int) -> int:
    """Let ticks pass until the train ends; there is more to come until `needed` have."""
    ticks = 0
    while train.is_running:
        ticks += 1
        train.pass_tick(more=ticks < needed)
    return ticks


class BucketTests(SynchronousTestCase):
    """How long trains are."""

    def test_buckets(self) -> None:
        """They are the specification's, and after the last of them every further 600."""
        self.assertEqual([ticks for ticks in range(3001) if is_bucket(ticks)], [*NAMED, 1800, 2400, 3000])

    def test_firstThatHolds(self) -> None:
        """A train ends at the first bucket that holds the reply."""
        for needed, bucket in ((1, 50), (49, 50), (50, 50), (51, 75), (76, 100), (1200, 1200), (1201, 1800)):
            train = Train(TICK)
            train.start(0)
            self.assertEqual(run(train, needed), bucket)
            self.assertEqual(next_bucket(needed), bucket)
        self.assertEqual(next_bucket(0), 50)

    def test_endless(self) -> None:
        """An endless train continues when no reply is to come."""
        train = Train(TICK, endless=True)
        train.start(0)
        for _tick in range(5000):
            train.pass_tick(more=False)
        self.assertTrue(train.is_running)


class BurstTests(SynchronousTestCase):
    """How many records a client sends at once."""

    def test_sizes(self) -> None:
        """They are the specification's: powers of two, then steps of the square root of two, rounded up."""
        sizes = sorted({burst_size(records) for records in range(1, 30_000)})
        self.assertEqual(sizes[:16], [1, 2, 4, 8, 16, 32, 64, 128, 182, 256, 363, 512, 725, 1024, 1449, 2048])
        self.assertEqual(sizes[-4:], [11586, 16384, 23171, 32768])

    def test_smallestThatHolds(self) -> None:
        """A burst is filled to the smallest size that holds it, whatever its length."""
        sizes = [2**n for n in range(8)] + [math.isqrt(2**k - 1) + 1 for k in range(15, 80)]
        for size, larger in pairwise(sizes):
            self.assertEqual([burst_size(size), burst_size(size + 1), burst_size(larger)], [size, larger, larger])

    def test_exact(self) -> None:
        """The sizes have no rounding errors, however large they are."""
        with localcontext(prec=80):
            for k in range(15, 200):
                size = int(Decimal(2**k).sqrt().to_integral(ROUND_CEILING))
                self.assertEqual((burst_size(size - 1), burst_size(size)), (size, size))


class GridTests(SynchronousTestCase):
    """When records leave."""

    def test_grid(self) -> None:
        """Tick k is at t0 + k·tick."""
        train = Train(TICK)
        train.start(7000)
        times = []
        while train.is_running:
            times.append(train.next_tick)
            train.pass_tick(more=False)
        self.assertEqual(times, [7000 + k * TICK for k in range(1, 51)])

    def test_anotherMessage(self) -> None:
        """A message during a train keeps its ticks, and starts a whole bucket at the next tick."""
        train = Train(TICK)
        train.start(7000)
        for _tick in range(20):
            train.pass_tick(more=False)
        train.extend()
        self.assertEqual(train.next_tick, 7000 + 21 * TICK)
        self.assertEqual(run(train, 1), 50)

    def test_fixedBucket(self) -> None:
        """Once the bucket of a train is fixed, a message does not move it; that of the next train is not fixed."""
        train = Train(TICK)
        for start in (0, 100_000):
            train.start(start)
            for _tick in range(20):
                train.pass_tick(more=False)
            train.extend()
            for _tick in range(20):
                train.pass_tick(more=False)
            train.fix_bucket()
            train.extend()
            self.assertEqual(run(train, 1), 30)

    def test_anotherTrain(self) -> None:
        """A message after the end of a train starts a new train at its own time."""
        train = Train(TICK)
        train.start(0)
        run(train, 1)
        train.start(100_000)
        self.assertEqual(train.next_tick, 100_000 + TICK)

    def test_endlessTrainThatIsToEnd(self) -> None:
        """A train without an end can be given one: the bucket counted from the last message."""
        train = Train(TICK, endless=True)
        train.start(0)
        for _tick in range(5000):
            train.pass_tick(more=False)
        train.extend()
        for _tick in range(20):
            train.pass_tick(more=False)
        train.end_at_bucket()
        self.assertEqual(run(train, 1), 30)

    @given(st.lists(st.integers(1, 2000), min_size=1, max_size=5))
    def test_anyMessages(self, needs: list[int]) -> None:
        """Every train has the smallest bucket's number of ticks that holds the replies."""
        for needed in needs:
            train = Train(TICK)
            train.start(0)
            ticks = run(train, needed)
            self.assertTrue(is_bucket(ticks) and ticks >= needed)
            self.assertFalse(any(is_bucket(fewer) for fewer in range(needed, ticks)))

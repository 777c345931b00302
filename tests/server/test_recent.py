"""Recent: the latest values, and what is enough for most of them."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.server.recent import Recent


class RecentTests(SynchronousTestCase):
    """Ten values, and what is enough for nine of them."""

    def setUp(self) -> None:
        self.recent = Recent(10, 0.9)

    def usual(self, *values: float) -> list[float]:
        """What is usual after each of these values."""
        found = []
        for value in values:
            self.recent.add(value)
            found.append(self.recent.usual)
        return found

    def test_first(self) -> None:
        """As long as there are few values, the largest is usual."""
        self.assertEqual(self.usual(3, 5, 4), [3, 5, 5])

    def test_most(self) -> None:
        """One of eleven may be exceeded."""
        self.recent = Recent(11, 0.9)
        self.assertEqual(self.usual(*range(1, 11), 100)[-2:], [10, 10])

    def test_forgets(self) -> None:
        """Older values do not count."""
        self.assertEqual(self.usual(*[7] * 10, *[2] * 10)[-2:], [7, 2])

    def test_equalValues(self) -> None:
        """Of equal values, one is dropped at a time."""
        self.assertEqual(self.usual(7, 7, *[2] * 8, 3, 3)[-3:], [7, 7, 3])

    def test_initial(self) -> None:
        """Initial values count until they are dropped, too."""
        self.recent = Recent(3, 0.9, [5, 5, 5])
        self.assertEqual(self.usual(1, 2, 1), [5, 5, 2])

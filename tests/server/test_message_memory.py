"""The memory for messages: who takes how much of it."""

import gc

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.server.admission import Holder, source_of
from securechat.server.message_memory import SHARES, MessageMemory


class MemoryTests(SynchronousTestCase):
    """A MessageMemory of 800 bytes, of which one user or source may take 100."""

    def setUp(self) -> None:
        self.memory = MessageMemory(800)

    def test_share(self) -> None:
        """One user or source has an eighth, however many sessions it has."""
        one, other = self.memory.quota(Holder("a")), self.memory.quota(Holder("a"))
        self.assertTrue(one.take(60))
        self.assertTrue(other.take(40))
        self.assertFalse(one.take(1))
        self.assertFalse(other.take(1))
        self.assertTrue(one.take(0))
        other.give_back(1)
        self.assertTrue(one.take(1))

    def test_all(self) -> None:
        """All of them together have no more than there is, even if each has less than its eighth."""
        memory = MessageMemory(8 * 100 - 1)
        quotas = [memory.quota(Holder(str(number))) for number in range(9)]
        self.assertTrue(all(quota.take(99) for quota in quotas[:8]))
        self.assertFalse(quotas[8].take(8))
        self.assertTrue(quotas[8].take(7))
        self.assertFalse(quotas[8].take(1))

    def test_site(self) -> None:
        """An IPv6 /48 network has four times the part of one of its /64 networks."""
        memory = MessageMemory(800)
        quotas = [memory.quota(source_of(f"2001:db8:0:{number}::1")) for number in range(5)]
        self.assertFalse(quotas[0].take(101))
        for quota in quotas[:4]:
            self.assertTrue(quota.take(100))
        self.assertFalse(quotas[4].take(1))
        self.assertTrue(memory.quota(source_of("2001:db8:1::1")).take(100))
        quotas[0].give_back(10)
        self.assertTrue(quotas[4].take(10))
        self.assertEqual(memory.all.taken, 500)

    def test_gone(self) -> None:
        """The quotas of users and sources that have no session any more are not kept."""
        quotas = [self.memory.quota(source_of(f"2001:db8:{number:x}::1")) for number in range(100)]
        quotas += [self.memory.quota(Holder(str(number))) for number in range(100)]
        self.assertEqual(len(self.memory._quotas), 300)
        del quotas
        gc.collect()
        self.assertEqual(len(self.memory._quotas), 0)

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 120), st.booleans()), max_size=60))
    def test_anyOrder(self, steps: list[tuple[int, int, bool]]) -> None:
        """In any order, neither bound is exceeded, nothing is refused that fits, and what was given back is free."""
        memory = MessageMemory(800)
        quotas = [memory.quota(Holder(str(number))) for number in range(10)]
        taken: list[list[int]] = [[] for _ in quotas]
        for number, size, gives_back in steps:
            mine = taken[number]
            if gives_back and mine:
                quotas[number].give_back(mine.pop())
            else:
                fits = sum(mine) + size <= 800 // SHARES and sum(map(sum, taken)) + size <= 800
                self.assertEqual(quotas[number].take(size), fits)
                mine += [size] * fits

"""The choice of one of several servers."""

import math
from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.robots.server_choice import MOST, Candidate, choose

USERS = [f"{number:032x}" for number in range(2000)]

users = st.text("0123456789abcdef", min_size=32, max_size=32)
names = st.text("abc:1", min_size=1, max_size=4)
servers = st.lists(
    st.builds(Candidate, names, st.booleans(), st.integers(0, 20)),
    min_size=1,
    max_size=6,
    unique_by=lambda server: server.name,
)
limits = st.integers(1, 20)


def idle(*names: str) -> list[Candidate]:
    return [Candidate(name, is_healthy=True, requests=0) for name in names]


class PropertyTests(SynchronousTestCase):
    """What holds for any servers."""

    @given(users, servers, limits)
    def test_health(self, user: str, servers: list[Candidate], limit: int) -> None:
        """A server that is down is chosen only if all of them are."""
        chosen = choose(user, servers, limit)
        self.assertIn(chosen, servers)
        self.assertEqual(chosen.is_healthy, any(server.is_healthy for server in servers))

    @given(users, servers, limits)
    def test_load(self, user: str, servers: list[Candidate], limit: int) -> None:
        """No request waits while a server has a free slot, or goes to a server that is much busier than others."""
        chosen = choose(user, servers, limit)
        healthy = [server.requests for server in servers if server.is_healthy == chosen.is_healthy]
        if min(healthy) < limit:
            self.assertLess(chosen.requests, limit)
        if chosen.requests > min(healthy):
            self.assertLessEqual(chosen.requests + 1, math.ceil(MOST * (sum(healthy) + 1) / len(healthy)))

    @given(users, servers, limits, st.randoms())
    def test_order(self, user: str, servers: list[Candidate], limit: int, random: Random) -> None:
        """It makes no difference in which order the servers are configured."""
        shuffled = servers.copy()
        random.shuffle(shuffled)
        self.assertEqual(choose(user, shuffled, limit), choose(user, servers, limit))

    @given(users, st.lists(names, min_size=2, max_size=6, unique=True))
    def test_change(self, user: str, names: list[str]) -> None:
        """A server that is added takes users from the others, and moves none from one of them to another."""
        *before, added = names
        self.assertIn(choose(user, idle(*names), 1).name, {choose(user, idle(*before), 1).name, added})


class ExampleTests(SynchronousTestCase):
    """Two and three servers."""

    def test_shares(self) -> None:
        """Users are spread evenly."""
        found = Counter(choose(user, idle("a:1", "b:1", "c:1"), 4).name for user in USERS)
        for name in ("a:1", "b:1", "c:1"):
            self.assertLess(abs(found[name] / len(USERS) - 1 / 3), 0.04)

    def test_ownServer(self) -> None:
        """A user's requests stay with one server until it has three quarters of all, or its limit."""
        user = next(user for user in USERS if choose(user, idle("a", "b"), 4).name == "a")
        stays = {
            (a, b): choose(user, [Candidate("a", True, a), Candidate("b", True, b)], 4).name
            for a, b in [(1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (3, 3), (4, 3), (4, 4), (5, 4)]
        }
        passed_over = {loads for loads, name in stays.items() if name == "b"}
        self.assertEqual(passed_over, {(3, 0), (4, 3), (5, 4)})

    def test_down(self) -> None:
        """While a user's server is down another one is chosen, always the same; then the first again."""
        for user in USERS[:50]:
            first = choose(user, idle("a", "b", "c"), 4).name
            down = [server._replace(is_healthy=server.name != first) for server in idle("a", "b", "c")]
            second = choose(user, down, 4).name
            self.assertNotEqual(second, first)
            self.assertEqual(second, choose(user, [server for server in down if server.is_healthy], 4).name)

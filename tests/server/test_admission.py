"""Admission: who may connect, how often, and who has to make room."""

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from securechat.server.admission import MAX_BUCKETS, Admission, Buckets, Holder, Place, source_of
from securechat.server.settings import ServerSettings

USER = b"the key of a user"


def address(number: int) -> Holder:
    """One of many IPv4 addresses."""
    return Holder(f"192.0.2.{number}")


def subnet(site: int, number: int) -> Holder:
    """One of many IPv6 networks."""
    return source_of(f"2001:db8:{site:x}:{number:x}::1")


class SourceTests(SynchronousTestCase):
    """What counts as one source."""

    def test_sources(self) -> None:
        """An IPv4 address is one, also if it is mapped to IPv6; an IPv6 /64 is one, and belongs to a /48."""
        self.assertEqual(source_of("192.0.2.1"), ("192.0.2.1", ""))
        self.assertEqual(source_of("::ffff:192.0.2.1"), ("192.0.2.1", ""))
        self.assertEqual(source_of("2001:db8:0:1:2::3"), ("2001:db8:0:1::/64", "2001:db8::/48"))
        self.assertEqual(source_of("fe80::1%eth0"), ("fe80::/64", "fe80::/48"))
        self.assertEqual(source_of("a name"), ("a name", ""))


class BucketsTests(SynchronousTestCase):
    """The rates of many."""

    def test_rate(self) -> None:
        """A burst at once, so many per second after that, each holder for itself."""
        buckets = Buckets(2, 1.0)
        taken = [buckets.take(address(number), 0.0) for number in (1, 1, 1, 2)]
        self.assertEqual(taken, [True, True, False, True])
        self.assertTrue(buckets.take(address(1), 1.0))
        self.assertFalse(buckets.take(address(1), 1.0))

    def test_sites(self) -> None:
        """An IPv6 /48 has four times the rate of a /64; a /64 that is refused for the /48's sake loses nothing."""
        buckets = Buckets(2, 1.0)
        taken = [buckets.take(subnet(1, number), 0.0) for number in range(10)]
        self.assertEqual(taken, [True] * 8 + [False] * 2)
        self.assertTrue(buckets.take(subnet(2, 1), 0.0))
        self.assertEqual([buckets.take(subnet(1, 9), 0.5) for _ in range(3)], [True, True, False])

    def test_givenBack(self) -> None:
        """A token that is given back can be taken again, and no more than the burst can be."""
        for holder in (address(1), subnet(1, 1)):
            buckets = Buckets(1, 0.001)
            buckets.give_back(holder)
            for _ in range(10):
                self.assertTrue(buckets.take(holder, 0.0))
                buckets.give_back(holder)
            self.assertEqual([buckets.take(holder, 0.0) for _ in range(2)], [True, False])

    def test_memory(self) -> None:
        """Their number is limited: those that were used last are remembered."""
        buckets = Buckets(1, 0.001)
        for number in range(MAX_BUCKETS):
            buckets.take(Holder(str(number)), 0.0)
        self.assertFalse(buckets.take(Holder("0"), 0.0))
        buckets.take(Holder("one more"), 0.0)
        self.assertFalse(buckets.take(Holder("0"), 0.0))
        self.assertTrue(buckets.take(Holder("1"), 0.0))


class AdmissionTestCase(SynchronousTestCase):
    """Connections that come and go."""

    def setUp(self) -> None:
        self.evicted: list[int] = []  # connections, by the number of their `enter`
        self._number = 0

    def make(self, *, has_users: bool = False, **limits: Any) -> Admission:
        return Admission(ServerSettings(**{"handshake_burst": 1000, **limits}), has_users=has_users)

    def enter(self, admission: Admission, source: Holder) -> Place | None:
        self._number += 1
        return admission.enter(source, 0.0, self._evict(self._number))

    def _evict(self, number: int) -> Callable[[], None]:
        return lambda: self.evicted.append(number)

    def must_enter(self, admission: Admission, source: Holder) -> Place:
        place = self.enter(admission, source)
        assert place is not None
        return place


class ConfigureTests(SynchronousTestCase):
    """Limits that change while sessions are open."""

    def test_configure(self) -> None:
        """New limits apply at once, and places that are taken still count."""
        source = Holder("192.0.2.1")
        admission = Admission(ServerSettings(max_sessions_per_source=1, message_burst=1, message_rate=0.1))
        place = admission.enter(source, 0, lambda: None)
        assert place is not None
        self.assertTrue(place.admit(b"") and place.take_message(0))
        self.assertFalse(place.take_message(0))
        self.assertIsNone(admission.enter(source, 0, lambda: None))
        admission.configure(ServerSettings(max_sessions_per_source=2, message_burst=2), has_users=False)
        self.assertTrue(place.take_message(0) and place.take_message(0))
        self.assertFalse(place.take_message(0))
        admission.configure(ServerSettings(max_sessions_per_source=2, message_burst=2), has_users=False)
        self.assertFalse(place.take_message(0))
        other = admission.enter(source, 0, lambda: None)
        assert other is not None
        self.assertTrue(other.admit(b""))
        self.assertIsNone(admission.enter(source, 0, lambda: None))


class HandshakeTests(AdmissionTestCase):
    """Unfinished handshakes."""

    def test_ofOneSource(self) -> None:
        """A source may have four; one that ends makes room."""
        admission = self.make()
        places = [self.must_enter(admission, address(1)) for _ in range(4)]
        self.assertIsNone(self.enter(admission, address(1)))
        self.must_enter(admission, address(2))
        places[0].release()
        places[0].release()
        self.must_enter(admission, address(1))
        self.assertTrue(places[1].admit(USER))
        self.must_enter(admission, address(1))
        self.assertIsNone(self.enter(admission, address(1)))

    def test_manyUsers(self) -> None:
        """A thousand users a second, from as many addresses, are admitted, though each handshake takes 0.4 seconds."""
        admission = Admission(ServerSettings())
        handshakes: deque[tuple[float, Place]] = deque()
        for number in range(1000):
            now = number / 1000
            while handshakes and handshakes[0][0] < now - 0.4:
                self.assertTrue(handshakes.popleft()[1].admit(b""))
            place = admission.enter(Holder(f"a user {number}"), now, self._evict(number))
            assert place is not None
            handshakes.append((now, place))
        self.assertEqual(self.evicted, [])

    def test_ofOneSite(self) -> None:
        """An IPv6 /64 may have four, a /48 sixteen."""
        admission = self.make()
        for number in range(4):
            for _ in range(4):
                self.must_enter(admission, subnet(1, number))
            self.assertIsNone(self.enter(admission, subnet(1, number)))
        self.assertIsNone(self.enter(admission, subnet(1, 9)))
        self.must_enter(admission, subnet(2, 9))

    def test_theBusiestMakesRoom(self) -> None:
        """When all places are taken, the source that has most loses its oldest."""
        admission = self.make(max_handshakes=6)
        for number in (1, 2, 2, 3, 3, 3):
            self.enter(admission, address(number))
        self.must_enter(admission, address(4))
        self.assertEqual(self.evicted, [4])
        self.must_enter(admission, address(5))  # of equals, the oldest
        self.assertEqual(self.evicted, [4, 2])

    def test_theBusiestTakesFromItself(self) -> None:
        """A newcomer whose own source has most replaces the oldest of its source."""
        admission = self.make(max_handshakes=6)
        for number in (3, 1, 1, 1, 2, 2):
            self.enter(admission, address(number))
        self.must_enter(admission, address(1))
        self.assertEqual(self.evicted, [2])
        self.must_enter(admission, address(2))
        self.assertEqual(self.evicted, [2, 3])

    def test_neighbours(self) -> None:
        """Of sources that have equally many, the oldest makes room, so that a new one is not replaced at once."""
        admission = self.make(max_handshakes=3)
        for number in (1, 2, 3):
            self.must_enter(admission, address(number))
        self.must_enter(admission, address(3))
        self.assertEqual(self.evicted, [1])
        self.must_enter(admission, address(3))
        self.assertEqual(self.evicted, [1, 3])

    def test_sitesMakeRoom(self) -> None:
        """Many IPv6 networks of one site count as a fourth of their handshakes."""
        admission = self.make(max_handshakes=14)
        for number in range(12):
            self.must_enter(admission, subnet(1, number))
        self.must_enter(admission, address(1))
        self.must_enter(admission, address(1))
        self.must_enter(admission, address(2))
        self.assertEqual(self.evicted, [1])

    def test_evictedOnes(self) -> None:
        """One that had to make room gives nothing back when it is closed; an admitted one is never evicted."""
        admission = self.make(max_handshakes=1)
        first = self.must_enter(admission, address(1))
        second = self.must_enter(admission, address(2))
        self.assertEqual(self.evicted, [1])
        first.release()
        self.assertTrue(second.admit(b""))
        self.must_enter(admission, address(3))
        self.must_enter(admission, address(4))
        self.assertEqual(self.evicted, [1, 3])

    def test_rate(self) -> None:
        """A source may begin so many at once; users get theirs back when they are admitted, and nobody else does."""
        admission = self.make(handshake_burst=2)
        for user in (USER, USER, USER, b"", b""):
            place = self.must_enter(admission, address(1))
            place.admit(user)
            place.release()
        self.assertIsNone(self.enter(admission, address(1)))

    def test_refusedCostNothing(self) -> None:
        """A connection that is refused for another limit does not count for the rate."""
        admission = self.make(handshake_burst=2, max_handshakes_per_source=1)
        place = self.must_enter(admission, address(1))
        for _ in range(5):
            self.assertIsNone(self.enter(admission, address(1)))
        place.release()
        self.must_enter(admission, address(1)).release()
        self.assertIsNone(self.enter(admission, address(1)))


class SessionTests(AdmissionTestCase):
    """Sessions."""

    def admit(self, admission: Admission, source: Holder, user: bytes = b"") -> Place | None:
        """Complete a handshake."""
        place = self.enter(admission, source)
        return place if place is not None and place.admit(user) else None

    def test_all(self) -> None:
        """A server may have so many at once; one that ends makes room."""
        admission = self.make(max_sessions=2)
        places = [self.admit(admission, address(number)) for number in (1, 2)]
        self.assertIsNone(self.enter(admission, address(3)))  # already when it connects
        assert places[0] is not None
        places[0].release()
        late = [self.must_enter(admission, address(number)) for number in (3, 4)]
        self.assertEqual([place.admit(b"") for place in late], [True, False])
        late[1].release()
        self.assertIsNone(self.admit(admission, address(5)))

    def test_ofOneSource(self) -> None:
        """Sessions without an authorized user count for their source."""
        admission = self.make(max_sessions_per_source=2)
        self.admit(admission, address(1))
        late = [self.must_enter(admission, address(1)) for _ in range(2)]
        self.assertEqual([place.admit(b"") for place in late], [True, False])
        self.assertIsNone(self.enter(admission, address(1)))
        self.assertIsNotNone(self.admit(admission, address(2)))

    def test_ofOneSite(self) -> None:
        """An IPv6 /48 may have four times as many as a /64."""
        admission = self.make(max_sessions_per_source=2)
        admitted = [self.admit(admission, subnet(1, number)) is not None for number in (1, 1, 1, 2, 3, 4, 5, 6, 7, 8)]
        self.assertEqual(admitted, [True, True, False, True, True, True, True, True, True, False])

    def test_ofOneUser(self) -> None:
        """Sessions of authorized users count for the user, wherever they come from, and not for their source."""
        admission = self.make(has_users=True, max_sessions_per_user=2, max_sessions_per_source=1)
        self.admit(admission, address(1))
        for number in (1, 2):
            self.assertIsNotNone(self.admit(admission, address(number), USER))
        self.assertIsNone(self.admit(admission, address(3), USER))
        self.assertIsNotNone(self.admit(admission, address(1), b"another user"))
        self.assertIsNone(self.admit(admission, address(1)))

    def test_allForUsers(self) -> None:
        """Of users who began their handshakes at the same time, no more are admitted than there are sessions left."""
        admission = self.make(has_users=True, max_sessions=2)
        places = [self.must_enter(admission, address(number)) for number in range(3)]
        admitted = [place.admit(b"%d" % number) for number, place in enumerate(places)]
        self.assertEqual(admitted, [True, True, False])
        places[2].release()
        self.assertIsNone(self.enter(admission, address(4)))

    def test_givenBackOnce(self) -> None:
        """A place that is released twice is free once."""
        admission = self.make(max_sessions=2, max_sessions_per_source=2)
        places = [self.admit(admission, address(1)) for _ in range(2)]
        for _ in range(2):
            assert places[0] is not None
            places[0].release()
        self.assertIsNotNone(self.admit(admission, address(1)))
        self.assertIsNone(self.admit(admission, address(1)))
        self.assertEqual(admission.sessions.total, 2)

    def test_memory(self) -> None:
        """Of sources and users that have gone, nothing is kept but a limited number of rates."""
        admission = self.make(has_users=True)
        for number in range(100):
            for user in (b"", b"%d" % number):
                place = self.admit(admission, subnet(number, number), user)
                assert place is not None
                place.release()
            self.must_enter(admission, subnet(number, number)).release()
        self.assertEqual((len(admission.sessions._counts), len(admission._handshake_counts._counts)), (0, 0))

    def test_someAreKeptForUsers(self) -> None:
        """If there are authorized users, a tenth of the sessions is kept for them; without any, none is."""
        admission = self.make(has_users=True, max_sessions=11)
        strangers = [self.admit(admission, address(number)) is not None for number in range(12)]
        self.assertEqual(strangers, [True] * 9 + [False] * 3)
        users = [self.admit(admission, address(1), b"%d" % number) is not None for number in range(3)]
        self.assertEqual(users, [True, True, False])
        admission = self.make(max_sessions=11)
        strangers = [self.admit(admission, address(number)) is not None for number in range(12)]
        self.assertEqual(strangers, [True] * 11 + [False])

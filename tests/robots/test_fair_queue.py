"""The limit on concurrent requests to a robot, and its queue."""

from collections import defaultdict

from twisted.internet.defer import CancelledError, Deferred

from securechat.robots.fair_queue import FairQueue
from tests.harness.robot import ListenerTestCase


class FairQueueTests(ListenerTestCase):
    """A queue with two slots."""

    def setUp(self) -> None:
        self.queue = FairQueue(2)
        self.leaving: dict[str, list[Deferred[None]]] = defaultdict(list)
        self.inside: list[str] = []
        self.stays: list[Deferred[None]] = []

    def tearDown(self) -> None:
        for stay in self.stays:
            stay.addErrback(lambda failure: failure.trap(CancelledError))
            stay.cancel()

    def take(self, user: str) -> "Deferred[None]":
        async def stay() -> None:
            async with self.queue.slot(user):
                self.inside.append(user)
                leaving: Deferred[None] = Deferred()
                self.leaving[user].append(leaving)
                await leaving
            self.inside.remove(user)

        self.stays.append(Deferred.fromCoroutine(stay()))
        return self.stays[-1]

    def leave(self, user: str) -> None:
        self.leaving[user].pop().callback(None)

    def test_bounded(self) -> None:
        """A third request waits until one of the first two is over."""
        for user in ("ann", "bob", "cy"):
            self.take(user)
        self.assertEqual(self.inside, ["ann", "bob"])
        self.leave("ann")
        self.assertEqual(self.inside, ["cy", "bob"][::-1])

    def test_order(self) -> None:
        """Those who wait are admitted in the order in which they came, and nobody overtakes them."""
        for user in ("ann", "bob", "cy", "dan", "eve"):
            self.take(user)
        self.leave("ann")
        self.take("fay")
        for user in ("bob", "cy", "dan"):
            self.leave(user)
            self.assertEqual(len(self.inside), 2)
        self.assertEqual(self.inside, ["eve", "fay"])

    def test_askedAgainAtOnce(self) -> None:
        """A request that ends as soon as it is admitted, and is made again, comes after those that wait."""
        order: list[str] = []

        async def hurry(*users: str) -> None:
            for user in users:
                async with self.queue.slot(user):
                    order.append(user)

        self.take("ann")
        self.take("bob")
        hurrying = [Deferred.fromCoroutine(hurry(*users)) for users in (("cy", "cy again"), ("dan",))]
        self.leave("ann")
        for done in hurrying:
            self.successResultOf(done)
        self.assertEqual(order, ["cy", "dan", "cy again"])

    def test_fair(self) -> None:
        """Users take turns, so no user can delay the others with many requests."""
        for user in ("ann", "ann", "ann", "ann", "bob", "cy", "bob"):
            self.take(user)
        for inside in (["ann", "ann"], ["ann", "ann"], ["ann", "bob"], ["bob", "cy"], ["cy", "ann"], ["ann", "bob"]):
            self.assertEqual(self.inside, inside)
            self.leave(inside[0])
        self.assertEqual(self.inside, ["bob"])

    def test_severalOfAUser(self) -> None:
        """Requests of one user wait in their order, and one that is cancelled leaves the others there."""
        self.take("ann")
        self.take("ann")
        waiting = [self.take("ann") for _ in range(3)]
        waiting[1].cancel()
        self.failureResultOf(waiting[1], CancelledError)
        for _ in range(2):
            self.leave("ann")
        self.assertEqual(len(self.inside), 2)
        self.leave("ann")
        self.leave("ann")
        self.successResultOf(waiting[0])
        self.successResultOf(waiting[2])

    def test_cancelledWhileWaiting(self) -> None:
        """A request that is cancelled while it waits leaves the queue."""
        for user in ("ann", "bob"):
            self.take(user)
        waiting = self.take("cy")
        self.take("dan")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.leave("ann")
        self.leave("bob")
        self.assertEqual(self.inside, ["dan"])
        self.take("eve")
        self.take("cy")
        self.assertEqual(self.inside, ["dan", "eve"])

    def test_cancelledWhileRunning(self) -> None:
        """A request that is cancelled while it runs gives its slot to the next one."""
        first = self.take("ann")
        self.take("bob")
        self.take("cy")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertIn("cy", self.inside)

"""Places at a robot, and the queue before them."""

from collections import defaultdict
from typing import cast

from twisted.internet.defer import CancelledError, Deferred

from securechat.errors import Fault, RobotError
from securechat.robots.fair_queue import FairQueue
from tests.harness.robot import ListenerTestCase


class PlacesTests(ListenerTestCase):
    """So many at once, the others in turn."""

    def setUp(self) -> None:
        self.places = FairQueue(2)
        self.leaving: dict[str, list[Deferred[None]]] = defaultdict(list)
        self.inside: list[str] = []
        self.stays: list[Deferred[None]] = []

    def tearDown(self) -> None:
        for stay in self.stays:
            stay.addErrback(lambda failure: failure.trap(CancelledError))
            stay.cancel()

    def take(self, user: str) -> "Deferred[None]":
        async def stay() -> None:
            async with self.places.take(user):
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
        """The third waits until one of the first two leaves."""
        for user in ("ann", "bob", "cy"):
            self.take(user)
        self.assertEqual(self.inside, ["ann", "bob"])
        self.leave("ann")
        self.assertEqual(self.inside, ["cy", "bob"][::-1])

    def test_fair(self) -> None:
        """A user waits for one question at a time, so that nobody waits behind all of somebody's."""
        self.take("ann")
        self.take("ann")
        waiting = self.take("ann")
        busy = self.take("ann")
        self.assertEqual(cast(RobotError, self.failureResultOf(busy, RobotError).value).fault, Fault.BUSY)
        self.take("bob")
        self.leave("ann")
        self.assertNoResult(waiting)
        self.leave("ann")
        self.assertIn("bob", self.inside)

    def test_givenUp(self) -> None:
        """Who does not want to wait any more leaves no gap."""
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

    def test_givenUpInside(self) -> None:
        """A question that is cancelled gives its place to the next."""
        first = self.take("ann")
        self.take("bob")
        self.take("cy")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertIn("cy", self.inside)

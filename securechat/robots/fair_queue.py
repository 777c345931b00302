"""Places at a robot: so many questions at once, and a fair queue before them."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred

from securechat.errors import Fault, RobotError
from securechat.i18n import _


class FairQueue:
    """At most `at_once` questions are asked at a time. Each key has one further place, to wait in; they are served in
    turn. The key is that of an authorized user, or of a source of other users."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, Deferred[None]] = OrderedDict()
        self._is_passing_on = False

    @asynccontextmanager
    async def take(self, key: str) -> AsyncIterator[None]:
        """Wait for a place and keep it; RobotError (busy) if somebody with this key waits already."""
        await self._enter(key)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, key: str) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        if key in self._waiting:
            raise RobotError(Fault.BUSY, _("all places are taken"))
        turn: Deferred[None] = Deferred(lambda _cancelled: self._give_up(key))
        self._waiting[key] = turn
        await turn

    def _give_up(self, key: str) -> None:
        del self._waiting[key]

    def _leave(self) -> None:
        """The place goes to the key that has waited longest.

        In a loop: each of many may give its place back at once, when the circuit is open, and they must not be nested.
        """
        self._free += 1
        if self._is_passing_on:
            return
        self._is_passing_on = True
        while self._free and self._waiting:
            self._free -= 1
            _key, turn = self._waiting.popitem(last=False)
            turn.callback(None)
        self._is_passing_on = False

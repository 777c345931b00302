"""Places at a robot: so many questions at once, and a fair queue before them."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred

from securechat.errors import Fault, RobotError
from securechat.i18n import _


class FairQueue:
    """At most `at_once` questions are asked at a time. Behind them each user has one place to wait in, in turn."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, Deferred[None]] = OrderedDict()

    @asynccontextmanager
    async def take(self, user_id: str) -> AsyncIterator[None]:
        """Wait for a place and keep it; RobotError (busy) if this user waits already."""
        await self._enter(user_id)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, user_id: str) -> None:
        if self._free:
            self._free -= 1
            return
        if user_id in self._waiting:
            raise RobotError(Fault.BUSY, _("all places are taken"))
        turn: Deferred[None] = Deferred(lambda _cancelled: self._give_up(user_id))
        self._waiting[user_id] = turn
        await turn

    def _give_up(self, user_id: str) -> None:
        del self._waiting[user_id]

    def _leave(self) -> None:
        """The place goes to who has waited longest."""
        if self._waiting:
            _user_id, turn = self._waiting.popitem(last=False)
            turn.callback(None)
        else:
            self._free += 1

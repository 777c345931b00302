"""A limit on the concurrent requests to a robot, with a fair queue."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred

from securechat.errors import Fault, RobotError
from securechat.i18n import _


class FairQueue:
    """Admits at most `limit` requests at a time. The others wait in order of arrival, one for each user."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: OrderedDict[str, Deferred[None]] = OrderedDict()

    @asynccontextmanager
    async def slot(self, user_id: str) -> AsyncIterator[None]:
        """Wait for a slot and hold it. RobotError (busy) if a request of this user is waiting already."""
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
            raise RobotError(Fault.BUSY, _("a message of this user is already waiting"))
        admitted: Deferred[None] = Deferred(lambda _cancelled: self._remove(user_id))
        self._waiting[user_id] = admitted
        await admitted

    def _remove(self, user_id: str) -> None:
        del self._waiting[user_id]

    def _leave(self) -> None:
        if self._waiting:
            _user_id, admitted = self._waiting.popitem(last=False)
            admitted.callback(None)
        else:
            self._free += 1

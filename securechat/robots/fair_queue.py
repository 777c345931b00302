"""A limit on the concurrent requests to a robot, with a fair queue."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred

from securechat.errors import Fault, RobotError
from securechat.i18n import _


class FairQueue:
    """Admits at most `limit` requests at a time. The others wait in order of arrival, one for each key.

    The key is that of an authorized user or, for all others, of their network.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: OrderedDict[str, Deferred[None]] = OrderedDict()
        self._is_admitting = False

    @asynccontextmanager
    async def slot(self, key: str) -> AsyncIterator[None]:
        """Wait for a slot and hold it. RobotError (busy) if a request with this key is waiting already."""
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
            raise RobotError(Fault.BUSY, _("a message of this user is already waiting"))
        admitted: Deferred[None] = Deferred(lambda _cancelled: self._remove(key))
        self._waiting[key] = admitted
        await admitted

    def _remove(self, key: str) -> None:
        del self._waiting[key]

    def _leave(self) -> None:
        # In a loop: when the circuit is open, many requests may leave as soon as they are admitted, and Python limits
        # how deep they can be nested.
        self._free += 1
        if self._is_admitting:
            return
        self._is_admitting = True
        while self._free and self._waiting:
            self._free -= 1
            _key, admitted = self._waiting.popitem(last=False)
            admitted.callback(None)
        self._is_admitting = False

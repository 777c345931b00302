"""A limit on the concurrent requests to a robot, with a fair queue."""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred


class FairQueue:
    """Admits at most `limit` requests at a time. The others wait: keys take turns, in the order of their first request.

    The key is that of an authorized user or, for all others, of their network, so that many requests of one of them
    delay only one another. A session has one request at a time, which bounds the queue.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._waiting: OrderedDict[str, deque[Deferred[None]]] = OrderedDict()  # no deque is empty
        self._is_admitting = False

    @property
    def active(self) -> int:
        """The number of requests that hold a slot."""
        return self.limit - self._free

    @property
    def waiting(self) -> int:
        """The number of requests that wait for one."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def slot(self, key: str) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        await self._enter(key)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, key: str) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        admitted: Deferred[None] = Deferred(lambda cancelled: self._remove(key, cancelled))
        self._waiting.setdefault(key, deque()).append(admitted)
        await admitted

    def _remove(self, key: str, request: Deferred[None]) -> None:
        self._waiting[key].remove(request)
        if not self._waiting[key]:
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
            key, requests = self._waiting.popitem(last=False)
            admitted = requests.popleft()
            if requests:
                self._waiting[key] = requests  # behind the other keys
            admitted.callback(None)
        self._is_admitting = False

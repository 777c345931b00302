"""A reactor in memory that has what the client needs of one."""

from collections.abc import Callable
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure


class ClientReactor(MemoryReactorClock):
    """Work for its thread pool is done at once, in this thread."""

    def getThreadPool(self) -> "ClientReactor":
        return self

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], object], work: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        try:
            result = work(*args, **kwargs)
        except Exception:
            done(False, Failure())
        else:
            done(True, result)

    def callFromThread(self, call: Callable[..., object], *args: object, **kwargs: object) -> None:
        call(*args, **kwargs)

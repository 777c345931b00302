"""Signals, received by the reactor.

Python calls a signal handler between any two steps of the main thread, even while that thread holds a lock. A handler
that logs, as Twisted's own do, then waits for the log's lock for ever. So a handler here takes no lock: all it does is
ask the reactor for a call.
"""

import signal
from collections.abc import Callable
from types import FrameType

from twisted.internet.interfaces import IReactorFromThreads


def call_on_signal(reactor: IReactorFromThreads, number: int, call: Callable[..., object], *arguments: object) -> None:
    """From now on, have the reactor make this call when the process receives a signal.

    A signal that was ignored when the daemon started, as with ``nohup``, stays ignored.
    """

    def receive(_number: int, _frame: FrameType | None) -> None:
        reactor.callFromThread(call, *arguments)  # appends to a list and writes to a pipe

    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, receive)

"""The signals that end the client."""

import signal
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ending_signals() -> list[int]:
    """The signals that end the client. One that was ignored when it started, as with ``nohup``, stays ignored."""
    return [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

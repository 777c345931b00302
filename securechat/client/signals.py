"""The signals that end the client."""

import signal
from typing import Final

ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def is_ignored(number: int) -> bool:
    """Whether a signal is ignored. One that was ignored when the client started, as with ``nohup``, stays ignored."""
    return signal.getsignal(number) is signal.SIG_IGN

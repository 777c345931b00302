"""Delays between attempts to connect to a server that cannot be reached."""

import random
from collections.abc import Callable
from typing import Final

from securechat.client.exit_codes import NoApiError
from securechat.client.signer import NoSignatureError
from securechat.errors import AuthenticationError, ConfigurationError
from securechat.wire.messages import Reason

FIRST_DELAY: Final = 1.0  # seconds before the first attempt; doubles with each failure
MAX_DELAY: Final = 60.0  # seconds

# Errors, except for NoSignatureError, and reasons of a server's GOODBYE that the next attempt will probably meet again.
_LASTING_ERRORS: Final = (AuthenticationError, ConfigurationError, NoApiError)
LASTING_REASONS: Final = (Reason.KEY_WITHDRAWN, Reason.REMOVED)


def is_lasting(error: BaseException | None) -> bool:
    """Whether the next attempt will probably meet an error again. An agent that has gone may come back."""
    return isinstance(error, _LASTING_ERRORS) and not isinstance(error, NoSignatureError)


def jitter() -> float:
    """A random part of a delay, so that the clients of a server that was restarted do not all come at once."""
    return random.uniform(0.5, 1)  # noqa: S311 - not a secret


class Backoff:
    """Exponential backoff with jitter."""

    def __init__(self, jitter: Callable[[], float] = jitter) -> None:
        self._jitter = jitter
        self._failures = 0

    def next(self, *, is_lasting: bool = False) -> float:
        """The seconds before the next attempt; the longest delay if the cause will probably last."""
        delay = MAX_DELAY if is_lasting else min(MAX_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return delay * self._jitter()

    def reset(self) -> None:
        """An attempt has succeeded."""
        self._failures = 0

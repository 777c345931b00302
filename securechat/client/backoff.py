"""Delays between attempts to connect to a server that cannot be reached."""

import random
from collections.abc import Callable
from typing import Final

from securechat.client.exit_codes import NoApiError
from securechat.client.session_errors import PermissionDeniedError
from securechat.client.signer import NoSignatureError
from securechat.errors import AuthenticationError, ConfigurationError
from securechat.wire.messages import Reason

FIRST_DELAY: Final = 1.0  # seconds before the first attempt; doubles with each failure
# Seconds before the first attempt, at most, when no message is unanswered or queued. The clients of a lost server, of
# which there may be thousands, thus do not all reconnect at once.
IDLE_DELAY: Final = 4.0
MAX_DELAY: Final = 60.0  # seconds

MAX_DENIALS: Final = 5  # in a row until they count as lasting: a server that is too busy ends handshakes the same way

# Errors, except for NoSignatureError, and reasons of a server's GOODBYE that the next attempt will probably meet again.
_LASTING_ERRORS: Final = (AuthenticationError, ConfigurationError, NoApiError)
LASTING_REASONS: Final = (Reason.KEY_WITHDRAWN, Reason.REMOVED)


def jitter() -> float:
    """The random part of a delay, 0 to 1: the clients of a server that was restarted must not all reconnect at once."""
    return random.random()  # noqa: S311 - not a secret


class Backoff:
    """Exponential backoff with jitter."""

    def __init__(self, jitter: Callable[[], float] = jitter) -> None:
        self._jitter = jitter
        self._failures = 0
        self._denials = 0

    def is_lasting(self, error: BaseException | None) -> bool:
        """Whether the next attempt would probably fail in the same way. Called once for each error.

        A missing ssh-agent is not lasting: it may be started again.
        """
        if isinstance(error, PermissionDeniedError):
            self._denials += 1
            return self._denials >= MAX_DENIALS
        self._denials = 0
        return isinstance(error, _LASTING_ERRORS) and not isinstance(error, NoSignatureError)

    def next(self, *, is_lasting: bool = False, is_idle: bool = False) -> float:
        """The seconds before the next attempt; the longest delay if the cause will probably last.

        `is_idle`: no message is unanswered or queued, so the first attempt may wait for up to IDLE_DELAY.
        """
        usual = MAX_DELAY if is_lasting else min(MAX_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 10))
        longest = IDLE_DELAY if is_idle and not self._failures else usual
        self._failures += 1
        return usual / 2 + (longest - usual / 2) * self._jitter()

    def reset(self) -> None:
        """Start over with the first delay."""
        self._failures = 0

    def succeeded(self) -> None:
        """The server has admitted the client."""
        self._denials = 0

"""The log of calls."""

from typing import Protocol


class CallRecord(Protocol):
    """One call in the log."""

    events: int  # of the response, that have arrived

    def ended(self, status: int, outcome: str) -> None:
        """The call has ended; `status` is what the tool got, 0 if it got none, `outcome` is empty if all went well."""


class CallLog(Protocol):
    """Writes one line per call, never with content."""

    def began(self, method: str, path: str) -> CallRecord:
        """A tool has sent a request; `path` is a known one, such as ``/v1/chat/completions``."""

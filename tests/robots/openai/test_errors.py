"""Errors of servers."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault
from securechat.robots.openai.errors import error_in


class ErrorTests(SynchronousTestCase):
    """Errors of servers."""

    def test_everyShape(self) -> None:
        """An error may be a string, an object or incomplete; its codes are logged, its message is not."""
        for value, fault, codes in (
            ({"error": "x"}, Fault.BROKEN_ANSWER, ""),
            ({"error": {"message": "x", "code": "context_length_exceeded"}}, Fault.TOO_LONG, "context_length_exceeded"),
            ({"error": {"message": "Rate limit", "type": "rate_limit_error"}}, Fault.BUSY, "rate_limit_error"),
            ({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}, Fault.BUSY, "429, RESOURCE_EXHAUSTED"),
            ({"error": {"code": "503"}}, Fault.BUSY, "503"),
            ({"error": {"type": "content_filter", "code": None}}, Fault.REFUSED, "content_filter"),
            ({"error": {"code": "a b", "type": "x" * 65, "status": ["y z"]}}, Fault.BROKEN_ANSWER, ""),
            ({"error": "This model's maximum context length is 7."}, Fault.TOO_LONG, ""),
            ({"detail": "x"}, Fault.BROKEN_ANSWER, ""),
            (None, Fault.BROKEN_ANSWER, ""),
            ([], Fault.BROKEN_ANSWER, ""),
            (7, Fault.BROKEN_ANSWER, ""),
        ):
            error = error_in(value)
            shown = "the server reported an error" + (f" ({codes})" if codes else "")
            self.assertEqual((error.fault, str(error)), (fault, shown), value)

"""Errors of servers."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault
from securechat.robots.openai.errors import MAX_RETRY_AFTER, error_in, retry_after


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
            ({"error": {"code": 401}}, Fault.REFUSED, "401"),
            ({"error": {"type": "content_filter", "code": None}}, Fault.REFUSED, "content_filter"),
            ({"error": {"code": "a b", "type": "x" * 65, "status": ["y"]}}, Fault.BROKEN_ANSWER, ""),
            ({"error": "This model's maximum context length is 7."}, Fault.TOO_LONG, ""),
            ({"detail": "x"}, Fault.BROKEN_ANSWER, ""),
            (None, Fault.BROKEN_ANSWER, ""),
            ([], Fault.BROKEN_ANSWER, ""),
            (7, Fault.BROKEN_ANSWER, ""),
        ):
            error = error_in(value)
            shown = "the server reported an error" + (f" ({codes})" if codes else "")
            self.assertEqual((error.fault, str(error)), (fault, shown), value)

    def test_retryAfter(self) -> None:
        """Retry-After may be seconds or a date; anything else is ignored."""
        for text, seconds in (
            (b"0", 0.0),
            (b" 12 ", 12.0),
            (b"999999", MAX_RETRY_AFTER),
            (b"Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
            (b"Wed, 21 Oct 2099 07:28:00 GMT", MAX_RETRY_AFTER),
            *((text, None) for text in (b"", b"-1", b"1.5", b"soon", b"\xd9\xa1", b"inf", b"9" * 400, b"Wed, 99")),
        ):
            self.assertEqual(retry_after(text), seconds, text)

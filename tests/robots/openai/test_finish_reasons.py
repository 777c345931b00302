"""The finish reasons of servers."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.robots.openai.finish_reasons import Ending, ending, is_reason, printable

MEANINGS = {
    Ending.COMPLETE: "stop STOP Stop end_turn eos_token eos stop_sequence tool_calls function_call FINISH_REASON_STOP",
    Ending.LENGTH: "length MAX_TOKENS max_tokens model_length max_output_tokens LENGTH model_context_window_exceeded",
    Ending.FILTERED: "content_filter SAFETY RECITATION guardrail_intervened sensitive refusal ERROR_TOXIC",
    Ending.OVERLOADED: "insufficient_system_resource overloaded",
    Ending.FAILED: "abort aborted error cancelled canceled network_error timeout MALFORMED_FUNCTION_CALL ERROR",
    Ending.UNKNOWN: "banana OTHER load pause_turn x",
}


class FinishReasonTests(SynchronousTestCase):
    """The finish reasons of servers."""

    def test_meanings(self) -> None:
        """The words of many servers are known, in any case; others are not taken for the end of a whole reply."""
        for meaning, words in MEANINGS.items():
            for word in words.split():
                self.assertTrue(is_reason(word))
                self.assertEqual((word, ending(word)), (word, meaning))

    def test_none(self) -> None:
        """Null, empty strings and the names of null in programming languages are no finish reasons."""
        values: tuple[object, ...] = (None, "", " ", "null", "None", "undefined", False, True, 0, 1, {}, [])
        for value in values:
            self.assertFalse(is_reason(value), value)

    def test_printable(self) -> None:
        """A finish reason is shown without control characters, and not beyond 64 characters."""
        self.assertEqual(printable("a\x1b[31m\nb" + "x" * 100), "a[31mb" + "x" * 56)

"""How far a stream of events has come."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.openai.progress import Progress
from securechat.wire.items import ServerEvent


def progress(*data: bytes, name: str = "") -> Progress:
    """After events with these data."""
    found = Progress()
    for item in data:
        found.add(ServerEvent(name, item))
    return found


class BeginTests(SynchronousTestCase):
    """Whether the model is working."""

    def test_announcements(self) -> None:
        """The role, an empty list of choices and the first events of a response do not show it."""
        for data in (
            b'{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}',
            b'{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}',
            b'{"choices":[],"prompt_filter_results":[]}',
            b'{"choices":[{"text":"","index":0}]}',
            b'{"choices":[null,{}]}',
            b'{"type":"response.created","response":{}}',
            b'{"type":"response.output_item.added"}',
        ):
            self.assertFalse(progress(data).has_begun, data)

    def test_content(self) -> None:
        """Text, reasoning, the call of a tool, a finish reason and events that are not known do."""
        for data in (
            b'{"choices":[{"delta":{"content":"a"}}]}',
            b'{"choices":[{"delta":{}},{"delta":{"reasoning":"a"}}]}',
            b'{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}',
            b'{"choices":[{"text":"a"}]}',
            b'{"choices":[{"delta":{},"finish_reason":"stop"}]}',
            b'{"type":"response.output_text.delta","delta":"a"}',
            b'{"type":"other"}',
            b'{"type":7}',
            b'{"choices":7}',
            b"[1]",
            b"text \xff",
        ):
            self.assertTrue(progress(data).has_begun, data)
            self.assertTrue(progress(data, b'{"choices":[]}').has_begun, data)


class EndTests(SynchronousTestCase):
    """Whether a stream is complete."""

    def assertIncomplete(self, found: Progress) -> None:
        self.assertFalse(found.is_complete)
        self.assertEqual(self.assertRaises(RobotError, found.end).fault, Fault.BROKEN_ANSWER)

    def test_done(self) -> None:
        """[DONE] ends a stream."""
        found = progress(b"{}", b"[DONE]")
        self.assertTrue(found.is_done and found.is_complete)
        found.end()

    def test_lastEvent(self) -> None:
        """The last event of a response does, by its name or its type."""
        for kind in ("completed", "incomplete", "failed"):
            found = progress(b"{}", name=f"response.{kind}")
            self.assertTrue(found.is_complete and not found.is_done)
            found.end()
            progress(b"{}", b'{"type":"response.%b"}' % kind.encode()).end()

    def test_error(self) -> None:
        """An error does."""
        progress(b"{}", name="error").end()
        progress(b'{"error":{"message":"x"}}').end()

    def test_incomplete(self) -> None:
        """Nothing else does, in particular no finish reason, and no event at all."""
        self.assertIncomplete(progress())
        for data in (
            b'{"choices":[{"finish_reason":"stop"}]}',
            b"{}",
            b"7",
            b"\xff",
            b'{"error":null}',
            b'{"type":[]}',
        ):
            self.assertIncomplete(progress(data))
        self.assertIncomplete(progress(b"{}", name="response.output_text.done"))

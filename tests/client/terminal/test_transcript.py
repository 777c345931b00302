"""The conversation so far, and the clipboard."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.terminal.clipboard import MAX_THROUGH_TERMINAL, copy_with_program, terminal_sequence
from securechat.client.terminal.transcript import MAX_TEXT, Transcript
from securechat.wire.messages import MAX_TURNS, encode_turns


class TranscriptTests(SynchronousTestCase):
    """Questions and replies."""

    def test_replies(self) -> None:
        """Replies are counted from the latest; messages without one are left out."""
        transcript = Transcript()
        self.assertIsNone(transcript.reply(1))
        self.assertIsNone(transcript.last_question())
        for question, reply in (("q1", "r1"), ("q2", ""), ("q3", "r3")):
            exchange = transcript.add(question)
            transcript.extend(exchange, reply[:1])
            transcript.extend(exchange, reply[1:])
        self.assertEqual([transcript.reply(number) for number in (1, 2, 3)], ["r3", "r1", None])
        self.assertEqual(transcript.last_question(), "q3")
        self.assertEqual(transcript.as_markdown("eliza")[:32], "## You\n\nq1\n\n## eliza\n\nr1\n\n## You")

    def test_turns(self) -> None:
        """What is recalled are the latest exchanges of the conversation that were answered, within both limits."""
        transcript = Transcript()
        transcript.restore([("old", "0")])
        transcript.start_afresh()
        transcript.restore([("q1", "r1"), ("q2", "r2")])
        transcript.extend(transcript.add("q3"), "half")
        self.assertEqual([turn.text for turn in transcript.turns(1000)], ["q1", "r1", "q2", "r2"])
        size = len(encode_turns(transcript.turns(1000)))
        self.assertEqual([turn.text for turn in transcript.turns(size)], ["q2", "r2"])  # its size is an upper bound
        transcript.restore([("q", "r")] * (MAX_TURNS // 2))
        self.assertEqual(len(transcript.turns(10**6)), MAX_TURNS)
        for limit in (0, 3, 20, 100):
            self.assertLessEqual(len(encode_turns(transcript.turns(limit))), max(limit, 1))

    def test_limit(self) -> None:
        """The oldest exchanges are forgotten when the text is too long, and one that is too long alone is cut."""
        transcript = Transcript()
        for _number in range(3):
            transcript.extend(transcript.add("q"), "x" * (MAX_TEXT // 2 - 10))
        self.assertIsNotNone(transcript.reply(2))
        self.assertIsNone(transcript.reply(3))
        exchange = transcript.add("q")
        for _piece in range(3):
            transcript.extend(exchange, "y" * (MAX_TEXT // 2))
        self.assertEqual(len(exchange.reply), MAX_TEXT // 2)
        self.assertIsNone(transcript.reply(2))


class ClipboardTests(SynchronousTestCase):
    """Copying."""

    def test_program(self) -> None:
        """The desktop's program gets the text; one that fails or is not there is no error."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        copied = folder / "copied"
        (folder / "wl-copy").write_text("#!/bin/sh\nexit 1\n")
        (folder / "xclip").write_text(f"#!/bin/sh\nexec /bin/cat > '{copied}'\n")
        for program in ("wl-copy", "xclip"):
            (folder / program).chmod(0o755)
        self.patch(os, "environ", {"PATH": str(folder)})
        self.assertFalse(copy_with_program("text", {}))
        self.assertFalse(copy_with_program("text", {"WAYLAND_DISPLAY": "0"}))
        self.assertTrue(copy_with_program("text 中", {"WAYLAND_DISPLAY": "0", "DISPLAY": ":0"}))
        self.assertEqual(copied.read_text(), "text 中")

    def test_terminal(self) -> None:
        """A terminal gets the text in base64, if it is short enough."""
        self.assertEqual(terminal_sequence("a"), "\x1b]52;c;YQ==\x07")
        self.assertIsNone(terminal_sequence("x" * (MAX_THROUGH_TERMINAL + 1)))

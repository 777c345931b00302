"""Messages on standard error."""

import io
import sys

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.stderr import complain, note


class Stream(io.StringIO):
    """A stream that counts how often it is flushed."""

    flushed = 0

    def flush(self) -> None:
        self.flushed += 1


class Gone(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


class StderrTests(SynchronousTestCase):
    """Notes and errors."""

    def setUp(self) -> None:
        self.errors, self.output = Stream(), io.StringIO()
        self.patch(sys, "stderr", self.errors)
        self.patch(sys, "stdout", self.output)

    def test_note(self) -> None:
        """A message is one line on standard error, at once, and nothing goes to standard output."""
        note("one")
        note("two")
        self.assertEqual((self.errors.getvalue(), self.output.getvalue()), ("one\ntwo\n", ""))
        self.assertGreaterEqual(self.errors.flushed, 2)

    def test_complaint(self) -> None:
        """An error message begins with the program's name."""
        complain("no such thing")
        self.assertEqual((self.errors.getvalue(), self.output.getvalue()), ("securechat: no such thing\n", ""))

    def test_controlCharacters(self) -> None:
        """Control characters, which a server or a file name may contain, do not reach the terminal."""
        for write in note, complain:
            write("a\x1b[2J\x9b\nsecurechat: all is well\u202e\t\x07\r")
        text = self.errors.getvalue()
        self.assertEqual(text.count("\n"), 2)
        self.assertEqual([letter for letter in text if letter != "\n" and not letter.isprintable()], [])
        self.assertIn("a\ufffd[2J\ufffd\ufffdsecurechat", text)

    def test_closed(self) -> None:
        """A closed standard error, or one without a reader, is no error; standard output does not take its place."""
        closed = io.StringIO()
        closed.close()
        for stream in closed, Gone(), None:
            self.patch(sys, "stderr", stream)
            note("x")
            complain("x")
        self.assertEqual(self.output.getvalue(), "")

"""Text broken into the lines of a screen."""

from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.frontends.lines import MAX_LETTERS, Lines

COLUMNS = 10


class LinesTests(SynchronousTestCase):
    """Lines of a screen with ten columns."""

    def setUp(self) -> None:
        self.measured = 0
        self.lines = Lines(self.measure)

    def measure(self, text: str) -> int:
        self.measured += len(text)
        return get_cwidth(text)

    def feed(self, text: str) -> list[str]:
        return list(self.lines.feed(text, COLUMNS))

    def test_newlines(self) -> None:
        """A newline ends a line; empty lines are kept."""
        self.assertEqual(self.feed("one\n\ntwo\nth"), ["one", "", "two"])
        self.assertEqual(self.feed("ree"), [])
        self.assertEqual(self.lines.unfinished, "three")
        self.assertEqual(self.lines.end(), "three")
        self.assertEqual(self.lines.unfinished, "")

    def test_width(self) -> None:
        """A line is narrower than the screen, also with wide characters."""
        self.assertEqual(self.feed("0123456789\n"), ["012345678", "9"])
        self.assertEqual(self.feed("你好你好你好\n"), ["你好你好", "你好"])

    def test_noRoom(self) -> None:
        """On a screen without columns, each character is a line."""
        self.assertEqual(list(self.lines.feed("ab\n", 0)), ["a", "b"])

    def test_zeroWidth(self) -> None:
        """A reply of combining marks has lines of a limited length, and each mark is measured once."""
        marks = "\u0301" * 16384
        lines = [line for start in range(0, len(marks), 249) for line in self.feed(marks[start : start + 249])]
        self.assertEqual({len(line) for line in lines}, {MAX_LETTERS * COLUMNS})
        self.assertEqual("".join(lines) + self.lines.unfinished, marks)
        self.assertEqual(self.measured, len(marks))

    @given(st.lists(st.text("ab\n\t你\u0301")))
    def test_anyText(self, pieces: list[str]) -> None:
        """However a text is divided, nothing is lost, and no line is too wide."""
        lines = Lines(get_cwidth)
        text = "".join(pieces)
        found = [line for piece in pieces for line in lines.feed(piece, COLUMNS)]
        found.append(lines.end())
        self.assertEqual(found, list(Lines(get_cwidth).feed(text + "\n", COLUMNS)))
        self.assertEqual("".join(found), text.replace("\n", ""))
        self.assertTrue(all(get_cwidth(line) < COLUMNS for line in found))

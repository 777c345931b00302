"""The client's own lines, on a screen in memory."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.terminal.lines import notice_row, shorten, show_error, show_input, show_notice
from securechat.client.terminal.styles import Style, plain, width
from tests.client.test_terminal import HOSTILE, Screen


class LinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.screen = Screen()

    def test_notice(self) -> None:
        """A long notice is broken into rows that are aligned after the mark of the first."""
        self.screen.columns = 12
        show_notice(self.screen, "the first and the second")
        self.assertEqual(self.screen.text, ["-- the first", "   and the", "   second"])
        self.assertEqual(plain(notice_row("short")), "-- short")

    def test_error(self) -> None:
        """An error differs from a notice in its style alone."""
        show_notice(self.screen, "text")
        show_error(self.screen, "text")
        notice, error = self.screen.rows
        self.assertEqual(plain(notice), plain(error))
        self.assertEqual([{style for style, _text in row} for row in (notice, error)], [{Style.NOTICE}, {Style.ERROR}])

    def test_input(self) -> None:
        """What the user has entered has a prompt, and its other lines are aligned after it."""
        show_input(self.screen, "one\n two\n")
        self.assertEqual(self.screen.text, ["> one", "   two", "  "])

    def test_hostile(self) -> None:
        """Text from outside stays on one line, without control characters."""
        for text in HOSTILE:
            self.screen.rows.clear()
            show_notice(self.screen, f"{text}\nx")
            show_input(self.screen, text)
            self.assertEqual(len(self.screen.rows), 2)
            for shown in (*self.screen.text, shorten(f"{text}\nx", 60)):
                self.assertTrue(shown.isprintable() or "\u0301" in shown, ascii(shown))
                self.assertNotIn("\x1b", shown)

    def test_shorten(self) -> None:
        """A text is shortened to a number of columns, not of characters."""
        self.assertEqual(shorten("short", 5), "short")
        self.assertEqual(shorten("longer", 5), "longe")
        self.assertEqual((shorten("中中中", 5), width("中中")), ("中中", 4))

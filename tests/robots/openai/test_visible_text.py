"""Of what a model says, what is seen."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.robots.openai.visible_text import VisibleText


class VisibleTests(SynchronousTestCase):
    """Of what a model says, what is seen."""

    def show(self, *pieces: str) -> str:
        visible = VisibleText()
        return "".join(map(visible.feed, pieces)) + visible.end()

    def test_thoughts(self) -> None:
        """Those at the beginning are left out, however they are cut; later tags are words (trap 12)."""
        for text, seen in (
            ("<think>a</think>b", "b"),
            (" \n<think></think>\n\n<think>x</thin</think> b </think>", "b </think>"),
            ("a <think>b</think>", "a <think>b</think>"),
            ("<thin", "<thin"),
            ("<thing>", "<thing>"),
            ("<think>a", ""),
            ("<think>a</think", ""),
            ("<think>a\ud83d", ""),
            ("", ""),
            ("  hello ", "hello "),
        ):
            self.assertEqual(self.show(text), seen, ascii(text))
            self.assertEqual(self.show(*text), seen, ascii(text))

    def test_nothingIsHeldBack(self) -> None:
        """After the beginning every piece is shown at once."""
        visible = VisibleText()
        self.assertEqual([visible.feed(piece) for piece in ("<", "b", "<think>")], ["", "<b", "<think>"])

    def test_halves(self) -> None:
        """Halves of a pair come together; those that stand alone are replaced (trap 3)."""
        self.assertEqual(self.show("a\ud83d", "\ude00b"), "a😀b")
        self.assertEqual(self.show("\ud83d", "", "\ude00"), "😀")
        self.assertEqual(
            self.show("a\ud83d", "b\ude00", "\ud83d\ud83d", "\ude00c\ud83d"), "a\ufffdb\ufffd\ufffd😀c\ufffd"
        )

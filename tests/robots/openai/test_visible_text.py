"""The visible part of a model's text."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.robots.openai.visible_text import VisibleText


class VisibleTextTests(SynchronousTestCase):
    """The visible part of a model's text."""

    def show(self, *pieces: str) -> str:
        visible = VisibleText()
        return "".join(map(visible.feed, pieces)) + visible.end()

    def test_reasoning(self) -> None:
        """Reasoning at the beginning is removed, however it is split; later tags are text."""
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

    def test_notHeldBack(self) -> None:
        """After the beginning, no text is held back."""
        visible = VisibleText()
        self.assertEqual([visible.feed(piece) for piece in ("<", "b", "<think>")], ["", "<b", "<think>"])

    def test_surrogates(self) -> None:
        """The halves of surrogate pairs are joined; single halves are replaced."""
        self.assertEqual(self.show("a\ud83d", "\ude00b"), "a😀b")
        self.assertEqual(self.show("\ud83d", "", "\ude00"), "😀")
        self.assertEqual(
            self.show("a\ud83d", "b\ude00", "\ud83d\ud83d", "\ude00c\ud83d"), "a\ufffdb\ufffd\ufffd😀c\ufffd"
        )

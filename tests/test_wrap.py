"""Line breaking of help texts."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.wrap import columns, wrap


class WrapTests(SynchronousTestCase):
    """Paragraphs in columns."""

    def test_words(self) -> None:
        """Lines end between words, and not at hyphens."""
        self.assertEqual(wrap("see --help-robots for all", 10), ["see", "--help-robots", "for all"])
        self.assertEqual(wrap("one two three", 7), ["one two", "three"])
        for width in (80, 7):
            self.assertEqual(wrap("one two  ", width), ["one two"])
        self.assertEqual(wrap("", 80), [""])

    def test_wideCharacters(self) -> None:
        """A Chinese character has two columns, and a line may end after each."""
        self.assertEqual(columns("a你！"), 5)
        self.assertEqual(wrap("你好世界", 5), ["你好", "世界"])
        self.assertEqual(wrap("显示 reply 回复", 10), ["显示 reply", "回复"])
        self.assertEqual(wrap("显示reply回复", 8), ["显示", "reply回", "复"])

    def test_punctuation(self) -> None:
        """Punctuation stays with the character or word that it belongs to."""
        self.assertEqual(wrap("你好，世界", 4), ["你", "好，", "世界"])
        self.assertEqual(wrap("回复（默认：reply）。", 12), ["回复（默认：", "reply）。"])
        self.assertEqual(wrap("回复（默认）", 6), ["回复", "（默", "认）"])

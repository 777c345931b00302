"""Control characters: what reaches a terminal, and what does not."""

import unicodedata

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.sanitize import sanitize, sanitize_line

EVERY = "".join(map(chr, range(0x110000)))
ORDER = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # change the order of the text around them
DEPRECATED = range(0x206A, 0x2070)  # format characters with effects of the same kind


def is_harmful(letter: str) -> bool:
    return (
        unicodedata.category(letter) in ("Cc", "Zl", "Zp")
        or unicodedata.bidirectional(letter) in ORDER
        or ord(letter) in DEPRECATED
    )


class SanitizeTests(SynchronousTestCase):
    """Every character of Unicode."""

    def assertReplaces(self, text: str, output: str, *, but: str = "") -> None:
        """The output is the text with exactly the harmful characters replaced, except for some."""
        self.assertEqual(len(output), len(text))
        for letter, shown in zip(text, output, strict=True):
            if shown != ("\ufffd" if is_harmful(letter) and letter not in but else letter):
                self.fail(f"{letter!r} became {shown!r}")

    def test_line(self) -> None:
        """In a line, every control character is replaced, newlines and tabs included; nothing else is."""
        self.assertReplaces(EVERY, sanitize_line(EVERY))

    def test_text(self) -> None:
        """In a text of several lines, newlines and tabs are kept, and carriage returns removed."""
        self.assertReplaces(EVERY.replace("\r", ""), sanitize(EVERY), but="\n\t")

"""The filter for text from outside: what reaches a terminal, and what does not."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.sanitize import MAX_MARKS, Sanitizer, sanitize, sanitize_line, without_controls

EVERY = [chr(number) for number in range(0x110000)]
ORDER = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # change the order of the text around them
VISIBLE_FORMATS = {  # format characters (Cf) that are displayed, or that scripts need
    "\u00ad",
    *map(chr, (*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD)),
    *map(chr, range(0x13430, 0x13440)),
}
FILLERS = set("\u2065\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # have no glyph either
JOINERS = "\u200c\u200d"
MARK = "\u0301"
TEXT = st.text(st.sampled_from(f"aé字 \n\t\x1b\x9b\u200b\u202e{MARK}\u20dd{JOINERS}\U000e0041\U0001f468"), max_size=40)


def is_harmful(letter: str) -> bool:
    """Whether a terminal would obey the character, or a user not see it, in the middle of other text."""
    category = unicodedata.category(letter)
    return (
        category in ("Cc", "Cs", "Zl", "Zp")
        or (category == "Cf" and letter not in VISIBLE_FORMATS and letter not in JOINERS)
        or unicodedata.bidirectional(letter) in ORDER
        or letter in FILLERS
        or 0xE0000 <= ord(letter) <= 0xE007F
        or 0xE0100 <= ord(letter) <= 0xE01EF
    )


class SanitizeTests(SynchronousTestCase):
    """Text that is complete."""

    def test_everyCharacter(self) -> None:
        """In a line, exactly the characters that are obeyed or not seen are replaced, newlines and tabs included."""
        for letter in EVERY:
            shown = sanitize_line(f"字{letter}")[1:]
            if shown != ("\ufffd" if is_harmful(letter) else letter):
                self.fail(f"{letter!r} became {shown!r}")

    def test_text(self) -> None:
        """In a text of several lines, newlines and tabs are kept, and carriage returns removed."""
        self.assertEqual(sanitize("a\tb\r\n\x1b[31m"), "a\tb\n\ufffd[31m")
        self.assertEqual(sanitize_line("a\tb\r\n"), "a\ufffdb\ufffd\ufffd")

    def test_marks(self) -> None:
        """So many marks as a script may need stay on a character; those beyond are replaced."""
        self.assertEqual(sanitize("x" + MARK * MAX_MARKS), "x" + MARK * MAX_MARKS)
        self.assertEqual(sanitize("x" + MARK * (MAX_MARKS + 2) + "y"), "x" + MARK * MAX_MARKS + "\ufffd\ufffdy")

    def test_joiners(self) -> None:
        """Joiners stay in emoji and in words of scripts that need them; beside ASCII they are replaced."""
        for text in ("👨\u200d👩\u200d👧", "می\u200cخواهم", "❤\ufe0f\u200d🔥"):
            self.assertEqual(sanitize(text), text)
        self.assertEqual(sanitize("pass\u200dword\u200c"), "pass\ufffdword\ufffd")
        self.assertEqual(sanitize("\u200dx"), "\ufffdx")

    @given(TEXT)
    def test_twice(self, text: str) -> None:
        """What has been filtered is not changed by the filter."""
        self.assertEqual(sanitize(sanitize(text)), sanitize(text))

    def test_otherPrograms(self) -> None:
        """Text for another program keeps what it has but control characters."""
        self.assertEqual(without_controls("a\n\tb\u200b\x1b\x9b\r\u202e"), "a\n\tb\u200b\ufffd\ufffd\ufffd\u202e")


class SanitizerTests(SynchronousTestCase):
    """Text that arrives in pieces."""

    @given(st.lists(TEXT))
    def test_pieces(self, pieces: list[str]) -> None:
        """The result does not depend on how the text was divided."""
        sanitizer = Sanitizer()
        self.assertEqual("".join(map(sanitizer.feed, pieces)), sanitize("".join(pieces)))

"""The filter for text from outside before it is written to a terminal.

Each character that a terminal would obey, and each that a user would not see, becomes a visible U+FFFD. Applying the
filter twice changes nothing.
"""

import unicodedata
from itertools import chain
from typing import Final

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
MAX_MARKS: Final = 6  # marks on one character; no script needs more, and a pile of them covers the lines above

_CONTROLS: Final = [*range(0x20), *range(0x7F, 0xA0)]  # C0, with ESC; DEL; C1, with its one-character CSI, OSC and DCS
_ORDER: Final = [  # change the order in which text is displayed
    *(0x061C, 0x200E, 0x200F),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x2070),
]
_INVISIBLE: Final = [
    *(0x180E, 0x200B, 0xFEFF),
    *range(0x2060, 0x2066),  # word joiner, invisible operators
    *(0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),  # fillers: letters and patterns without a glyph
    *range(0xFFF9, 0xFFFC),
    *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B),
    *range(0xE0000, 0xE0080),  # tags, which spell ASCII
    *range(0xE0100, 0xE01F0),  # variation selectors, which spell bytes
]
_SURROGATES: Final = range(0xD800, 0xE000)  # bytes that were typed and could not be decoded

_ONE_LINE: Final = dict.fromkeys(chain(_CONTROLS, _ORDER, _INVISIBLE, _SURROGATES, (0x2028, 0x2029)), REPLACEMENT)
_TEXT: Final = {**_ONE_LINE, ord("\n"): "\n", ord("\t"): "\t", ord("\r"): ""}  # for lines that end in "\r\n"
_NO_CONTROLS: Final = {**dict.fromkeys(chain(_CONTROLS, _SURROGATES), REPLACEMENT), ord("\n"): "\n", ord("\t"): "\t"}
_JOINERS: Final = "\u200c\u200d"  # some scripts and emoji need them; beside ASCII they only hide


def is_text(text: str) -> bool:
    """Whether the text can be sent. Bytes that were typed and could not be decoded are surrogates in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Sanitizer:
    """Filters text that arrives in pieces, with the same result as for the whole."""

    __slots__ = ("_has_base", "_marks")

    def __init__(self) -> None:
        self._marks = 0  # at the end of the text so far
        self._has_base = False  # whether joiners may follow: the text so far ends in a character beyond ASCII

    def feed(self, text: str) -> str:
        """The text with the characters replaced; newlines and tabs are kept, and carriage returns removed."""
        return self._limit_marks(text.translate(_TEXT))

    def feed_line(self, text: str) -> str:
        """The text with the characters replaced, newlines and tabs included."""
        return self._limit_marks(text.translate(_ONE_LINE))

    def _limit_marks(self, text: str) -> str:
        if text.isascii():
            if text:
                self._marks, self._has_base = 0, False
            return text
        letters = []
        for letter in text:
            is_joiner = letter in _JOINERS
            if not is_joiner and unicodedata.category(letter) not in ("Mn", "Me"):
                self._marks, self._has_base = 0, not letter.isascii()
            else:
                self._marks += 1
                if self._marks > MAX_MARKS or (is_joiner and not self._has_base):
                    letter = REPLACEMENT
            letters.append(letter)
        return "".join(letters)


def sanitize(text: str) -> str:
    """The text with each control and each invisible character replaced by U+FFFD, except for newlines and tabs."""
    return Sanitizer().feed(text)


def sanitize_line(text: str) -> str:
    """The text with each control and each invisible character replaced by U+FFFD."""
    return Sanitizer().feed_line(text)


def without_controls(text: str) -> str:
    """The text with control characters replaced, except for newlines and tabs, for other programs than the terminal."""
    return text.translate(_NO_CONTROLS)

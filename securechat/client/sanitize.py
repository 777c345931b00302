"""Removal of control characters from text before it is written to a terminal."""

from typing import Final

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

_CONTROLS: Final = [*range(0x20), *range(0x7F, 0xA0)]  # C0, with ESC; DEL; C1, with its one-character CSI
_BIDI: Final = [
    *range(0x202A, 0x202F),
    *range(0x2066, 0x2070),
]  # overrides, embeddings and isolates change the order in which text is displayed

_ONE_LINE: Final = {**dict.fromkeys([*_CONTROLS, *_BIDI, 0x2028, 0x2029], _REPLACEMENT)}
_TEXT: Final = {**_ONE_LINE, ord("\n"): "\n", ord("\t"): "\t", ord("\r"): ""}  # for lines that end in "\r\n"


def is_text(text: str) -> bool:
    """Whether the text can be sent. Bytes that were typed and could not be decoded are surrogates in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def sanitize(text: str) -> str:
    """The text with every control character replaced by U+FFFD, except for newlines and tabs."""
    return text.translate(_TEXT)


def sanitize_line(text: str) -> str:
    """The text with every control character replaced by U+FFFD."""
    return text.translate(_ONE_LINE)

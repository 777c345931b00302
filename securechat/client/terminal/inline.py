"""Markdown within a line: code, emphasis and links."""

import re
from typing import Final

from securechat.client.terminal.styles import Row, Style

LOOKAHEAD: Final = 300  # characters in which an opening delimiter must be closed; otherwise it is text

_SPECIAL: Final = re.compile(r"[\\`*_~\[!<]")
_LINK: Final = re.compile(r"!?\[((?:[^\[\]\\]|\\.)*)\]\(\s*(\S*?)(?:\s+\"[^\"]*\")?\s*\)")
_LINK_SO_FAR: Final = re.compile(r"!?\[(?:[^\[\]\\]|\\.)*(?:\\?|\]|\]\([^)]*)")
_AUTOLINK: Final = re.compile(r"<((?:https?://|mailto:)[^<>\s]*)>")
_AUTOLINK_SO_FAR: Final = re.compile(r"<[^<>\s]*")
_EMPHASIS: Final = {
    "*": Style.UNDERLINE,
    "_": Style.UNDERLINE,
    "**": Style.BOLD,
    "__": Style.BOLD,
    "***": Style.BOLD | Style.UNDERLINE,
    "___": Style.BOLD | Style.UNDERLINE,
    "~~": Style.DIM,
}


def parse(text: str, *, final: bool, before: str = "", style: Style = Style.PLAIN) -> tuple[Row, int]:
    """The spans of a line's text, as far as they are certain, and the number of characters that they take.

    What is certain does not change when more text follows; `final` if none does. `before` is the character before the
    text.
    """
    spans: Row = []
    at = 0
    while at < len(text):
        special = _SPECIAL.search(text, at)
        if special is None:
            spans.append((style, text[at:]))
            return spans, len(text)
        if special.start() > at:
            spans.append((style, text[at : special.start()]))
            at = special.start()
        window = text[at : at + LOOKAHEAD]
        is_complete = final or len(window) == LOOKAHEAD
        found = _element(window, text[at - 1] if at else before, style, is_complete)
        if found is None:
            break
        spans += found[0]
        at += found[1]
    return spans, at


def _element(text: str, before: str, style: Style, is_complete: bool) -> tuple[Row, int] | None:
    """The element at the start of a text, and its length; None if that depends on what follows."""
    match text[0]:
        case "\\":
            if len(text) > 1:
                is_escape = text[1].isascii() and not text[1].isalnum() and text[1] != " "
                return ([(style, text[1])], 2) if is_escape else ([(style, "\\")], 1)
        case "`":
            return _code(text, style, is_complete)
        case "[" | "!":
            return _link(text, style, is_complete)
        case "<":
            if found := _AUTOLINK.match(text):
                return [(style | Style.LINK, found[1])], found.end()
            if not is_complete and _AUTOLINK_SO_FAR.fullmatch(text):
                return None
            return [(style, "<")], 1
        case _:
            return _emphasis(text, before, style, is_complete)
    return ([(style, text)], 1) if is_complete else None


def _run(text: str, at: int = 0) -> int:
    """How often the character is repeated."""
    end = at
    while end < len(text) and text[end] == text[at]:
        end += 1
    return end - at


def _code(text: str, style: Style, is_complete: bool) -> tuple[Row, int] | None:
    size = _run(text)
    if size == len(text) and not is_complete:
        return None
    at = size
    while (at := text.find("`", at)) >= 0:
        closing = _run(text, at)
        if at + closing == len(text) and not is_complete:
            return None
        if closing == size:
            code = text[size:at]
            if code.strip() and code[0] == code[-1] == " ":
                code = code[1:-1]
            return [(style | Style.CODE, code)], at + size
        at += closing
    return ([(style, text[:size])], size) if is_complete else None


def _link(text: str, style: Style, is_complete: bool) -> tuple[Row, int] | None:
    if found := _LINK.match(text):
        label, target = found[1], found[2]
        spans, _length = parse(label, final=True, style=style | Style.UNDERLINE)
        if label != target and target:
            spans += [(style, " ("), (style | Style.LINK, target), (style, ")")]
        return spans, found.end()
    if not is_complete and (text == "!" or _LINK_SO_FAR.fullmatch(text)):
        return None
    return [(style, text[0])], 1


def _emphasis(text: str, before: str, style: Style, is_complete: bool) -> tuple[Row, int] | None:
    size = _run(text)
    if size == len(text) and not is_complete:
        return None
    mark = text[:size]
    literal: Row = [(style, mark)]
    within_a_word = before.isalnum() and (mark[0] == "_" or before.isascii())
    if mark not in _EMPHASIS or within_a_word or text[size : size + 1].strip() == "":
        return literal, size
    at = size
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text[at] == "`":
            length = _run(text, at)
            end = text.find("`" * length, at + length)
            if end < 0 and not is_complete:
                return None
            at = end + length if end >= 0 else at + length
        elif text[at] == mark[0]:
            closing = _run(text, at)
            after = text[at + closing : at + closing + 1]
            if not after and not is_complete:
                return None
            if closing == size and not text[at - 1].isspace() and not (mark[0] == "_" and after.isalnum()):
                inner, _length = parse(text[size:at], final=True, before=mark[0], style=style | _EMPHASIS[mark])
                return inner, at + size
            at += closing
        else:
            at += 1
    return (literal, size) if is_complete else None

"""Translation of user-visible text with gettext. The source text is English.

The language is taken from ``LANGUAGE``, ``LC_ALL``, ``LC_MESSAGES`` and ``LANG`` when this module is imported.
"""

import gettext
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_translation = gettext.translation("securechat", Path(__file__).parent / "locale", fallback=True)

_is_english = False

ngettext = _translation.ngettext


def _(text: str) -> str:
    """The translation of a text."""
    if _is_english or not text:  # gettext's translation of an empty text is the head of the catalogue
        return text
    return _translation.gettext(text)


@contextmanager
def in_english() -> Iterator[None]:
    """Leave texts untranslated meanwhile, because they are for the log. Not for code that awaits."""
    global _is_english
    before, _is_english = _is_english, True
    try:
        yield
    finally:
        _is_english = before


def N_(text: str) -> str:
    """Mark `text` for translation; `_` translates it when it is displayed."""
    return text

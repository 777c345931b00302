"""The user's language: English source text, translated by gettext where a catalogue exists.

The language is chosen once, from ``LANGUAGE``, ``LC_ALL``, ``LC_MESSAGES`` and ``LANG``, as every program does it.
"""

import gettext
from pathlib import Path

_translation = gettext.translation("securechat", Path(__file__).parent / "locale", fallback=True)

_ = _translation.gettext
ngettext = _translation.ngettext


def N_(text: str) -> str:
    """Mark `text` for translation where it is defined; `_` translates it where it is shown."""
    return text

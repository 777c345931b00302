"""Translation of user-visible text with gettext. The source text is English.

The language is taken from ``LANGUAGE``, ``LC_ALL``, ``LC_MESSAGES`` and ``LANG`` when this module is imported.
"""

import gettext
from pathlib import Path

_translation = gettext.translation("securechat", Path(__file__).parent / "locale", fallback=True)

_ = _translation.gettext
ngettext = _translation.ngettext


def N_(text: str) -> str:
    """Mark `text` for translation; `_` translates it when it is displayed."""
    return text

"""Tokens that say when they were written, and where they belong.

A token has five characters, as many as an English one on average: four are the time, the fifth depends on the
conversation and the position in it, so that a lost or foreign token is found.
"""

import base64
import time
from typing import Final

SIZE: Final = 5  # characters
_UNIT: Final = 20e-6  # seconds
_WRAP: Final = 1 << 24  # units: 335 seconds
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _letter(conversation: int, position: int) -> str:
    return _LETTERS[(conversation + position) % len(_LETTERS)]


def stamp(conversation: int, position: int) -> str:
    """The token that is written now, on the wall clock, which is also that of the kernel's timestamps."""
    units = int(time.time() / _UNIT) % _WRAP
    return base64.urlsafe_b64encode(units.to_bytes(3, "big")).decode() + _letter(conversation, position)


def age(token: str, moment: float) -> float:
    """Seconds from when a token was written to `moment`."""
    units = int.from_bytes(base64.urlsafe_b64decode(token[:4]), "big")
    return (moment / _UNIT - units) % _WRAP * _UNIT


def belongs(token: str, conversation: int, position: int) -> bool:
    return token[4] == _letter(conversation, position)

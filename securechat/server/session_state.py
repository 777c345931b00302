"""A session, as operators see it."""

from typing import NamedTuple


class SessionState(NamedTuple):
    """A row of ``securechat-ctl sessions``."""

    session: int
    user: str  # empty if anonymous
    key: str  # a fingerprint; empty if anonymous
    authorized: bool  # whether the key is that of an authorized user
    peer: str
    suite: str
    age: int  # seconds
    idle: int  # seconds
    messages: int  # received, including API requests
    waiting: int  # of them, those without a whole reply

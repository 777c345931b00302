"""What the daemon counts: plain integers, so that counting costs nothing that matters; `metrics` reads them."""

from collections import Counter
from typing import Final

from securechat.conversation import Usage
from securechat.errors import Category, Fault

MAX_USERS: Final = 1000  # with counters of their own; each has some ten lines in the metrics


class UserCounters:
    """What a user has sent, and the tokens that it has cost."""

    __slots__ = ("calls", "messages", "usage")

    def __init__(self) -> None:
        self.messages = 0
        self.calls = 0
        self.usage = Usage()


class Counters:
    """The counters of one daemon, since it was started."""

    def __init__(self, *, by_user: bool = False) -> None:
        """`by_user`: whether authorized users have counters of their own."""
        self._by_user = by_user
        self.refused = 0  # connections closed before their handshake began
        self.handshakes: Counter[tuple[str, bool]] = Counter()  # by suite, empty if none was chosen, and success
        self.aborts: Counter[Category] = Counter()
        self.replies: Counter[tuple[bool, Fault | None]] = Counter()  # by whether to an API request, and fault
        self.users: dict[str, UserCounters] = {"": UserCounters()}  # by name; those of all others are empty

    def of_user(self, name: str) -> UserCounters:
        """The counters of an authorized user; `name` is empty for other clients."""
        if not self._by_user or name in self.users or len(self.users) > MAX_USERS:
            return self.users.get(name if self._by_user else "", self.users[""])
        return self.users.setdefault(name, UserCounters())

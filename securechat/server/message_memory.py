"""The memory for messages: one bound for all of them, and one for those of a user or source (protocol, section 8)."""

from typing import Final

SHARES: Final = 8  # one user or source may hold one of so many

Holder = bytes | str  # a user's key, or the source of anonymous clients


class MessageMemory:
    """Counts the bytes of all messages that have not been answered, by the user or source that holds them."""

    __slots__ = ("_free", "_held", "_share")

    def __init__(self, size: int) -> None:
        self._free = size
        self._share = size // SHARES
        self._held: dict[Holder, int] = {}

    def quota(self, holder: Holder) -> "HolderQuota":
        """The part of one user or source, which all of its sessions share."""
        return HolderQuota(self, holder)

    def take(self, holder: Holder, size: int) -> bool:
        """Count more bytes; False, and nothing is counted, if they exceed a bound."""
        held = self._held.get(holder, 0) + size
        if held > self._share or size > self._free:
            return False
        if held:
            self._held[holder] = held
        self._free -= size
        return True

    def give_back(self, holder: Holder, size: int) -> None:
        """Count no longer what was taken."""
        held = self._held.pop(holder, 0) - size
        if held:
            self._held[holder] = held
        self._free += size


class HolderQuota:
    """The part of a MessageMemory that belongs to one user or source."""

    __slots__ = ("_holder", "_memory")

    def __init__(self, memory: MessageMemory, holder: Holder) -> None:
        self._memory = memory
        self._holder = holder

    def take(self, size: int) -> bool:
        return self._memory.take(self._holder, size)

    def give_back(self, size: int) -> None:
        self._memory.give_back(self._holder, size)

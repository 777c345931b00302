"""The memory for messages: one bound for all of them, and one for those of a user or source (protocol, section 8)."""

from typing import Final
from weakref import WeakValueDictionary

from securechat.server.admission import Holder

SHARES: Final = 8  # one user or source may hold one of so many


class MessageMemory:
    """The bytes that the messages of all clients may take."""

    def __init__(self, size: int) -> None:
        self.free = size
        self.share = size // SHARES  # of one user or source
        self._quotas: WeakValueDictionary[Holder, HolderQuota] = WeakValueDictionary()

    def quota(self, holder: Holder) -> "HolderQuota":
        """The quota of a user or source. All of its sessions share it, and it exists as long as one of them does."""
        quota = self._quotas.get(holder)
        if quota is None:
            quota = self._quotas[holder] = HolderQuota(self)
        return quota


class HolderQuota:
    """What the messages of one user or source take of the memory."""

    __slots__ = ("__weakref__", "_memory", "taken")

    def __init__(self, memory: MessageMemory) -> None:
        self.taken = 0  # bytes
        self._memory = memory

    def take(self, size: int) -> bool:
        """Take some of the memory; False if there is not so much, or if it would exceed the share."""
        memory = self._memory
        if self.taken + size > memory.share or size > memory.free:
            return False
        self.taken += size
        memory.free -= size
        return True

    def give_back(self, size: int) -> None:
        """Return some that was taken."""
        self.taken -= size
        self._memory.free += size

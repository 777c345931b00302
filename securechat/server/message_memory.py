"""The memory for messages: a bound for all of them, and one for those of a user or source (protocol, section 8)."""

from typing import Final
from weakref import WeakValueDictionary

from securechat.server.admission import SITE_FACTOR, Holder

SHARES: Final = 8  # one user or source may hold one of so many


class HolderQuota:
    """What the messages of one user, source or site may take of the memory."""

    __slots__ = ("__weakref__", "_parent", "_size", "taken")

    def __init__(self, size: int, parent: "HolderQuota | None" = None) -> None:
        """`parent` is the quota that this one is a part of."""
        self.taken = 0  # bytes
        self._size = size
        self._parent = parent

    def take(self, size: int) -> bool:
        """Take some of the memory; False if this quota or its parent has not so much left."""
        if self.taken + size > self._size or (self._parent is not None and not self._parent.take(size)):
            return False
        self.taken += size
        return True

    def give_back(self, size: int) -> None:
        """Return some that was taken."""
        self.taken -= size
        if self._parent is not None:
            self._parent.give_back(size)


class MessageMemory(HolderQuota):
    """The bytes that the messages of all clients may take."""

    __slots__ = ("_quotas", "_share")

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._share = size // SHARES  # of one user or source
        self._quotas: WeakValueDictionary[str, HolderQuota] = WeakValueDictionary()

    def quota(self, holder: Holder) -> HolderQuota:
        """The quota of a user or source. All of its sessions share it, and it exists as long as one of them does."""
        parent = self._part(holder.site, self._share * SITE_FACTOR, self) if holder.site else self
        return self._part(holder.name, self._share, parent)

    def _part(self, name: str, size: int, parent: HolderQuota) -> HolderQuota:
        quota = self._quotas.get(name)
        if quota is None:
            quota = self._quotas[name] = HolderQuota(size, parent)
        return quota

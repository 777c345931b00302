"""The memory for messages: one bound for all of them, and one for those of a user or source (protocol, section 8)."""

from typing import Final
from weakref import WeakValueDictionary

from securechat.server.admission import SITE_FACTOR, Holder

SHARES: Final = 8  # one user or source may hold one of so many


class Quota:
    """The number of bytes that messages may take."""

    __slots__ = ("__weakref__", "_most", "_within", "taken")

    def __init__(self, most: int, within: "Quota | None" = None) -> None:
        """At most `most` bytes, which are also taken from the quota `within`."""
        self.taken = 0
        self._most = most
        self._within = within

    def take(self, size: int) -> bool:
        """Take `size` bytes; False if fewer are left."""
        if self.taken + size > self._most or (self._within is not None and not self._within.take(size)):
            return False
        self.taken += size
        return True

    def give_back(self, size: int) -> None:
        """Return some that were taken."""
        self.taken -= size
        if self._within is not None:
            self._within.give_back(size)


class MessageMemory:
    """The memory that the messages of all clients may take, and the part of each user or source."""

    def __init__(self, size: int) -> None:
        self.all = Quota(size)
        self._share = size // SHARES
        self._quotas: WeakValueDictionary[str, Quota] = WeakValueDictionary()

    def quota(self, holder: Holder) -> Quota:
        """The quota of a user or source. All of its sessions share it, and it exists as long as one of them does."""
        if not holder.site:
            return self._quota(holder.name, self._share, self.all)
        site = self._quota(holder.site, SITE_FACTOR * self._share, self.all)
        return self._quota(holder.name, self._share, site)

    def _quota(self, name: str, most: int, within: Quota) -> Quota:
        quota = self._quotas.get(name)
        if quota is None:
            quota = self._quotas[name] = Quota(most, within)
        return quota

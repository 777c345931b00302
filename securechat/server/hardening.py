"""What the daemon gives up, so that a fault of it costs less: core dumps, debuggers, root."""

import ctypes
import os
import resource
import sys
from contextlib import suppress
from typing import Final

from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.server.settings import ServerSettings
from securechat.server.startup import is_local

PRIVATE: Final = 0o077  # the umask
_PR_SET_DUMPABLE: Final = 4  # of prctl(2)


def forbid_dumps() -> None:
    """Keep the memory of this process, with its keys, out of core dumps and, on Linux, from debuggers of its user."""
    with suppress(OSError, ValueError):  # forbidden by a system call filter, which then also limits core dumps
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # A handler of core dumps that is a program, such as systemd-coredump, need not obey the limit.
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def refuse_root(settings: ServerSettings, uid: int | None) -> None:
    """ConfigurationError if the daemon would keep the privileges of root where other machines can reach it.

    `uid` is the user that twistd changes to.
    """
    if os.geteuid() == 0 and not uid and not settings.allow_root and not all(map(is_local, settings.listen)):
        raise ConfigurationError(
            _(
                "refusing to run as root on an address that other machines can reach; use twistd --uid USER --gid "
                "GROUP, a USER line in a container file, or --allow-root"
            )
        )

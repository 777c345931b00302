"""What a daemon that was killed leaves behind, and what would keep it from starting again.

Twisted asks whether the process whose number is in such a file exists. That process may be this one, because a
container gives the same numbers each time, or another program that has got the number since.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from securechat.stale_socket import remove_stale_socket

MAX_PID_FILE: Final = 100  # bytes; far more than a number has
PROC: Final = Path("/proc")
# The parts between the colons of an endpoint string, in which \ quotes the next character.
_PART: Final = re.compile(r"(?:\\.|[^:\\])+", re.DOTALL)


def remove_stale_pid_file(path: Path) -> None:
    """Remove twistd's PID file unless it may be that of a twistd that runs.

    A file that cannot be read or removed, or contains something else, is left for twistd to report.
    """
    with suppress(OSError):
        if path.is_file() and _is_stale(path.read_bytes()[:MAX_PID_FILE]):
            path.unlink()


def _is_stale(content: bytes) -> bool:
    """Whether no running twistd can have written this PID file; one that is empty was lost with the power."""
    text = content.strip(b"\0 \n")
    if not text:
        return True
    if not text.isdigit():
        return False
    return int(text) == os.getpid() or not _may_be_twistd(int(text))


def _may_be_twistd(pid: int) -> bool:
    """Whether "twistd" is in the command line of a process, or it cannot be read. A process that has ended has none."""
    try:
        return b"twistd" in (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return True


def remove_stale_socket_of(endpoint: str) -> None:
    """Remove the UNIX socket of an endpoint, and Twisted's lock beside it, if no process listens on it."""
    path = _socket_path(endpoint)
    if path is not None:
        remove_stale_socket(path)


def parts_of(endpoint: str) -> list[str]:
    """The parts of an endpoint string between its colons, at least one."""
    return _PART.findall(endpoint) or [""]


def _socket_path(endpoint: str) -> Path | None:
    """The path in a string such as ``unix:/run/chat`` or ``haproxy:unix:address=/run/chat``."""
    kind, *parts = parts_of(endpoint.removeprefix("haproxy:"))
    if kind != "unix":
        return None
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or name == "address":
            return Path(re.sub(r"\\(.)", r"\1", value if equals else name))
    return None

"""The UNIX socket that a killed process leaves behind, and that would keep the next one from listening."""

import socket
import stat
from contextlib import suppress
from pathlib import Path


def remove_stale_socket(path: Path) -> None:
    """Remove a UNIX socket, and Twisted's lock beside it, if no process listens on it. Other files are left alone."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            pass  # but there may be a lock
        except ConnectionRefusedError:
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
        else:
            return
        Path(f"{path}.lock").unlink(missing_ok=True)

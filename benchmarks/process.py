"""Processes observed from outside: CPU time and memory of programs as their users start them."""

import os
import re
import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SERVER_CORE: Final = CORES[0]
LOAD_CORE: Final = CORES[-1]  # of this process and the model's server


def prepare_load() -> int:
    """Keep this process, which applies the load, on its core; raise its limit on open files, and return that."""
    os.sched_setaffinity(0, {LOAD_CORE})
    return raise_file_limit()


def raise_file_limit() -> int:
    """Raise this process's limit on open files as far as it may, and return it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def children(pid: int) -> list[int]:
    """The child processes of all threads of a process."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended meanwhile
            found += map(int, path.read_text().split())
    return found


def cpu_time(pid: int) -> float:
    """User and system time of all threads of a process so far, in seconds, to the microsecond.

    /proc/PID/stat counts in hundredths of a second. This is its CPU clock, as by clock_getcpuclockid(3).
    """
    return time.clock_gettime((~pid << 3) | 2)


def memory(pid: int) -> int:
    """Proportional set size of a process in KiB: pages that are shared count in parts."""
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


@dataclass(frozen=True)
class Server:
    """A running server and its child processes, all on one core."""

    pid: int
    port: int

    def processes(self) -> list[int]:
        return [self.pid, *children(self.pid)]

    def cpu(self) -> float:
        """CPU time so far, in seconds."""
        return sum(map(cpu_time, self.processes()))

    def memory(self) -> int:
        """In KiB. A child process that has ended counts nothing."""
        total = memory(self.pid)
        for child in children(self.pid):
            with suppress(FileNotFoundError, ProcessLookupError):
                total += memory(child)
        return total

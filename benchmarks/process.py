"""The measured server's process, pinned to a core."""

import os
import subprocess
import sys
from typing import Final, TextIO

CORES: Final = sorted(os.sched_getaffinity(0))


class Server:
    """A server of `benchmarks.servers` in a process of its own, by default on the first core."""

    def __init__(self, name: str, *arguments: str, core: int = CORES[0], errors: TextIO | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.servers", name, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        self.port = int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def report(self) -> tuple[float, int]:
        """CPU time so far in seconds, resident memory in KiB."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        cpu, memory = self._line().split()
        return float(cpu), int(memory)

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)

"""A model server in a process of its own, which can be killed and started again."""

import subprocess
import sys

from tests.harness.daemon import ENVIRON


class ModelProcess:
    """`tests.harness.openai_peer`, always on the same port."""

    def __init__(self) -> None:
        self.address = "127.0.0.1:0"
        self.start()

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        port = self.address.rpartition(":")[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.openai_peer", port], stdout=subprocess.PIPE, env=ENVIRON
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().decode().split("/")[2]

    def kill(self) -> None:
        """Kill it (SIGKILL), and wait until it has ended."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

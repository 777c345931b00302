"""A real ssh-agent in a process."""

import socket
import subprocess
import time
from pathlib import Path

from tests.harness.daemon import ENVIRON

START_TIMEOUT = 60.0  # seconds


class Agent:
    """A real ssh-agent with keys. Its methods block."""

    def __init__(self, path: Path) -> None:
        """`path` is that of its socket, and short."""
        self.path = path

    def start(self, *key_files: Path) -> "Agent":
        """Start it with these keys."""
        self._process = subprocess.Popen(["ssh-agent", "-D", "-a", str(self.path)], stdout=subprocess.DEVNULL)
        end = time.monotonic() + START_TIMEOUT
        with socket.socket(socket.AF_UNIX) as probe:
            while probe.connect_ex(str(self.path)) != 0:  # the socket exists before the agent listens
                assert time.monotonic() < end
                time.sleep(0.02)
        for path in key_files:
            self.add(path)
        return self

    def add(self, key_file: Path) -> None:
        """Add a key."""
        environ = {**ENVIRON, "SSH_AUTH_SOCK": str(self.path)}
        subprocess.run(["ssh-add", "-q", key_file], env=environ, check=True, timeout=START_TIMEOUT)

    def stop(self) -> None:
        """End it. It removes its socket."""
        self._process.terminate()
        self._process.wait()

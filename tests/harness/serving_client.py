"""``securechat --serve`` as a process."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.harness.daemon import ENVIRON

LIMIT = 60  # seconds
CLIENT = (sys.executable, "-m", "securechat.client")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServingClient:
    """``securechat --serve`` as a process. The methods block: call them in a thread."""

    def __init__(self, directory: Path, daemon_port: int) -> None:
        self.port = free_port()
        self.errors = directory / "errors"
        self.output = directory / "output"
        self.environ = {**ENVIRON, "XDG_STATE_HOME": str(directory), "HOME": str(directory)}
        self.command = (
            *(*CLIENT, f"127.0.0.1:{daemon_port}", "--accept-new", "--serve", str(self.port)),
            *("--known-hosts", str(directory / "known_hosts")),
        )
        with self.errors.open("wb") as errors, self.output.open("wb") as output:
            status = os.fstat(errors.fileno())
            self.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"  # as if it were systemd's journal
            self.process = subprocess.Popen(self.command, env=self.environ, stdout=output, stderr=errors)

    def wait_for(self, words: str) -> None:
        end = time.monotonic() + LIMIT
        while words not in self.errors.read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no {words!r} in {self.errors.read_text()}")
            time.sleep(0.05)

    def key(self) -> str:
        """The key, as programs find it."""
        done = subprocess.run([*self.command, "--print-env"], env=self.environ, capture_output=True, check=True)
        found = re.search(r"^export OPENAI_API_KEY=(\S+)$", done.stdout.decode(), re.MULTILINE)
        assert found is not None
        return found[1]

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        try:
            headers = {"Authorization": f"Bearer {self.key()}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

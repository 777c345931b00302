"""How long programs take to start, and their CPU time until then.

Users start installed programs, and pip compiles what it installs. Here the same is done for the checkout.
"""

import compileall
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.process import Server, children, cpu_time
from benchmarks.row import Contenders, Figures, Row
from benchmarks.servers import securechat, twisted_tls
from tests.harness.daemon import ENVIRON
from tests.harness.terminal import READY, Terminal

PACKAGE: Final = Path(__file__).parents[2] / "securechat"
TIMEOUT: Final = 30.0  # seconds
CTRL_D: Final = "\x04"
TWISTED: Final = "from twisted.internet import reactor"


def compile_checkout() -> None:
    """Write the bytecode of securechat where it is missing or old."""
    compileall.compile_dir(PACKAGE, quiet=2)


def figures(wall: float, cpu: float) -> Figures:
    return {"wall clock, ms": wall * 1e3, "CPU, ms": cpu * 1e3}


def server_start(start: Callable[[], AbstractContextManager[Server]]) -> Figures:
    """Until it says in its log that it listens."""
    before = time.monotonic()
    with start() as server:
        return figures(time.monotonic() - before, server.cpu())


def client_start(port: int, known_hosts: Path) -> Figures:
    """Until its prompt takes keys, after a handshake with a running daemon."""
    siblings = set(children(os.getpid()))
    command = [sys.executable, "-m", "securechat.client", f"127.0.0.1:{port}"]
    options = ["--accept-new", "--known-hosts", str(known_hosts)]
    before = time.monotonic()
    terminal = Terminal([*command, *options], {**ENVIRON, "TERM": "xterm"}, TIMEOUT)
    try:
        terminal.wait_for(READY)
        after = time.monotonic()
        (pid,) = set(children(os.getpid())) - siblings
        found = figures(after - before, cpu_time(pid))
        terminal.type(CTRL_D)
    finally:
        terminal.close()
    return found


def python_start() -> Figures:
    """A Python that imports the reactor and waits for input."""
    before = time.monotonic()
    command = [sys.executable, "-c", f"{TWISTED}; print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRON) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        found = figures(time.monotonic() - before, cpu_time(process.pid))
        process.stdin.write(b"\n")
    return found


@contextmanager
def servers(_scale: float) -> Iterator[Contenders]:
    compile_checkout()
    yield {
        "securechat": partial(server_start, partial(securechat, "--robot", "echo")),
        "Twisted TLS 1.3": partial(server_start, twisted_tls),
    }


@contextmanager
def clients(_scale: float) -> Iterator[Contenders]:
    compile_checkout()
    with tempfile.TemporaryDirectory() as directory, securechat("--robot", "echo") as server:
        yield {
            "securechat": partial(client_start, server.port, Path(directory) / "known_hosts"),
            "Python and Twisted's reactor": python_start,
        }


STARTS: Final = (
    Row("start-server", "start of the server, until it listens", servers),
    Row("start-client", "start of the client, until it prompts", clients),
)

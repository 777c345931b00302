"""``python -m benchmarks.terminal``: what a user at a terminal waits for.

Prints the time from the start of the client to its prompt, its memory, and how long a key that is typed takes to appear
while a reply of 2,000 lines arrives, as text and as code with colours. Exits with status 1 if one of them is above its
limit. Nothing else should run on the machine meanwhile.
"""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

MAX_START: Final = 0.6  # seconds to the prompt
MAX_MEMORY: Final = 80.0  # MiB
MAX_ECHO: Final = 0.015  # seconds for 95 of 100 keys
STARTS: Final = 5
LINES: Final = 2000
PATIENCE: Final = 30.0  # seconds for anything
PROMPT: Final = b"\x1b[?7h\x1b[0m\x1b[?12l\x1b[?25h"  # the end of each drawing of the prompt
KEYS: Final = "abcdefghijklmnopqrstuvwxyz"
LINE: Final = "LINE {number} OF MANY, ALL OF THEM IN CAPITALS"
TEXT: Final = "\n".join(LINE.format(number=number) for number in range(LINES))
CODE: Final = "```PYTHON\n" + "\n".join(
    f'    MANY = CALL("TEXT", {number}, None)  # {LINE.format(number=number)}' for number in range(LINES)
)


class User:
    """A user of the client at a pseudo-terminal."""

    def __init__(self, arguments: list[str], home: str) -> None:
        self.output = b""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.environ.update(HOME=home, TERM="xterm-256color")
            os.execv(sys.executable, [sys.executable, "-m", "securechat.client", *arguments])
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def wait(self, condition: Callable[[], bool]) -> None:
        """Read until the condition is true."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(self.output[-500:])
            if select.select([self._terminal], [], [], 0.001)[0]:
                self.output += os.read(self._terminal, 65536)

    def memory(self) -> float:
        """The largest memory so far, in MiB."""
        found = re.search(r"^VmHWM:\s+(\d+)", Path(f"/proc/{self._pid}/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) / 1024

    def processor_time(self) -> float:
        """Seconds so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def leave(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


def measure_start(arguments: list[str], home: str) -> tuple[float, float]:
    """Seconds to the prompt, and seconds of processor time that it takes."""
    starts, times = [], []
    for _start in range(STARTS):
        before = time.monotonic()
        user = User(arguments, home)
        user.wait(lambda user=user: PROMPT in user.output.partition(b"> ")[2])  # type: ignore[misc]
        starts.append(time.monotonic() - before)
        times.append(user.processor_time())
        user.leave()
    return sorted(starts)[STARTS // 2], sorted(times)[STARTS // 2]


def measure_echo(arguments: list[str], home: str, text: str) -> tuple[float, list[float]]:
    """MiB, and seconds for each key while this text arrives."""
    user = User(arguments, home)
    user.wait(lambda: PROMPT in user.output)
    user.type(f"\x1b[200~{text}\x1b[201~\r")
    user.wait(lambda: b"echo\x1b[0m\r\n" in user.output)
    last = LINE.format(number=LINES - 1).encode()
    echoes: list[float] = []
    count = user.output.count(last)
    while user.output.count(last) <= count and len(echoes) < LINES:
        key = KEYS[len(echoes) % len(KEYS)]
        start = len(user.output)
        before = time.monotonic()
        user.type(key)
        user.wait(lambda start=start, key=key: key.encode() in _typed(user.output[start:]))  # type: ignore[misc]
        echoes.append(time.monotonic() - before)
        user.type("\x15")
        size = len(user.output)
        user.wait(lambda size=size: PROMPT in user.output[size:])  # type: ignore[misc]
    memory = user.memory()
    user.leave()
    return memory, sorted(echoes)


def _typed(output: bytes) -> bytes:
    """The output without escape sequences: the lines have capitals only."""
    return re.sub(rb"\x1b\[[\d;?]*[A-Za-z]", b"", output)


def main() -> int:
    with TemporaryDirectory() as home:
        log = Path(home) / "log"
        command = ["-c", "from twisted.scripts.twistd import run; run()", "-n", "--logfile", str(log), "--pidfile="]
        options = ["--state-dir", f"{home}/state", "--listen", "tcp:0:interface=127.0.0.1", "--tick", "0.01"]
        daemon = subprocess.Popen([sys.executable, *command, "securechat", "--robot", "echo", *options])
        try:
            while not (log.exists() and (found := re.search(r"starting on (\d+)", log.read_text()))):
                time.sleep(0.05)
            arguments = [f"127.0.0.1:{found[1]}", "--accept-new"]
            start, processor_time = measure_start(arguments, home)
            echoes = {name: measure_echo(arguments, home, text) for name, text in (("text", TEXT), ("code", CODE))}
        finally:
            daemon.terminate()
            daemon.wait()
    print(f"start to prompt: {start:.2f} s, {processor_time:.2f} s of processor time (limit {MAX_START} s)")
    is_above = start > MAX_START
    for name, (memory, times) in echoes.items():
        echo = times[len(times) * 95 // 100]
        print(f"memory, with {LINES} lines of {name}: {memory:.0f} MiB (limit {MAX_MEMORY:.0f} MiB)")
        print(f"a key while they arrive, 95 % of {len(times)}: {echo * 1000:.1f} ms (limit {MAX_ECHO * 1000:.0f} ms)")
        is_above = is_above or memory > MAX_MEMORY or echo > MAX_ECHO
    return int(is_above)


if __name__ == "__main__":
    sys.exit(main())

"""A program on a pseudo-terminal."""

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time

ROWS, COLUMNS = 30, 100
READY = "\x1b[?2004h"  # bracketed paste on: a prompt reads keys now
CURSOR_QUERY = "\x1b[6n"  # the program waits for the answer
CURSOR_ANSWER = b"\x1b[1;1R"

# A process with threads must not fork, so this program runs first and makes the pseudo-terminal its own.
START = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """Runs `command` for at most `timeout` seconds. The methods block: call them in a thread."""

    def __init__(self, command: list[str], environ: dict[str, str], timeout: float) -> None:
        self.screen = ""  # all output so far
        self._end = time.monotonic() + timeout
        self._seen = 0  # where `wait_for` goes on
        self._answered = 0  # where the search for cursor queries goes on
        self._keyboard, terminal = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", START, *command],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd="/",
            env=environ,
            start_new_session=True,
        )
        os.close(terminal)

    def wait_for(self, words: str) -> None:
        """Wait until the screen has these words, after the words of the last call."""
        while (found := self.screen.find(words, self._seen)) < 0:
            if not self._read():
                raise AssertionError(f"no {words!r} in {self.screen[self._seen :]!r}")
        self._seen = found + len(words)

    def type(self, keys: str | bytes) -> None:
        os.write(self._keyboard, keys.encode() if isinstance(keys, str) else keys)

    @property
    def is_echoing(self) -> bool:
        """Whether the terminal displays what is typed."""
        return bool(termios.tcgetattr(self._keyboard)[3] & termios.ECHO)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def close(self) -> int:
        """Wait until the program exits; its exit code, negative for a signal."""
        while self._read():
            pass
        try:
            return self._process.wait(max(0.0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the program did not exit: {self.screen!r}") from None
        finally:
            os.close(self._keyboard)

    def kill(self) -> None:
        """End the program if it still runs, for a test that failed."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _read(self) -> bool:
        """Read some output; False if the program has exited or the time is over."""
        if not select.select([self._keyboard], [], [], max(0.0, self._end - time.monotonic()))[0]:
            return False
        try:
            self.screen += os.read(self._keyboard, 65536).decode(errors="replace")
        except OSError:  # the program has exited
            return False
        while (query := self.screen.find(CURSOR_QUERY, self._answered)) >= 0:
            self._answered = query + len(CURSOR_QUERY)
            os.write(self._keyboard, CURSOR_ANSWER)
        return True

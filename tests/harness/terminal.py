"""A program on a terminal of its own, and what a user sees and types there."""

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time

ROWS, COLUMNS = 30, 100
READY = "\x1b[?2004h"  # bracketed paste: a prompt reads keys from now on; what is typed before is lost
WHERE = "\x1b[6n"  # the program asks where the cursor is, and waits for the answer
HERE = b"\x1b[1;1R"

# A process with threads must not fork, so the child is started as any other, and takes the terminal itself.
START = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """Runs `command`; whatever is waited for has to come within `timeout` seconds. It blocks: call it in a thread."""

    def __init__(self, command: list[str], environ: dict[str, str], timeout: float) -> None:
        self.screen = ""  # everything so far
        self._end = time.monotonic() + timeout
        self._seen = 0  # characters of it that were waited for
        self._asked = 0  # characters of it that were searched for questions
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
        """Wait until these words come on the screen, after those that were waited for before."""
        while (found := self.screen.find(words, self._seen)) < 0:
            if not self._read():
                raise AssertionError(f"no {words!r} in {self.screen[self._seen :]!r}")
        self._seen = found + len(words)

    def type(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode())

    def close(self) -> int:
        """Wait for the end of the program; its exit status, as subprocess has it."""
        while self._read():
            pass
        try:
            return self._process.wait(max(0.0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"it did not end: {self.screen!r}") from None
        finally:
            os.close(self._keyboard)

    def _read(self) -> bool:
        """Whether more came; not when the program has gone, or time is up."""
        if not select.select([self._keyboard], [], [], max(0.0, self._end - time.monotonic()))[0]:
            return False
        try:
            self.screen += os.read(self._keyboard, 65536).decode(errors="replace")
        except OSError:  # it has gone
            return False
        while (asked := self.screen.find(WHERE, self._asked)) >= 0:
            self._asked = asked + len(WHERE)
            os.write(self._keyboard, HERE)
        return True

"""A program on a pseudo-terminal."""

import codecs
import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time

import pyte

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
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._emulator = pyte.HistoryScreen(COLUMNS, ROWS, history=10_000, ratio=0.001)
        self._stream = pyte.Stream(self._emulator)
        self._displayed = 0  # how much of the output the emulator has displayed
        self._keyboard, terminal = os.openpty()
        self._set_size(COLUMNS)
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

    def _set_size(self, columns: int) -> None:
        fcntl.ioctl(self._keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))

    def resize(self, columns: int) -> None:
        """Change the width, and let the program know."""
        self.read_for(0)
        self._display()
        self._emulator.resize(ROWS, columns)
        self._set_size(columns)

    def _display(self) -> None:
        self._stream.feed(self.screen[self._displayed :])
        self._displayed = len(self.screen)

    def read_for(self, seconds: float) -> None:
        """Read what the program writes in that time."""
        end = time.monotonic() + seconds
        while select.select([self._keyboard], [], [], max(0.0, end - time.monotonic()))[0] and self._read():
            pass

    @property
    def lines(self) -> list[str]:
        """The lines on the screen and above it, as a terminal without reflow displays them, without trailing space."""
        self._display()
        screen = self._emulator
        above = ["".join(line[column].data for column in range(screen.columns)) for line in screen.history.top]
        lines = [line.rstrip() for line in (*above, *screen.display)]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def wait_until(self, line: str) -> None:
        """Wait until the last line on the screen is this one."""
        while (lines := self.lines)[-1:] != [line]:
            if not self._read():
                raise AssertionError(f"no {line!r} at the end of {lines!r}")

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
            self.screen += self._decoder.decode(os.read(self._keyboard, 65536))
        except OSError:  # the program has exited
            return False
        while (query := self.screen.find(CURSOR_QUERY, self._answered)) >= 0:
            self._answered = query + len(CURSOR_QUERY)
            os.write(self._keyboard, CURSOR_ANSWER)
        return True

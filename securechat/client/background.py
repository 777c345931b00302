"""Leaving in the background: the program exits, and a child process keeps the connection until the train has ended.

A train hides the length of its reply, so the connection has to outlive the reply (protocol, section 10). The event loop
is stopped with everything that is registered with it, the process forks, and the child runs the loop on. At that moment
no callback and no other thread is running, and the loop, which uses poll, has no state in the kernel to share.
"""

import os
import signal
from asyncio import AbstractEventLoop, SelectorEventLoop
from contextlib import suppress
from selectors import PollSelector
from typing import Any, Final, NoReturn

from twisted.internet.defer import Deferred

from securechat.client.exit_codes import ExitCode
from securechat.client.output import STANDARD_ERROR, STANDARD_INPUT, STANDARD_OUTPUT
from securechat.client.signals import ENDING_SIGNALS

# Seconds after which the child is killed. From one bucket to the next are at most 600 ticks of a quarter of a second.
LONGEST_TRAIN: Final = 300
_DESCRIPTORS: Final = "/dev/fd"


class Background:
    """The wait for the end of a train, which the program can leave to a child process."""

    def __init__(self) -> None:
        self.loop: Final[AbstractEventLoop] = SelectorEventLoop(PollSelector())
        self._exit_code: ExitCode | None = None

    @property
    def is_entered(self) -> bool:
        return self._exit_code is not None

    def enter(self, exit_code: ExitCode) -> None:
        """Exit with this code as soon as the running callbacks have returned. All output must have been written."""
        self._exit_code = exit_code
        self.loop.stop()

    def go_on(self, done: "Deferred[Any]") -> NoReturn:
        """Exit, after `enter` has stopped the loop, and go on in a child process until `done` fires.

        No other thread may be running. If there can be no child process, this waits as well.
        """
        assert self._exit_code is not None
        reader, writer = os.pipe()
        try:
            child = os.fork()
        except OSError:
            child = 0
        else:
            if child:
                os.close(writer)
                os.read(reader, 1)  # until the child has left the terminal and the pipes
                os._exit(self._exit_code)
            _detach()
        os.close(writer)
        done.addBoth(lambda _result: os._exit(self._exit_code or 0))
        self.loop.run_forever()
        os._exit(self._exit_code)


def _detach() -> None:
    """Leave the session of the terminal, and keep open only what this program has opened."""
    os.setsid()
    os.chdir("/")
    for number in (*ENDING_SIGNALS, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*ENDING_SIGNALS, signal.SIGALRM))
    signal.alarm(LONGEST_TRAIN)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (STANDARD_INPUT, STANDARD_OUTPUT, STANDARD_ERROR):
        os.dup2(null, descriptor)
    # What was open when the program started, such as a lock of a script, is inheritable; what Python opens is not.
    for descriptor in map(int, os.listdir(_DESCRIPTORS)):
        with suppress(OSError):
            if descriptor > STANDARD_ERROR and os.get_inheritable(descriptor):
                os.close(descriptor)

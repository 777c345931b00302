"""The program ``securechat``, also run as ``python -m securechat.client``."""

import securechat.client.without_tls  # before Twisted is imported
import securechat.without_gc  # noqa: F401

# isort: split
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final, cast

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.main import installReactor
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure

from securechat.client.background import Background
from securechat.client.exit_codes import ExitCode
from securechat.client.options import parse
from securechat.client.output import Output
from securechat.client.reactor import IClientReactor
from securechat.client.run import run
from securechat.client.settings import ClientSettings
from securechat.client.signals import ENDING_SIGNALS, is_ignored
from securechat.client.stderr import complain
from securechat.clock import MonotonicReactor
from securechat.i18n import _

gc.freeze()  # what was loaded
gc.enable()

SIGNALLED: Final = 128  # is added to the number of the signal that ended the program
LAST_OUTPUT: Final = 1.0  # seconds for output that is waiting when a signal ends the program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the client; the exit code."""
    output = Output()
    output.install()
    if sys.stdout is None:
        complain(_("standard output is closed"))
        return ExitCode.USAGE
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
    except SystemExit:
        if output.error is not None:  # argparse ignores it when it prints the help
            complain(_("standard output: {problem}").format(problem=output.error.strerror))
            return ExitCode.FAULT
        raise
    observers = [textFileLogObserver(sys.stderr)] if options.verbose else []
    globalLogBeginner.beginLoggingTo(observers, discardBuffer=True, redirectStandardIO=False)

    # prompt_toolkit needs asyncio's event loop.
    background = Background()
    asyncio.set_event_loop(background.loop)
    reactor = AsyncioSelectorReactor(background.loop)
    installReactor(reactor)
    program = _Program(reactor, options, output, background)
    reactor.callWhenRunning(program.start)
    reactor.run(installSignalHandlers=False)
    output.stop()
    if background.is_entered:
        reactor.getThreadPool().stop()
        background.go_on(program.done)
    return program.exit_code


class _Program:
    """The client while the reactor runs."""

    done: Deferred[Any]  # from `start` on; fires when the reactor may stop

    def __init__(
        self, reactor: AsyncioSelectorReactor, options: ClientSettings, output: Output, background: Background
    ) -> None:
        self.exit_code: int = ExitCode.FAULT
        self._reactor = reactor
        self._options = options
        self._output = output
        self._background = background

    def start(self) -> None:
        monotonic = cast(IClientReactor, MonotonicReactor(self._reactor))
        for number in ENDING_SIGNALS:
            if not is_ignored(number):
                self._background.loop.add_signal_handler(number, self._interrupted, number)
        self._output.start(monotonic)
        self.done = Deferred.fromCoroutine(run(monotonic, self._options, os.environ, self._output, self._background))
        self.done.addCallbacks(self._ended, self._failed).addBoth(lambda _result: self._drained(monotonic))
        self.done.addBoth(lambda _result: self._reactor.stop())

    def _interrupted(self, number: int) -> None:
        if self._output.is_lent and number == signal.SIGINT:
            return  # it is for the program that has the terminal
        self.exit_code = SIGNALLED + number
        self.done.cancel()

    def _drained(self, clock: IReactorTime) -> "Deferred[None]":
        drained = self._output.drained()
        return drained.addTimeout(LAST_OUTPUT, clock) if self.exit_code > SIGNALLED else drained

    def _ended(self, exit_code: ExitCode) -> None:
        self.exit_code = exit_code

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(KeyboardInterrupt):  # at a prompt
            [number] = getattr(failure.value, "args", ()) or [signal.SIGINT]
            self.exit_code = SIGNALLED + number
            return
        self.exit_code = ExitCode.FAULT
        complain(
            _("internal error: {error}; run with -v and report the output").format(error=type(failure.value).__name__)
        )
        if self._options.verbose:
            failure.printTraceback(sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

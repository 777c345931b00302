"""The program ``securechat``, also run as ``python -m securechat.client``."""

import securechat.client.without_gc
import securechat.client.without_tls  # noqa: F401 - before Twisted is imported

# isort: split
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final, cast

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
    loop = background.loop
    asyncio.set_event_loop(loop)
    reactor = AsyncioSelectorReactor(loop)
    installReactor(reactor)
    exit_code: int = ExitCode.FAULT
    done: Deferred[ExitCode] | Deferred[None]

    def start() -> None:
        monotonic = cast(IClientReactor, MonotonicReactor(reactor))
        for number in ENDING_SIGNALS:
            if not is_ignored(number):
                loop.add_signal_handler(number, interrupted, number)
        output.start(monotonic)
        nonlocal done
        done = Deferred.fromCoroutine(run(monotonic, options, os.environ, output, background))
        done.addCallbacks(ended, failed).addBoth(lambda _result: drained(monotonic))
        done.addBoth(lambda _result: reactor.stop())

    def interrupted(number: int) -> None:
        nonlocal exit_code
        if output.is_lent and number == signal.SIGINT:
            return  # it is for the program that has the terminal
        exit_code = SIGNALLED + number
        done.cancel()

    def drained(clock: IReactorTime) -> "Deferred[None]":
        drained = output.drained()
        return drained.addTimeout(LAST_OUTPUT, clock) if exit_code > SIGNALLED else drained

    def ended(how: ExitCode) -> None:
        nonlocal exit_code
        exit_code = how

    def failed(failure: Failure) -> None:
        nonlocal exit_code
        if failure.check(CancelledError):
            return
        if failure.check(KeyboardInterrupt):  # at a prompt
            [number] = getattr(failure.value, "args", ()) or [signal.SIGINT]
            exit_code = SIGNALLED + number
            return
        exit_code = ExitCode.FAULT
        complain(
            _("internal error: {error}; run with -v and report the output").format(error=type(failure.value).__name__)
        )
        if options.verbose:
            failure.printTraceback(sys.stderr)

    reactor.callWhenRunning(start)
    reactor.run(installSignalHandlers=False)
    output.stop()
    if background.is_entered:
        reactor.getThreadPool().stop()
        background.go_on(done)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())

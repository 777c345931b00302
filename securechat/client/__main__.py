"""The program ``securechat``, also run as ``python -m securechat.client``."""

import securechat.client.without_tls  # noqa: F401 - before Twisted is imported

# isort: split
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import cast

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.main import installReactor
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure

from securechat.client.exit_codes import ExitCode
from securechat.client.options import parse
from securechat.client.reactor import IClientReactor
from securechat.client.run import run
from securechat.client.stderr import complain
from securechat.clock import MonotonicReactor
from securechat.i18n import _


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the client; the exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    observers = [textFileLogObserver(sys.stderr)] if options.verbose else []
    globalLogBeginner.beginLoggingTo(observers, discardBuffer=True, redirectStandardIO=False)

    # prompt_toolkit needs asyncio's event loop.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    reactor = AsyncioSelectorReactor(loop)
    installReactor(reactor)
    exit_code: int = ExitCode.INTERRUPTED

    def start() -> None:
        monotonic = cast(IClientReactor, MonotonicReactor(reactor))
        done = Deferred.fromCoroutine(run(monotonic, options, os.environ))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, interrupted, number, done)
        done.addCallbacks(ended, failed).addBoth(lambda _result: reactor.stop())

    def interrupted(number: int, done: "Deferred[ExitCode]") -> None:
        nonlocal exit_code
        exit_code = 128 + number
        done.cancel()

    def ended(how: ExitCode) -> None:
        nonlocal exit_code
        exit_code = how

    def failed(failure: Failure) -> None:
        nonlocal exit_code
        if failure.check(CancelledError, KeyboardInterrupt):
            return
        exit_code = ExitCode.FAULT
        complain(
            _("internal error: {error}; run with -v and report the output").format(error=type(failure.value).__name__)
        )
        if options.verbose:
            failure.printTraceback(sys.stderr)

    reactor.callWhenRunning(start)
    reactor.run(installSignalHandlers=False)
    _flush_output()
    return exit_code


def _flush_output() -> None:
    """Flush standard output; if that fails, discard the rest, which Python would flush again at exit."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())

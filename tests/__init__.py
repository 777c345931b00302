"""The tests. The settings that all tests depend on are made here, so they apply however the tests are started."""

import faulthandler
import os
import signal
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

from hypothesis import HealthCheck, settings
from twisted.trial.unittest import SynchronousTestCase

# Seconds; trial's own `timeout`, which is shorter, cannot end a test that blocks the reactor.
TEST_LIMIT: Final = float(os.environ.get("TEST_LIMIT", "360"))
LAST_RESORT: Final = 30.0  # seconds more, after which code that runs no signal handlers is ended, too
EXAMPLES: Final = int(os.environ.get("EXAMPLES", "500"))  # random inputs for each property

os.environ["XDG_CONFIG_HOME"] = "/nonexistent"  # no configuration of the user who runs the tests
os.environ["LANGUAGE"] = "en"  # the language of the texts that tests expect

# `python -W error` does not reach trial's worker processes, and PYTHONWARNINGS would also reach pip.
warnings.simplefilter("error")
# Twisted's list of plugins imports twisted.conch, which imports spwd. Python 3.13 does not have it any more.
warnings.filterwarnings("ignore", "'spwd' is deprecated", DeprecationWarning)

# No deadline, because machines differ, and no database, because trial removes its directory.
settings.register_profile(
    "securechat", max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("securechat")


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing."""


# With nohup, or in the background of a script, signals are ignored. The programs that tests start would inherit that,
# and leave them ignored, as they should; a handler is not inherited.
for _signal in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, _ignore)

_run = SynchronousTestCase.run


def _end(_number: int, _frame: object) -> None:
    """Print a traceback of each thread, kill the programs that this process has started, and exit.

    Trial's main process waits until all that inherited a worker's standard output have ended.
    """
    faulthandler.dump_traceback(all_threads=True)
    for path in Path("/proc/self/task").glob("*/children"):
        for process in path.read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
    os._exit(1)


def _start_limit() -> None:
    signal.signal(signal.SIGALRM, _end)
    signal.setitimer(signal.ITIMER_REAL, TEST_LIMIT)
    faulthandler.dump_traceback_later(TEST_LIMIT + LAST_RESORT, exit=True)


def _run_with_limit(test: SynchronousTestCase, result: Any) -> None:
    """Run a test, with a limit on its time, and one on what comes after it: a thread may keep the process from ending.

    A worker process that has nothing to do waits for no longer than the last test of another.
    """
    _start_limit()
    _run(test, result)
    _start_limit()


cast(Any, SynchronousTestCase).run = _run_with_limit

"""The tests. The settings that all tests depend on are made here, so they apply however the tests are started."""

import faulthandler
import os
import warnings
from typing import Any, Final, cast

from hypothesis import HealthCheck, settings
from twisted.trial.unittest import SynchronousTestCase

TEST_LIMIT: Final = 360.0  # seconds; trial's own `timeout`, which is shorter, cannot end a test that blocks the reactor
EXAMPLES: Final = int(os.environ.get("EXAMPLES", "500"))  # random inputs for each property

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

_run = SynchronousTestCase.run


def _run_with_limit(test: SynchronousTestCase, result: Any) -> None:
    """Run a test. After TEST_LIMIT, print a traceback of each thread and exit."""
    faulthandler.dump_traceback_later(TEST_LIMIT, exit=True)
    try:
        _run(test, result)
    finally:
        faulthandler.cancel_dump_traceback_later()


cast(Any, SynchronousTestCase).run = _run_with_limit

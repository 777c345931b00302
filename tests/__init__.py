"""The tests. What all of them depend on is set here, so that they run alike however they are started."""

import faulthandler
import os
import warnings
from typing import Any, Final, cast

from hypothesis import HealthCheck, settings
from twisted.trial.unittest import SynchronousTestCase

TEST_LIMIT: Final = 120.0  # seconds; more than any `timeout` of a test, which ends only what leaves the reactor free
EXAMPLES: Final = int(os.environ.get("EXAMPLES", "500"))  # of whatever hypothesis makes up, for each test

# The tests expect what users read in English.
os.environ["LANGUAGE"] = "en"

# Not by `python -W error`, which does not reach trial's worker processes, nor by PYTHONWARNINGS, which reaches pip.
warnings.simplefilter("error")
# Looking for plugins can import Twisted's SSH server, and it a module that Python 3.13 no longer has.
warnings.filterwarnings("ignore", "'spwd' is deprecated", DeprecationWarning)

# Nothing depends on the machine's speed. The database would be removed with trial's directory.
settings.register_profile(
    "securechat", max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("securechat")

_run = SynchronousTestCase.run


def _run_in_time(test: SynchronousTestCase, result: Any) -> None:
    """Run a test. If it takes too long, end this process and show where each of its threads is."""
    faulthandler.dump_traceback_later(TEST_LIMIT, exit=True)
    try:
        _run(test, result)
    finally:
        faulthandler.cancel_dump_traceback_later()


cast(Any, SynchronousTestCase).run = _run_in_time

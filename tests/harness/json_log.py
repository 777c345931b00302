"""A log observer for ``twistd --logger``."""

import sys

from twisted.logger import ILogObserver, jsonFileLogObserver


def observer() -> ILogObserver:
    """Writes events to standard output, a line of JSON each."""
    return jsonFileLogObserver(sys.stdout, recordSeparator="")

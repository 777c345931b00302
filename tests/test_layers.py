"""The core is bytes in, events out: nothing of Twisted comes along with it."""

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import securechat

OUTER = {
    "addresses",
    "agent",
    "answering",
    "history",
    "message_log",
    "pacing",
    "server",
    "service",
    "tap",
    "transport",
    "users",
}
"""What may use Twisted; every other module that lies directly in the package is core."""


class CoreTests(SynchronousTestCase):
    """The modules that know no socket, no clock and no reactor."""

    def test_importsNoTwisted(self) -> None:
        """A Python that has imported all of the core has imported nothing of Twisted, treq or zope."""
        stems = {path.stem for path in Path(securechat.__path__[0]).glob("*.py")} - {"__init__"}
        self.assertLessEqual(OUTER, stems)
        core = [f"securechat.{stem}" for stem in sorted(stems - OUTER)]
        program = f"import sys, {', '.join(core)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
        loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        packages = set(loaded.stdout.split())
        self.assertIn("securechat", packages)
        self.assertEqual(packages & {"twisted", "treq", "zope"}, set())

"""Help texts of the programs, and the tables in docs/ that are made from the same source."""

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.wrap import columns
from tests.harness.daemon import ENVIRON

PROJECT = Path(__file__).parents[2]
TWISTD = ("-c", "from twisted.scripts.twistd import run; run()", "securechat")
CLIENT = ("-m", "securechat.client")


class HelpTests(SynchronousTestCase):
    """The help texts of the programs."""

    def test_fitTheTerminal(self) -> None:
        """No line of a help text is wider than the terminal, in any language."""
        for command in (TWISTD, CLIENT):
            for language in ("en", "zh_CN"):
                done = subprocess.run(
                    [sys.executable, *command, "--help"],
                    env={**ENVIRON, "LANGUAGE": language, "HOME": "/", "COLUMNS": "80"},
                    capture_output=True,
                    text=True,
                )
                self.assertIn("--version", done.stdout, done.stderr)
                for line in done.stdout.splitlines():
                    self.assertLessEqual(columns(line), 80, line)


class DocumentationTests(SynchronousTestCase):
    """The tables of options in docs/."""

    def test_areCurrent(self) -> None:
        """They say what the source says; if not, run `make option-tables`."""
        done = subprocess.run(
            [sys.executable, "-m", "tools.option_tables", "--check"],
            cwd=PROJECT,
            env=ENVIRON,
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

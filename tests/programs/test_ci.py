"""``.ci/run``: what it counts, and its verdict."""

import os
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

SCRIPT = Path(__file__).parents[2] / ".ci/run"
TIMEOUT = 60  # seconds


class VerdictTests(SynchronousTestCase):
    """Runs with a `make` that prints what it is told to, on a machine with one Python."""

    def verdict(self, summary: str, status: int = 0, lint: int = 0) -> tuple[int, str]:
        """The exit status and the last line, after a run of the tests whose last line is `summary`.

        One test of the manifests passes, too.
        """
        if not SCRIPT.exists():
            raise SkipTest("an sdist has no .ci")
        home = Path(self.mktemp()).absolute()
        programs = {
            "bin/make": f"""
                [ "$1" = lint ] && exit {lint}
                [ "$1" = manifests ] && echo "PASSED (successes=1)" && exit 0
                echo "{summary}"; exit {status}""",
            ".venv/bin/python": "echo 11",
            ".venv/bin/coverage": "exit 0",
            **{f"bin/python3.{minor}": "exit 1" for minor in range(11, 16)},
            "bin/pyenv": "exit 0",
        }
        for name, text in programs.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o700)
        (home / ".ci").mkdir()
        shutil.copy(SCRIPT, home / ".ci/run")
        environ = {**os.environ, "PATH": f"{home}/bin{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", home / ".ci/run"],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        return done.returncode, done.stdout.splitlines()[-1]

    def test_passed(self) -> None:
        """The last line has the tests that passed, that failed and that were skipped."""
        self.assertEqual(self.verdict("PASSED (successes=12)"), (0, "13 passed, 0 failed, 0 skipped"))
        self.assertEqual(self.verdict("PASSED (skips=3, successes=9)"), (0, "10 passed, 0 failed, 3 skipped"))

    def test_expectedFailures(self) -> None:
        """It has the expected failures, too, if there are any."""
        line = "10 passed, 0 failed, 1 skipped, 2 expected to fail"
        self.assertEqual(self.verdict("PASSED (skips=1, expectedFailures=2, successes=9)"), (0, line))

    def test_failed(self) -> None:
        """Failures, errors and unexpected successes have failed."""
        summary = "FAILED (skips=1, failures=1, errors=2, unexpectedSuccesses=3, successes=4)"
        self.assertEqual(self.verdict(summary, 1), (1, "5 passed, 6 failed, 1 skipped"))

    def test_noVerdict(self) -> None:
        """A run that breaks off, or in which no test passed, has failed; so has one whose code is not clean."""
        for summary in ("Running 12 tests.", "PASSED (skips=3)", "PASSED"):
            self.assertEqual(self.verdict(summary)[0], 1)
        self.assertEqual(self.verdict("PASSED (successes=12)", 2), (1, "13 passed, 0 failed, 0 skipped"))
        self.assertEqual(self.verdict("PASSED (successes=12)", lint=1), (1, "13 passed, 0 failed, 0 skipped"))

"""The numbers in docs/evidence.md that a test can count. Those of flips and faults are compared by their own tests."""

import json
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fuzz.api_targets import API_TARGETS
from fuzz.targets import TARGETS, seeds
from tests.client.api import test_cuts
from tests.programs import test_client
from tests.server import test_peers

PROJECT = Path(__file__).parents[1]


class EvidenceTests(SynchronousTestCase):
    """What docs/evidence.md states."""

    def assertStated(self, pattern: str, *numbers: int) -> None:
        """The text has these words once, with these numbers."""
        text = " ".join((PROJECT / "docs/evidence.md").read_text("utf-8").split())
        [found] = re.findall(pattern, text)
        stated = (found,) if isinstance(found, str) else found
        self.assertEqual([int(number.replace(",", "")) for number in stated], list(numbers))

    def test_vectors(self) -> None:
        """So many handshakes and records are compared."""
        paths = list((PROJECT / "tests/vectors").glob("*.json"))
        records = sum(len(json.loads(path.read_text())["records"]) for path in paths)
        self.assertStated(r"(\d+) recorded handshakes .{,60} and ([\d,]+) records", len(paths), records)

    def test_points(self) -> None:
        """A client resets, half-closes or stalls at so many points."""
        self.assertStated(r"At each of (\d+) points", len(test_peers.POINTS))

    def test_cuts(self) -> None:
        """The connection to the server is cut at so many points."""
        self.assertStated(r"cut at (\d+) random points", test_cuts.POINTS)

    def test_fuzzing(self) -> None:
        """The table has existing targets, among them all of the local API, each once and with a valid input."""
        text = (PROJECT / "docs/evidence.md").read_text("utf-8")
        rows = re.findall(r"^\| (\w+) \| [\d,]+ \| \d+ \| nothing found \|$", text, re.MULTILINE)
        self.assertEqual(len(rows), len(set(rows)))
        self.assertLessEqual(set(API_TARGETS), set(rows))
        self.assertLessEqual(set(rows), set(TARGETS))
        valid = seeds()
        self.assertEqual(set(valid), set(TARGETS))
        for name, target in TARGETS.items():
            for seed in valid[name]:
                target(seed)

    def test_faultsOfARobot(self) -> None:
        """A robot's server misbehaves in so many ways."""
        ways = {request for request, _text, error in test_client.FAULTS if request != "hello"}
        self.assertStated(r"a server that misbehaves in (\d+) ways", len(ways))

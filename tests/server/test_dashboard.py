"""The pages and files that name metrics: Grafana's dashboard and docs/metrics.md."""

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from securechat.robots.servers import as_one
from tests.harness.robot import ApiPuppet
from tests.server.test_metrics import MetricsTestCase
from tests.server.test_protocol import Session

PROJECT = Path(__file__).parents[2]
DASHBOARD = PROJECT / "deploy/grafana/securechat.json"
PAGE = PROJECT / "docs/metrics.md"

NAME = re.compile(r"\b(?:securechat|process)_\w+")
GROUPS = re.compile(r"\bby \(([^)]*)\)")
ALWAYS = {"instance"}  # a label that Prometheus adds


class NameTests(MetricsTestCase):
    """Names are those of a daemon that has all metrics."""

    def setUp(self) -> None:
        super().setUp()
        puppet: Any = ApiPuppet()
        robot = as_one("openai", [puppet], 1, self.clock.seconds)
        self.serve(self.make_factory(robot=robot, metrics_users=True))
        Session(self.factory).open()
        _head, body = self.get(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.families = list(text_string_to_metric_families(body))
        self.labels = {sample.name: sample.labels.keys() for family in self.families for sample in family.samples}

    def test_names(self) -> None:
        """Names and labels are as Prometheus recommends, and each metric has a help text."""
        for family in self.families:
            self.assertTrue(family.documentation, family.name)
            if family.name.startswith("securechat_"):
                self.assertRegex(family.documentation, r"^[A-Z].*\.$")
            for sample in family.samples:
                self.assertRegex(sample.name, "^[a-z][a-z_]+$")
                self.assertEqual(sample.name.endswith("_total"), family.type == "counter", sample.name)
                if family.type == "histogram":
                    self.assertIn("_seconds_", sample.name)

    def test_cardinality(self) -> None:
        """A robot has at most 60 series, each of several servers 40, a user four, and everything together 250."""
        samples = [sample for family in self.families for sample in family.samples]
        servers = sum("server" in sample.labels for sample in samples)
        self.assertLess(servers, 40)
        self.assertLess(sum("robot" in sample.labels for sample in samples) - servers, 60)
        self.assertEqual(sum("user" in sample.labels for sample in samples), 4)
        self.assertLess(len(samples), 250)

    def test_dashboard(self) -> None:
        """Each query of the dashboard names metrics and labels that exist, and each metric is shown."""
        shown: set[str] = set()
        for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
            for target in panel["targets"]:
                names = set(NAME.findall(target["expr"]))
                self.assertTrue(names, panel["title"])
                self.assertEqual(names - self.labels.keys(), set(), panel["title"])
                shown |= names
                groups = {label for group in GROUPS.findall(target["expr"]) for label in group.split(", ")}
                used = groups | set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                for name in names:
                    self.assertEqual(used - self.labels[name] - ALWAYS, set(), panel["title"])
        for family in self.families:
            if family.name.startswith("securechat_"):
                self.assertTrue(shown & {sample.name for sample in family.samples}, family.name)

    def test_layout(self) -> None:
        """No two of its panels overlap or have the same number."""
        panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
        cells = [
            (place["x"] + x, place["y"] + y)
            for place in (panel["gridPos"] for panel in panels)
            for x in range(place["w"])
            for y in range(place["h"])
        ]
        self.assertEqual(len(cells), len(set(cells)))
        self.assertLess(max(x for x, _y in cells), 24)
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))

    def test_page(self) -> None:
        """docs/metrics.md has a table of all metrics, with their labels and help texts, and names no others."""
        rows = ["| name | type | labels | meaning |\n|---|---|---|---|\n"]
        for family in self.families:
            if family.name.startswith("securechat_"):
                name = family.name + "_total" * (family.type == "counter")
                labels = (
                    sorted(family.samples[0].labels.keys() - {"le"}) if family.name != "securechat_build_info" else []
                )
                shown = ", ".join(f"`{label}`" for label in labels)
                rows.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |\n")
        text = PAGE.read_text("utf-8")
        self.assertIn(f"<!-- metrics -->\n{''.join(rows)}<!-- end of metrics -->", text)
        known = {name.removesuffix("_total") for name in self.labels} | {family.name for family in self.families}
        self.assertEqual({name.removesuffix("_total") for name in NAME.findall(text)} - known - {"securechat_"}, set())

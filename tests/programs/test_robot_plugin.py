"""Somebody else's robot, as docs/robots.md tells how to write one: built, installed with securechat, and talked to."""

import re
import sys
from functools import cache
from pathlib import Path

from tests.programs.test_client import ProgramTestCase
from tests.programs.test_packaging import PROJECT, Environment, distributions, working_directory

MAX_LINES = 30  # of a robot that does something; more, and nobody would write one


@cache
def from_the_documentation() -> dict[str, str]:
    """The blocks of code that tell how to write a robot, by their language."""
    chapter = (PROJECT / "docs/robots.md").read_text("utf-8").partition("## A robot of your own")[2]
    return dict(re.findall(r"^```(\w+)\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL))


def their_distribution() -> Path:
    """Its source, in a directory of its own."""
    home = working_directory()
    plugins = home / "twisted/plugins"
    plugins.mkdir(parents=True)
    (plugins / "shouter_plugin.py").write_text(from_the_documentation()["python"])
    (home / "pyproject.toml").write_text(from_the_documentation()["toml"])
    return home


class DocumentedRobotTests(ProgramTestCase):
    """The robot in the documentation."""

    async def test_talks(self) -> None:
        """Installed by pip, it is listed, started by the daemon with its option, and answers a client."""
        environment = Environment()
        environment.install(distributions()[1], their_distribution())
        self.assertIn("shouter: says it louder", environment.twistd("securechat", "--help-robots"))
        self.patch(sys, "executable", str(environment.python))  # of the daemon and the client, which run from "/"
        daemon = await self.start("--robot", "shouter", "-R", "end=?", PYTHONPATH="")
        done = await self.run_client(*self.to(daemon), "-m", "hi", PYTHONPATH="")
        self.assertEqual(done[:2], (0, "HI?\n"))

    def test_isShort(self) -> None:
        """It takes no more than a screen of code."""
        self.assertLessEqual(len(from_the_documentation()["python"].splitlines()), MAX_LINES)

"""How a robot is found and made, and how somebody else's is."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.robots import Conversation, Speaker, Turn, make_robot
from tests.daemon import ENVIRON

PLUGIN = """
from zope.interface import implementer
from twisted.internet.defer import succeed
from twisted.plugin import IPlugin
from securechat.robots import IRobot, IRobotMaker, Option

@implementer(IRobot)
class Shouter:
    name = "shouter"
    def __init__(self, end):
        self.end = end
    async def reply(self, conversation):
        yield conversation.turns[-1].text.upper()
        yield self.end
    def close(self):
        return succeed(None)

@implementer(IPlugin, IRobotMaker)
class ShouterMaker:
    name = "shouter"
    summary = "says it louder"
    options = (Option("end", "what comes last", "!"),)
    def makeRobot(self, reactor, options, key):
        return Shouter(options.get("end", "!"))

shouter = ShouterMaker()
"""


class EchoTests(SynchronousTestCase):
    """The simplest robot there is."""

    def test_echo(self) -> None:
        """It says what was said, and has nothing to let go."""
        robot = make_robot(None, "echo", [], {})
        conversation = Conversation("u", [Turn(Speaker.USER, "hello")])
        with self.assertRaises(StopIteration) as stopped:
            robot.reply(conversation).asend(None).send(None)
        self.assertEqual(stopped.exception.value, "hello")
        self.successResultOf(robot.close())

    def test_options(self) -> None:
        """A robot without options takes none, not even a key."""
        for option in ("volume=11", "key=0123"):
            error = self.assertRaises(ConfigurationError, make_robot, None, "echo", [option], {})
            self.assertIn("has no option", str(error))


class PluginTests(SynchronousTestCase):
    """A robot from another distribution, as a Twisted plugin."""

    def test_anotherRobot(self) -> None:
        """It is listed, made with its options, and it answers."""
        plugins = Path(self.mktemp()).absolute() / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "shouter_robot.py").write_text(PLUGIN)
        program = """
from securechat.robots import Conversation, Speaker, Turn, help_text, make_robot
print(help_text())
robot = make_robot(None, "shouter", ["end=?"], {})
chunks = robot.reply(Conversation("u", [Turn(Speaker.USER, "hello")]))
for _ in range(2):
    try:
        chunks.asend(None).send(None)
    except StopIteration as stopped:
        print(stopped.value)
"""
        path = os.pathsep.join((ENVIRON["PYTHONPATH"], str(plugins.parent.parent)))
        environ = {**ENVIRON, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environ, capture_output=True, text=True, cwd="/", check=True
        )
        lines = done.stdout.splitlines()
        self.assertIn("shouter: says it louder", lines)
        self.assertIn("    -R end=…  what comes last [default: !]", lines)
        for name in ("echo", "eliza", "turing"):
            self.assertTrue(any(line.startswith(name + ":") for line in lines), name)
        self.assertEqual(lines[-2:], ["HELLO", "?"])

"""Robots of other distributions, as Twisted plugins."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.harness.daemon import ENVIRON

# A plugin that is as it should be, among others that are not.
PLUGINS = """
from typing import Annotated
from msgspec import Meta
from zope.interface import implementer
from twisted.internet.defer import succeed
from securechat.robots import IRobot, IRobotMaker, Settings

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

class ShouterSettings(Settings, frozen=True):
    end: Annotated[str, Meta(description="what comes last")] = "!"

@implementer(IRobotMaker)
class ShouterMaker:
    name = "shouter"
    summary = "says it louder"
    settings = ShouterSettings
    def makeRobot(self, reactor, settings, key):
        return Shouter(settings.end)

class Keyless(ShouterMaker):
    name = "keyless"
    settings = Settings
    def makeRobot(self, reactor, settings, key):
        return Shouter(str(key))

class KeyedSettings(Settings, frozen=True):
    key_file: Annotated[str | None, Meta(description="where the key is")] = None

class Keyed(Keyless):
    name = "keyed"
    settings = KeyedSettings

class Raising(Keyed):
    name = "raising"
    def makeRobot(self, reactor, settings, key):
        raise ValueError("bad key " + str(key))

class Nothing(ShouterMaker):
    name = "nothing"
    def makeRobot(self, reactor, settings, key):
        return None

@implementer(IRobotMaker)
class Nameless:
    def makeRobot(self, reactor, settings, key):
        return None

class Listing(ShouterMaker):
    settings = ("end",)

class UndescribedSettings(Settings, frozen=True):
    end: str = "!"

class Undescribed(ShouterMaker):
    settings = UndescribedSettings

class RequiringSettings(Settings, frozen=True):
    end: Annotated[str, Meta(description="what comes last")]

class Requiring(ShouterMaker):
    settings = RequiringSettings

class Numbered(ShouterMaker):
    name = 7

class Exploding(ShouterMaker):
    @property
    def name(self):
        raise RuntimeError("boom")

class Thief(ShouterMaker):
    name = "echo"

shouter, keyless, keyed, raising, nothing = ShouterMaker(), Keyless(), Keyed(), Raising(), Nothing()
nameless, numbered, exploding, thief = Nameless(), Numbered(), Exploding(), Thief()
listing, undescribed, requiring = Listing(), Undescribed(), Requiring()
"""


class PluginTests(SynchronousTestCase):
    """Robots from another distribution, as Twisted plugins."""

    def run_with(self, program: str, **plugins: str) -> "subprocess.CompletedProcess[str]":
        """Run a program that finds these plugins, and the log on its standard error."""
        folder = Path(self.mktemp()).absolute() / "twisted" / "plugins"
        folder.mkdir(parents=True)
        for name, source in plugins.items():
            (folder / f"{name}.py").write_text(source)
        path = os.pathsep.join((ENVIRON["PYTHONPATH"], str(folder.parent.parent)))
        environ = {**ENVIRON, "PYTHONPATH": path}
        start = "import sys; from twisted.python.log import startLogging; startLogging(sys.stderr, setStdout=False)\n"
        return subprocess.run(
            [sys.executable, "-c", start + program], env=environ, capture_output=True, text=True, cwd="/", check=True
        )

    def test_anotherRobot(self) -> None:
        """It is listed, made with its options, and it answers; it does not take a built-in robot's name."""
        program = """
from securechat.conversation import Conversation, Speaker, Turn
from securechat.robots.registry import help_text, make_robot
print(help_text())
robot = make_robot(None, "shouter", ["end=?"], {})
chunks = robot.reply(Conversation("u", [Turn(Speaker.USER, "hello")]))
for _ in range(2):
    try:
        chunks.asend(None).send(None)
    except StopIteration as stopped:
        print(stopped.value)
"""
        lines = self.run_with(program, shouter=PLUGINS).stdout.splitlines()
        self.assertIn("shouter: says it louder", lines)
        self.assertIn("    -R end=…  what comes last (default: !)", lines)
        for name in ("echo", "eliza", "turing"):
            self.assertTrue(any(line.startswith(name + ":") for line in lines), name)
        self.assertIn("echo: repeats each message", lines)
        self.assertEqual(lines[-2:], ["HELLO", "?"])

    def test_brokenPlugins(self) -> None:
        """A plugin that cannot be read, or is not what it should be, is named in the log and harms no other robot."""
        program = """
from securechat.robots.registry import make_robot
from securechat.robots.registry import makers
make_robot(None, "eliza", [], {})
print(*sorted(makers()))
"""
        done = self.run_with(program, shouter=PLUGINS, unreadable="1 +", raising="raise ValueError('not today')")
        known = done.stdout.split()
        for name in ("echo", "eliza", "keyed", "keyless", "nothing", "raising", "shouter", "turing"):
            self.assertIn(name, known)
        for words in ("not today", "SyntaxError"):
            self.assertIn(words, done.stderr)
        for name in ("Nameless", "Listing", "Undescribed", "Requiring", "Numbered", "Exploding"):
            self.assertIn(f"ignoring robot plugin {name}: ", done.stderr)

    def test_brokenMakers(self) -> None:
        """A maker that fails, or makes no robot, gives one line that does not have the key."""
        program = """
from securechat.errors import ConfigurationError
from securechat.robots.registry import make_robot
for name in ("raising", "nothing"):
    try:
        make_robot(None, name, [], {"SECURECHAT_ROBOT_KEY": "0123"})
    except ConfigurationError as error:
        print(error)
"""
        raising, nothing = self.run_with(program, shouter=PLUGINS).stdout.splitlines()
        self.assertRegex(raising, r"^cannot create robot raising: ValueError at /.*/shouter\.py:\d+$")
        self.assertEqual(nothing, "cannot create robot nothing: not an IRobot")

    def test_keys(self) -> None:
        """Only a robot that asks for a key is given the one in the environment."""
        program = """
from securechat.robots.registry import make_robot
for name in ("keyed", "keyless"):
    print(make_robot(None, name, [], {"SECURECHAT_ROBOT_KEY": "0123"}).end)
"""
        self.assertEqual(self.run_with(program, shouter=PLUGINS).stdout.splitlines(), ["0123", "None"])

"""How a robot is found and made, and how somebody else's is."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.conversation import Conversation, Speaker, Turn
from securechat.errors import ConfigurationError
from securechat.robots.registry import make_robot
from tests.harness.daemon import ENVIRON

NO_SECRET = "bm8gc2VjcmV0IGF0IGFsbA=="  # as keys look, with an equals sign at its end

# A plugin that is as it should be, among others that are not.
PLUGINS = """
from zope.interface import implementer
from twisted.internet.defer import succeed
from twisted.plugin import IPlugin
from securechat.robots.interface import IRobot, IRobotMaker, Option

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

@implementer(IRobotMaker)
class ShouterMaker:
    name = "shouter"
    summary = "says it louder"
    options = (Option("end", "what comes last", "!"),)
    def makeRobot(self, reactor, options, key):
        return Shouter(options.get("end", "!"))

class Keyless(ShouterMaker):
    name = "keyless"
    options = ()
    def makeRobot(self, reactor, options, key):
        return Shouter(str(key))

class Keyed(Keyless):
    name = "keyed"
    options = (Option("key-file", "where the key is"),)

class Raising(Keyed):
    name = "raising"
    def makeRobot(self, reactor, options, key):
        raise ValueError("bad key " + str(key))

class Nothing(ShouterMaker):
    name = "nothing"
    def makeRobot(self, reactor, options, key):
        return None

@implementer(IRobotMaker)
class Nameless:
    def makeRobot(self, reactor, options, key):
        return None

class Optionless(ShouterMaker):
    options = ("end",)

class Numbered(ShouterMaker):
    name = 7

class Exploding(ShouterMaker):
    @property
    def name(self):
        raise RuntimeError("boom")

class Thief(ShouterMaker):
    name = "echo"

shouter, keyless, keyed, raising, nothing = ShouterMaker(), Keyless(), Keyed(), Raising(), Nothing()
nameless, optionless, numbered, exploding, thief = Nameless(), Optionless(), Numbered(), Exploding(), Thief()
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


class KeyTests(SynchronousTestCase):
    """Where keys come from, and where they do not show."""

    def assertRefused(self, words: str, *options: str, **environ: str) -> None:
        error = self.assertRaises(ConfigurationError, make_robot, None, "turing", options, environ)
        self.assertIn(words, str(error))
        self.assertNotIn(NO_SECRET.strip("="), str(error))

    def test_notShown(self) -> None:
        """A key in the wrong place of the command line is not repeated on the screen."""
        for option in (NO_SECRET, NO_SECRET.strip("="), "=" + NO_SECRET, f"{NO_SECRET} x=y"):
            self.assertRefused("write it as OPTION=VALUE", option)
        self.assertRefused("key-file=FILE", "key=" + NO_SECRET)
        self.assertRefused("key-file=FILE", "key")

    def test_environment(self) -> None:
        """An empty variable is no key, and one that is more than a line of ASCII is refused."""
        for key in ("", " \n"):
            self.assertRefused("needs a key", SECURECHAT_ROBOT_KEY=key)
        for key in (f"{NO_SECRET}\nx", f"{NO_SECRET}密"):
            self.assertRefused("SECURECHAT_ROBOT_KEY: one line of ASCII", SECURECHAT_ROBOT_KEY=key)
        make_robot(None, "echo", [], {"SECURECHAT_ROBOT_KEY": "密"})  # it needs none


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
        self.assertIn("    -R end=…  what comes last [default: !]", lines)
        for name in ("echo", "eliza", "turing"):
            self.assertTrue(any(line.startswith(name + ":") for line in lines), name)
        self.assertIn("echo: says what you said", lines)
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
        for name in ("Nameless", "Optionless", "Numbered", "Exploding"):
            self.assertIn(f"the robot plugin {name} is passed over: ", done.stderr)

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
        self.assertRegex(raising, r"^robot raising could not be made: ValueError at /.*/shouter\.py:\d+$")
        self.assertEqual(nothing, "robot nothing could not be made: it is no IRobot")

    def test_keys(self) -> None:
        """Only a robot that asks for a key is given the one in the environment."""
        program = """
from securechat.robots.registry import make_robot
for name in ("keyed", "keyless"):
    print(make_robot(None, name, [], {"SECURECHAT_ROBOT_KEY": "0123"}).end)
"""
        self.assertEqual(self.run_with(program, shouter=PLUGINS).stdout.splitlines(), ["0123", "None"])

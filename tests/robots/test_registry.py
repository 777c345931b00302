"""How a robot is found and made."""

from pathlib import Path
from typing import Any, cast

from msgspec.structs import asdict, replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.conversation import Conversation, Speaker, Turn
from securechat.errors import ConfigurationError
from securechat.robots import IRobot, RobotMaker, Settings, registry
from securechat.robots.registry import make_robot
from securechat.settings import options_of
from tests.harness.robot import PuppetRobot

NO_SECRET = "bm8gc2VjcmV0IGF0IGFsbA=="  # as keys look, with an equals sign at its end


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


class SettingsTests(SynchronousTestCase):
    """From the options of a robot to its settings."""

    def settings(self, name: str, *options: str) -> Settings:
        """What the robot of this name would be made from."""
        made: list[Settings] = []

        def make(_reactor: object, settings: Settings, _key: object) -> IRobot:
            made.append(settings)
            return cast(IRobot, PuppetRobot())

        maker = RobotMaker(name, "", registry.BUILT_IN[name].settings, make)
        self.patch(registry, "BUILT_IN", {**registry.BUILT_IN, name: maker})
        make_robot(None, name, options, {})
        return made[0]

    def test_defaults(self) -> None:
        """They are Ollama's on this machine, and for the Turing robot the old service's, asked from Wuhan."""
        openai: dict[str, Any] = {
            "url": ("http://127.0.0.1:11434/v1",),
            "first_timeout": 300.0,
            "timeout": 30.0,
            "system_for_api": False,
            "stream": True,
            "max_concurrent": 4,
        }
        turing: dict[str, Any] = {
            "url": "http://openapi.tuling123.com/openapi/api/v2",
            "city": "武汉",
            "timeout": 15.0,
            "max_concurrent": 16,
        }
        for name, defaults in (("openai", openai), ("turing", turing), ("echo", {}), ("eliza", {})):
            settings = asdict(self.settings(name))
            self.assertEqual({key: value for key, value in settings.items() if value not in (None, "", ())}, defaults)

    def test_eachOption(self) -> None:
        """Each option changes its own setting, and no other."""
        key = Path(self.mktemp()).absolute()
        key.write_text("0123")
        key.chmod(0o600)
        headers = Path(self.mktemp()).absolute()
        headers.write_text("X-C: d")
        headers.chmod(0o600)
        openai: dict[str, Any] = {
            "url=http://a": {"url": ("http://a/v1",)},
            "model=m": {"model": "m"},
            "models=a, b/c:d": {"models": frozenset({"a", "b/c:d"})},
            f"key-file={key}": {"key_file": key},
            "header=X-A:b": {"header": ("X-A: b",)},
            f"header-file={headers}": {"header_file": headers},
            "system=s": {"system": "s"},
            "system-file=/b": {"system_file": Path("/b")},
            "system-for-api=yes": {"system_for_api": True},
            "temperature=2": {"temperature": 2.0},
            "max-tokens=3": {"max_tokens": 3},
            "first-timeout=4": {"first_timeout": 4.0},
            "timeout=5": {"timeout": 5.0},
            "stream=no": {"stream": False},
            "max-concurrent=6": {"max_concurrent": 6},
        }
        turing: dict[str, Any] = {
            "url=http://a": {"url": "http://a"},
            f"key-file={key}": {"key_file": key},
            "secret-file=/b": {"secret_file": Path("/b")},
            "city=c": {"city": "c"},
            "province=d": {"province": "d"},
            "street=e": {"street": "e"},
            "group=f": {"group": "f"},
            "timeout=3600": {"timeout": 3600.0},
            "max-concurrent=10000": {"max_concurrent": 10000},
        }
        for name, options in (("openai", openai), ("turing", turing)):
            default = self.settings(name)
            names = {option.partition("=")[0] for option in options}
            self.assertEqual(names, {option.name for option in options_of(type(default))})
            for option, changed in options.items():
                self.assertEqual(self.settings(name, option), replace(default, **changed), option)


class KeyTests(SynchronousTestCase):
    """Where keys come from, and where they do not show."""

    def assertRefused(self, words: str, *options: str, **environ: str) -> None:
        error = self.assertRaises(ConfigurationError, make_robot, None, "turing", options, environ)
        self.assertIn(words, str(error))
        self.assertNotIn(NO_SECRET.strip("="), str(error))

    def test_notShown(self) -> None:
        """A key in the wrong place of the command line is not repeated on the screen."""
        for option in (NO_SECRET, NO_SECRET.strip("="), "=" + NO_SECRET, f"{NO_SECRET} x=y"):
            self.assertRefused("expected NAME=VALUE", option)
        self.assertRefused("key-file=FILE", "key=" + NO_SECRET)
        self.assertRefused("key-file=FILE", "key")

    def test_environment(self) -> None:
        """An empty variable is no key, and one that is more than a line of ASCII is refused."""
        for key in ("", " \n"):
            self.assertRefused("needs an API key", SECURECHAT_ROBOT_KEY=key)
        for key in (f"{NO_SECRET}\nx", f"{NO_SECRET}密"):
            self.assertRefused("SECURECHAT_ROBOT_KEY: expected one line of ASCII", SECURECHAT_ROBOT_KEY=key)
        make_robot(None, "echo", [], {"SECURECHAT_ROBOT_KEY": "密"})  # it needs none

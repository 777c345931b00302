"""Configuration files: what is read from them, and how each mistake is located."""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from securechat.config_file import ConfigFile
from securechat.errors import ConfigurationError
from securechat.robots.openai.settings import OpenAISettings
from securechat.robots.registry import robots_in
from securechat.server.settings import ServerSettings

PATH = Path("/etc/securechat.toml")


def parse(text: str) -> ConfigFile:
    return ConfigFile(PATH, text.encode())


def read(text: str) -> dict[str, Any]:
    """Everything that can be read from a file."""
    file = parse(text)
    found = file.root.read(ServerSettings, "robot")
    for _name, table in robots_in(file):
        assert not isinstance(table, list)
        found[table.names[-1]] = table.read(OpenAISettings, "type")  # type: ignore[union-attr]
    return found


class ReadingTests(SynchronousTestCase):
    """A file without mistakes."""

    def test_settings(self) -> None:
        """A key is the name of an option; comments, order and line breaks do not matter."""
        text = '# comment\r\nname = ["[A]:1"]\r\ntick = 0.05\napi = true\nlisten = [\n  "tcp:1",\n  "tcp:2", # two\n]\n'
        expected = {"names": ("[a]:1",), "tick": 0.05, "api": True, "listen": ("tcp:1", "tcp:2")}
        self.assertEqual(read(text), expected)
        self.assertEqual(read("\ufeff" + text), expected)
        self.assertEqual(read(""), {})

    def test_robots(self) -> None:
        """Robots are in the order of their tables; a table may name its robot."""
        chosen = robots_in(parse('[robot.zeta]\ntype = "openai"\n[robot.openai]\n[robot.eliza]\n'))
        self.assertEqual([name for name, _table in chosen], ["openai", "openai", "eliza"])
        self.assertEqual(robots_in(parse("")), [])

    def test_multilineText(self) -> None:
        """A system prompt may have several lines, also such that look like TOML."""
        prompt = 'Be brief.\n[robot.x]\nmodel = ["a"]'
        text = f'[robot.openai]\nsystem = """{prompt}"""\nmodle = 1\n'
        error = self.assertRaises(ConfigurationError, read, text)
        self.assertEqual(str(error), f"{PATH}:5: robot.openai.modle: unknown key; did you mean model?")
        self.assertEqual(read(text.replace("modle = 1", ""))["openai"], {"system": prompt})

    def test_others(self) -> None:
        """A file that others can write is refused: it can name a command."""
        path = Path(self.mktemp())
        path.write_text("tick = 0.1")
        path.chmod(0o666)
        error = self.assertRaises(ConfigurationError, ConfigFile.load, path)
        self.assertIn("permissions 0666 are too open", str(error))
        path.chmod(0o644)
        self.assertEqual(ConfigFile.load(path).root.read(ServerSettings), {"tick": 0.1})

    def test_repr(self) -> None:
        """A table does not show its values."""
        [(_name, table)] = robots_in(parse('[robot.openai]\nkey = "hush"'))
        self.assertEqual(repr(table), "<Table robot.openai>")


class MistakeTests(SynchronousTestCase):
    """A file with a mistake."""

    def test_located(self) -> None:
        """Each mistake is one line with file, line and key, and never the value."""
        secret = "a secret does not belong in this file"
        for text, words in (
            ("\ntick = 5", "2: tick: expected a number from 0.01 to 0.25"),
            ("tick = 0.1\nspeed = 1", "2: speed: unknown key"),
            ("max_sessions = 1", "1: max_sessions: unknown key"),
            ('password = "hush"', f"1: password: unknown key; {secret}"),
            ("listen = 1", "1: listen: expected a string"),
            ('listen = [\n"tcp:1",\n1]', "1: listen: expected a string"),
            ("a.b.c = 1", "1: a: unknown key"),
            ("[user.alice]\nx = 1", "1: user: unknown key"),
            ("config = 'x'", "1: config: unknown key"),
            ("\n[robot]\nmodel = 'x'", "3: robot.model: expected a table [robot.NAME]"),
            ("robot = 1", "1: robot: expected a table [robot.NAME]"),
            ("[[robot]]\nx = 1", "1: robot: expected a table [robot.NAME]"),
            ("[[robot.openai]]\nx = 1", "1: robot.openai: expected a table [robot.NAME]"),
            ("[robot.openai]\n\ntype = 1", "3: robot.openai.type: expected a string"),
            (
                "[robot.openai]\nmodel = 'x'\ntemperature = 3",
                "3: robot.openai.temperature: expected a number from 0 to 2",
            ),
            ("robot.openai = {model = 'x', x = 1}", "1: robot.openai.x: unknown key"),
            ("robot.'openai'.\"x\" = 1", "1: robot.openai.x: unknown key"),
            ("[robot]\nopenai.model = 'x'\nopenai.x = 1", "3: robot.openai.x: unknown key"),
            ("[robot.openai]\nkey = 'hush'", f"2: robot.openai.key: {secret}; use key-file"),
            ("[robot.openai]\nheader = ['x-api-key: hush']", f"2: robot.openai.header: {secret}"),
            ("[robot.openai]\nurl = 'http://u:hush@h/'", "2: robot.openai.url: expected a URL such as"),
            ('[robot.openai]\n"hush\\n:hush" = 1', "2: robot.openai.…: unknown key"),
            ("x = ", "1: Invalid value"),
            ("x = 1\nx = 2", "2: "),
            ("x = 1\n\nx = [\n", "4: "),
            ("[a]\n[a]", "2: "),
            ("x = 99999-99-99", "1: "),
        ):
            error = self.assertRaises(ConfigurationError, read, text)
            self.assertIn(f"{PATH}:{words}", str(error), text)
            self.assertNotIn("hush", str(error))
            self.assertNotIn("\n", str(error))

    def test_invalid(self) -> None:
        """What is not TOML, or not text, is refused without a traceback."""
        for data in (
            b"x = 1\n\xff",
            b"\0",
            b"[" * 5000,
            b"x = " + b"[" * 5000,
            b"x = " + b"9" * 5000,
            b"x = 2026-02-31",
        ):
            error = self.assertRaises(ConfigurationError, ConfigFile, PATH, data)
            self.assertRegex(str(error), rf"^{PATH}:(\d+:)? .")
        error = self.assertRaises(ConfigurationError, ConfigFile, PATH, b"x = 1\n\xff")
        self.assertEqual(str(error), f"{PATH}:2: not valid UTF-8")

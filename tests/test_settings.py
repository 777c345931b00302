"""Settings: what command lines, help texts and the documentation make of them."""

import io
import os
import pwd
from contextlib import redirect_stderr
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

from babel.messages.extract import extract_from_dir
from msgspec import Meta, ValidationError, convert, field
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

import securechat
from securechat.client.options import parse
from securechat.client.settings import ClientSettings
from securechat.errors import ConfigurationError
from securechat.robots.registry import BUILT_IN
from securechat.server.settings import CommandLineSettings, ServerSettings
from securechat.settings import UNBOUNDED, Settings, default_path, options_of
from securechat.tap import Options

PROJECT = Path(__file__).parents[1]
XDG = ("XDG_DATA_HOME", "XDG_STATE_HOME")
ALL = (CommandLineSettings, ServerSettings, ClientSettings, *(maker.settings for maker in BUILT_IN.values()))

Number = Annotated[int, Meta(ge=1, le=10)]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def reversed_text(text: str) -> str:
    if not text:
        raise ValueError("expected some text")
    return text[::-1]


class Sample(Settings, frozen=True):
    """An option of each kind."""

    whole: Annotated[Number, Meta(description="Whole")] = 4
    many: Annotated[int, Meta(ge=1, le=UNBOUNDED, description="Many")] = 65536
    fraction: Annotated[float, Meta(ge=0.25, le=2, description="Fraction", extra={"unit": "metres"})] = 1.0
    positive: Annotated[float, Meta(gt=0, le=9.5, description="Positive")] = 0.5
    below: Annotated[float, Meta(ge=1, lt=3, description="Below")] = 1.5
    least: Annotated[int, Meta(ge=7, description="Least")] = 8
    maybe: Annotated[Number | None, Meta(description="Maybe", extra={"default": "the server's"})] = None
    short: Annotated[str, Meta(max_length=3, description="Short")] = ""
    text: Annotated[str | None, Meta(description="Text")] = None
    path: Annotated[Path | None, Meta(description="Path")] = None
    here: Annotated[Path, Meta(description="Here", extra={"default": "somewhere"})] = field(default_factory=Path.cwd)
    colour: Annotated[Colour, Meta(description="Colour: red or blue")] = Colour.RED
    yes_no: Annotated[bool, Meta(description="Yes")] = False
    chosen: Annotated[bytes, Meta(description="Chosen", extra={"choices": {"a": b"A"}})] = b"A"
    parsed: Annotated[str, Meta(description="Parsed", extra={"parse": reversed_text, "private": True})] = "x"
    listed: Annotated[tuple[str, ...], Meta(description="Listed")] = field(default=("a", "b"), name="item")


class Derived(Sample, frozen=True):
    """A class of settings with those of another."""

    own: Annotated[int, Meta(ge=0, description="Own")] = 1


OPTIONS = {option.attribute: option for option in options_of(Sample)}


class OptionTests(SynchronousTestCase):
    """One option: reading its value, and saying what it is."""

    def test_names(self) -> None:
        """An option is written with hyphens, or has the name that its field was given."""
        self.assertEqual((OPTIONS["yes_no"].name, OPTIONS["listed"].name), ("yes-no", "item"))

    def test_inherited(self) -> None:
        """Inherited options come after a class's own ones, in their order."""
        names = [option.name for option in options_of(Derived)]
        self.assertEqual(names, ["own", *(option.name for option in options_of(Sample))])

    def test_kinds(self) -> None:
        """A command line needs to know which options are flags and which can be repeated."""
        self.assertEqual([name for name, option in OPTIONS.items() if option.is_flag], ["yes_no"])
        self.assertEqual([name for name, option in OPTIONS.items() if option.is_repeatable], ["listed"])

    def test_values(self) -> None:
        """Text becomes a value of the option's type."""
        values: list[tuple[str, str, Any]] = [
            ("whole", "10", 10),
            ("fraction", "0.25", 0.25),
            ("positive", "1e-3", 0.001),
            ("maybe", "3", 3),
            ("path", "here/../x", Path.cwd() / "here/../x"),
            ("short", "abc", "abc"),
            ("text", "null", "null"),
            ("text", "", ""),
            ("path", "/a/b", Path("/a/b")),
            ("colour", "blue", Colour.BLUE),
            ("yes_no", "yes", True),
            ("yes_no", "no", False),
            ("chosen", "a", b"A"),
            ("parsed", "abc", "cba"),
            ("listed", "abc", "abc"),
        ]
        for name, text, value in values:
            read = OPTIONS[name].read(text)
            self.assertEqual((name, type(read), read), (name, type(value), value))

    def test_wrongValues(self) -> None:
        """Text that is no value is refused in one line, which says what was expected."""
        whole = "expected a whole number from 1 to 10"
        for name, text, words in (
            *(("whole", text, f"--whole {text}: {whole}") for text in ("0", "11", "x", "1.5", "nan", "", "9" * 5000)),
            ("many", "0", "--many 0: expected a whole number from 1 to 1000000000"),
            *(
                ("fraction", text, f"--fraction {text}: expected a number from 0.25 to 2")
                for text in ("0.2", "2.1", "x", "nan", "inf", "null")
            ),
            *(
                ("positive", text, f"--positive {text}: expected a number above 0, at most 9.5")
                for text in ("0", "9.6", "nan")
            ),
            ("below", "3", "--below 3: expected a number of at least 1, below 3"),
            ("least", "6", "--least 6: expected a whole number of at least 7"),
            ("maybe", "null", f"--maybe null: {whole}"),
            ("short", "abcd", "--short abcd: expected at most 3 characters"),
            ("colour", "RED", "--colour RED: expected red or blue"),
            ("yes_no", "true", "--yes-no true: expected yes or no"),
            ("chosen", "A", "--chosen A: expected a"),
            ("parsed", "", "--parsed …: expected some text"),
        ):
            error = self.assertRaises(ConfigurationError, OPTIONS[name].read, text)
            self.assertEqual(str(error), words)

    def test_fileValues(self) -> None:
        """A value of a configuration file becomes one of the option's type; paths are relative to the file."""
        values: list[tuple[str, object, Any]] = [
            ("whole", 10, 10),
            ("fraction", 1, 1.0),
            ("maybe", 3, 3),
            ("text", "", ""),
            ("path", "a/b", Path("/etc/a/b")),
            ("path", "/a/b", Path("/a/b")),
            ("path", "$CREDENTIALS_DIRECTORY/key", Path("/run/c/key")),
            ("colour", "blue", Colour.BLUE),
            ("yes_no", True, True),
            ("chosen", "a", b"A"),
            ("parsed", "abc", "cba"),
            ("listed", ["c", "d"], ("c", "d")),
            ("listed", [], ()),
            ("listed", "c", ("c",)),
        ]
        with patch.dict(os.environ, CREDENTIALS_DIRECTORY="/run/c"):
            for name, given, value in values:
                read = OPTIONS[name].read_value(given, Path("/etc"))
                self.assertEqual((name, type(read), read), (name, type(value), value))

    def test_wrongFileValues(self) -> None:
        """A value of another type, or out of bounds, is refused."""
        whole = "expected a whole number from 1 to 10"
        wrong: dict[tuple[str, str], list[object]] = {
            ("whole", whole): [0, 11, "4", 1.5, True, [4], {}, float("nan"), 10**30],
            ("fraction", "expected a number from 0.25 to 2"): [3, "1", False, float("nan")],
            ("text", "expected a string"): [1, []],
            ("path", "expected a string"): [1, []],
            ("parsed", "expected a string"): [1, []],
            ("short", "expected a string"): [1, []],
            ("short", "expected at most 3 characters"): ["abcd"],
            ("colour", "expected red or blue"): ["RED", 1, []],
            ("yes_no", "expected true or false"): ["yes", 1, []],
            ("chosen", "expected a"): ["A"],
            ("parsed", "expected some text"): [""],
            ("listed", "expected a string"): [1, [1], [["c"]]],
            ("path", "the variable CREDENTIALS_DIRECTORY is not set"): ["$CREDENTIALS_DIRECTORY/key"],
        }
        for (name, words), values in wrong.items():
            for value in values:
                with patch.dict(os.environ):
                    os.environ.pop("CREDENTIALS_DIRECTORY", None)
                    error = self.assertRaises(ValueError, OPTIONS[name].read_value, value, Path("/etc"))
                self.assertEqual(str(error), words, (name, value))

    def test_form(self) -> None:
        """The line names the option as it was written."""
        error = self.assertRaises(ConfigurationError, OPTIONS["whole"].read, "{x}", "-R {name}={value}")
        self.assertEqual(str(error), "-R whole={x}: expected a whole number from 1 to 10")

    def test_help(self) -> None:
        """A help text has the values that are possible, the unit, and the default."""
        for name, text in {
            "whole": "Whole, 1 to 10 (default: 4)",
            "many": "Many (default: 65536)",
            "fraction": "Fraction, 0.25 to 2 metres (default: 1 metres)",
            "positive": "Positive, up to 9.5 (default: 0.5)",
            "least": "Least (default: 8)",
            "maybe": "Maybe, 1 to 10 (default: the server's)",
            "short": "Short",
            "text": "Text",
            "here": f"Here (default: {Path.cwd()})",
            "colour": "Colour: red or blue (default: red)",
            "yes_no": "Yes: yes or no (default: no)",
            "chosen": "Chosen: a (default: a)",
            "listed": "Listed (default: a, b)",
        }.items():
            self.assertEqual(OPTIONS[name].help, text)
        self.assertEqual(OPTIONS["here"].default, "somewhere")

    def test_wrongFields(self) -> None:
        """A field that is no option is a mistake of its author, who reads which and why."""

        class Bare(Settings, frozen=True):
            size: int = 3

        class Undescribed(Settings, frozen=True):
            size: Annotated[int, Meta(ge=1)] = 3

        class Required(Settings, frozen=True):
            size: Annotated[int, Meta(description="Size")]

        class Misspelt(Settings, frozen=True):
            size: Annotated[int, Meta(description="Size", extra={"units": "metres"})] = 3

        for settings, words in (
            (Bare, "setting size has no description"),
            (Undescribed, "setting size has no description"),
            (Required, "setting size has no default"),
            (Misspelt, "units"),
        ):
            self.assertIn(words, str(self.assertRaises(TypeError, options_of, settings)))


class HomeTests(SynchronousTestCase):
    """Paths in the user's home directory."""

    def lose_home(self) -> None:
        """As in a container whose user id has no entry in passwd."""

        def not_found(_key: object) -> None:
            raise KeyError

        environ = {name: value for name, value in os.environ.items() if name not in ("HOME", *XDG)}
        self.patch(os, "environ", environ)
        self.patch(pwd, "getpwuid", not_found)
        self.patch(os, "geteuid", lambda: 12345)

    def test_tilde(self) -> None:
        """A ~ at the start of a path is the home directory, also where the shell leaves it; elsewhere it is a name."""
        self.patch(os, "environ", {**os.environ, "HOME": "/home/alice"})
        for text, path in (
            ("~/keys", "/home/alice/keys"),
            ("~root/keys", f"{pwd.getpwnam('root').pw_dir}/keys"),
            ("/a/~/b", "/a/~/b"),
            ("/a~", "/a~"),
        ):
            self.assertEqual(OPTIONS["path"].read(text), Path(path))

    def test_noSuchHome(self) -> None:
        """A path in a home directory that does not exist is refused in one line."""
        error = self.assertRaises(ConfigurationError, OPTIONS["path"].read, "~nobody-at-all/x")
        self.assertEqual(str(error), "--path ~nobody-at-all/x: cannot determine the home directory")
        self.lose_home()
        error = self.assertRaises(ConfigurationError, OPTIONS["path"].read, "~/x")
        self.assertEqual(str(error), "--path ~/x: cannot determine the home directory")

    def test_noHome(self) -> None:
        """Without a home directory, the option that needs one has to be given, and the help can be read."""
        self.lose_home()
        for settings, name in ((ClientSettings, "known_hosts"), (ServerSettings, "state_dir")):
            error = self.assertRaises(ConfigurationError, settings)
            option = name.replace("_", "-")
            self.assertEqual(str(error), f"cannot determine the home directory; set HOME, or use --{option}")
            convert({option: "/x"}, settings, dec_hook=lambda kind, text: kind(text))
            [text] = [option.help for option in options_of(settings) if option.attribute == name]
            self.assertIn("~/.local/", text)

    def test_noHomeOnCommandLines(self) -> None:
        """Both programs end with one line without a home directory."""
        self.lose_home()
        with redirect_stderr(io.StringIO()) as errors:
            self.assertRaises(SystemExit, parse, [])
        self.assertEqual(
            errors.getvalue(),
            "securechat: cannot determine the home directory; set HOME, or use --known-hosts; see securechat --help\n",
        )
        error = self.assertRaises(UsageError, Options().parseOptions, [])
        self.assertEqual(str(error), "cannot determine the home directory; set HOME, or use --state-dir")
        Options().parseOptions(["--state-dir", "/x"])

    def test_literalTilde(self) -> None:
        """An older platformdirs that leaves the ~ in a path does not make us create a directory of that name."""
        self.lose_home()
        self.assertRaises(ConfigurationError, default_path, lambda name: Path("~/.local/share", name), "known-hosts")


class SettingsTests(SynchronousTestCase):
    """The settings of the daemon, the client and the robots."""

    def test_fromAFile(self) -> None:
        """A mapping, as in a configuration file, is read by the names of the options; others are refused."""
        self.assertEqual(convert({"max-sessions": 7}, ServerSettings), ServerSettings(max_sessions=7))
        for wrong in ({"max_sessions": 7}, {"bogus": 7}, {"max-sessions": 0}):
            self.assertRaises(ValidationError, convert, wrong, ServerSettings)

    def test_areNotShown(self) -> None:
        """Nothing shows the values of settings by accident: a message or a prompt can be among them."""
        self.assertNotIn("secret", repr(ClientSettings(messages=("secret",))))

    def test_areTranslated(self) -> None:
        """Every text of an option is found when the catalogues are made."""
        package = Path(securechat.__path__[0])
        marked = {text for _file, _line, text, _comments, _context in extract_from_dir(package)}
        options = [option for settings in ALL for option in options_of(settings)]
        for option in options:
            self.assertIn(option.description, marked)
            self.assertIn(option.extra.unit, {"", *marked})
        untranslated = {option.extra.default for option in options} - marked - {""}
        self.assertEqual(untranslated, {"localhost:8080", "湖北"})

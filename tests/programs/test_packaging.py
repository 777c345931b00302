"""What is packed and installed: twistd finds its plugin, and Twisted's own files are left alone."""

import ast
import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from configparser import ConfigParser
from email.message import Message
from email.parser import Parser
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import twisted
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from twisted.trial.unittest import SynchronousTestCase

import securechat

PROJECT = Path(__file__).parents[2]
PLUGIN = "twisted/plugins/securechat_plugin.py"
NOT_OURS_TO_PACK = ("twisted/__init__.py", "twisted/plugins/__init__.py", "twisted/plugins/dropin.cache")
NOT_SOURCE = shutil.ignore_patterns(".*", "_trial_temp*", "__pycache__", "*.egg-info", "build", "dist")


WITH_TWISTED = {"zope-interface", "pyopenssl", "service-identity"}  # which Twisted requires, with its extra tls
SHARED = {"twisted": ["twisted"], "zope": ["zope.interface"]}  # packages into which others install, too
NOT_IMPORTED = {"bcrypt"}  # by us: cryptography imports it, but does not require it

OPTIONAL = {"psycopg"}  # in an extra of its own


def run(*command: str | Path, **environ: str) -> str:
    """The output of a program that is run where the checkout cannot be found by accident."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environ
    done = subprocess.run(command, cwd="/", env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{command} failed:\n{done.stdout}")
    return done.stdout


def working_directory() -> Path:
    """A new directory within trial's own, which trial removes before its next run."""
    return Path(tempfile.mkdtemp(dir=Path.cwd()))


@cache
def checkout() -> Path:
    """A copy of the project in which twistd has been run, and so has left its cache."""
    copy = working_directory() / "securechat"
    shutil.copytree(PROJECT, copy, ignore=NOT_SOURCE)
    for name in ("twisted/plugins/dropin.cache", "tools/left_over.pyc", "docs/left_over.pyo"):
        (copy / name).touch()
    return copy


def trial_directory() -> Path:
    """Trial's own directory, in which its worker processes have numbered directories."""
    here = Path.cwd()
    return here.parent if here.name.isdigit() else here


@cache
def distributions() -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it, by one of the worker processes."""
    directory = trial_directory() / "dist"
    with (trial_directory() / "dist.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            built = working_directory()
            run(sys.executable, "-m", "build", "--no-isolation", "--outdir", built, checkout())
            built.rename(directory)
    (sdist,) = directory.glob("*.tar.gz")
    (wheel,) = directory.glob("*.whl")
    return sdist, wheel


class Environment:
    """A virtual environment with a Twisted of its own; our other dependencies are seen, securechat is not."""

    def __init__(self) -> None:
        home = working_directory()
        venv.create(home, symlinks=True)
        self.python = home / "bin/python"
        (site_packages,) = home.glob("lib/python*/site-packages")
        theirs = Path(twisted.__path__[0])
        shutil.copytree(theirs, site_packages / "twisted", ignore=shutil.ignore_patterns("test", "*.cache"))
        (site_packages / "dependencies.pth").write_text(f"{theirs.parent}\n")

    def pip(self, *arguments: str | Path) -> None:
        run(sys.executable, "-m", "pip", "--python", self.python, *arguments)

    def install(self, *what: str | Path) -> None:
        self.pip("install", "--no-index", "--no-deps", "--no-build-isolation", *what)

    def twistd(self, *arguments: str) -> str:
        return run(self.python, "-I", "-c", "from twisted.scripts.twistd import run; run()", *arguments)

    def securechat(self, *arguments: str, **environ: str) -> str:
        """The output of the command that pip has installed."""
        return run(self.python.parent / "securechat", *arguments, **environ)


def third_party_imports() -> set[str]:
    """The distributions that our modules import."""
    modules: set[str] = set()
    for path in (PROJECT / PLUGIN, *(PROJECT / "securechat").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Import():
                    modules.update(alias.name.partition(".")[0] for alias in node.names)
                case ast.ImportFrom(module=str(name), level=0):
                    modules.add(name.partition(".")[0])
    known = {**packages_distributions(), **SHARED}
    return {canonicalize_name(known[name][0]) for name in modules - sys.stdlib_module_names - {"securechat"}}


class DistributionTests(SynchronousTestCase):
    """The files that we hand out."""

    def test_wheelHoldsThePackageAndThePlugin(self) -> None:
        """A wheel holds our modules and data, the files in share/, one plugin and nothing else of Twisted's."""
        source = checkout() / "securechat"
        wanted = {
            path.relative_to(checkout()).as_posix()
            for path in source.rglob("*")
            if path.suffix in {".py", ".mo", ".txt", ".typed", ".sql"}
        }
        with zipfile.ZipFile(distributions()[1]) as wheel:
            packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
        data = f"securechat-{securechat.__version__}.data/data/"
        shared = {
            data + path.relative_to(PROJECT).as_posix() for path in (PROJECT / "share").rglob("*") if path.is_file()
        }
        self.assertEqual(packed, wanted | shared | {PLUGIN})

    def test_sdistHoldsTheProject(self) -> None:
        """An sdist holds what it takes to test, lint and change the project, and nothing of Twisted's."""
        wanted = {"Makefile", "constraints.txt", "setup.py", "pyproject.toml", "LICENSE", PLUGIN}
        wanted.update(path.name for path in checkout().glob("*.md"))
        for folder in ("benchmarks", "deploy", "docs", "fuzz", "securechat", "share", "sidechannel", "tests", "tools"):
            files = [
                path for path in (checkout() / folder).rglob("*") if path.is_file() and "left_over" not in path.name
            ]
            self.assertNotEqual(files, [])
            wanted.update(path.relative_to(checkout()).as_posix() for path in files)
        with tarfile.open(distributions()[0]) as sdist:
            packed = {name.partition("/")[2] for name in sdist.getnames()}
        self.assertEqual(wanted - packed, set())
        self.assertEqual(packed & set(NOT_OURS_TO_PACK), set())
        self.assertFalse([name for name in packed if "left_over" in name or "__pycache__" in name])


class MetadataTests(SynchronousTestCase):
    """What a wheel says of itself."""

    def read(self, name: str) -> str:
        """A file of the wheel's metadata."""
        with zipfile.ZipFile(distributions()[1]) as wheel:
            [path] = [path for path in wheel.namelist() if path.endswith(f".dist-info/{name}")]
            return wheel.read(path).decode()

    def metadata(self) -> Message:
        return Parser().parsestr(self.read("METADATA"))

    def test_version(self) -> None:
        """It has the version that the programs print, our license, and needs the Python that we support."""
        metadata = self.metadata()
        self.assertEqual((metadata["Name"], metadata["Version"]), ("securechat", securechat.__version__))
        self.assertEqual(metadata["Requires-Python"], ">=3.11")
        self.assertIn("MIT", (metadata["License-Expression"], metadata["License"]))
        self.assertEqual(self.read("licenses/LICENSE"), (PROJECT / "LICENSE").read_text())
        self.assertIn("# ", metadata.get_payload())  # the README

    def test_requirements(self) -> None:
        """It requires each package that is imported and nothing else, and no version that does not work."""
        requirements = [Requirement(text) for text in self.metadata().get_all("Requires-Dist", [])]
        required = {canonicalize_name(each.name): each for each in requirements if each.marker is None}
        self.assertEqual(required.keys() | WITH_TWISTED, (third_party_imports() - OPTIONAL) | NOT_IMPORTED)
        twisted_itself, cryptography = map(canonicalize_name, ("twisted", "cryptography"))
        self.assertEqual(required[twisted_itself].extras, {"tls"})
        self.assertFalse(required[cryptography].specifier.contains("47.0"))  # whose wheels have no ML-KEM
        self.assertTrue(all(each.specifier for each in required.values()))
        optional = {each.name for each in requirements if each.marker and each.marker.evaluate({"extra": "postgresql"})}
        self.assertEqual(optional, OPTIONAL)

    def test_commands(self) -> None:
        """pip installs one command, which is the client."""
        entry_points = ConfigParser(delimiters=("=",))
        entry_points.read_string(self.read("entry_points.txt"))
        self.assertEqual(entry_points.sections(), ["console_scripts"])
        expected = {"securechat": "securechat.client.__main__:main", "securechat-ctl": "securechat.control:main"}
        self.assertEqual(dict(entry_points["console_scripts"]), expected)


class InstallationTests(SynchronousTestCase):
    """What twistd sees of us, run from a directory that is not the checkout."""

    def test_wheel(self) -> None:
        """twistd knows securechat and its options while its wheel is installed, and works on without it."""
        environment = Environment()
        environment.install(distributions()[1])
        self.assertIn(" securechat ", environment.twistd("--help"))
        self.assertIn("--help-robots", environment.twistd("securechat", "--help"))
        version = f"securechat {securechat.__version__}\n"
        self.assertEqual(environment.twistd("securechat", "--version"), version)
        self.assertEqual(environment.securechat("--version"), version)
        self.assertIn("usage: securechat", environment.securechat("--help", LANGUAGE="en"))
        self.assertRegex(environment.securechat("--help", LANGUAGE="zh_CN"), "[\u4e00-\u9fff]")
        home = environment.python.parents[1]
        for path in (PROJECT / "share").rglob("*.*"):
            if path.is_file():
                self.assertEqual((home / path.relative_to(PROJECT)).read_bytes(), path.read_bytes())
        program = (
            "import securechat; from securechat.robots.registry import make_robot;"
            "from securechat.conversation import Conversation as C, Speaker, Turn;"
            "print(securechat.__file__); make_robot(None, 'eliza', [], {})"
            ".reply(C('u', [Turn(Speaker.USER, 'hello')])).asend(None).send(None)"
        )
        error = self.assertRaises(AssertionError, run, environment.python, "-I", "-c", program)
        self.assertIn(f"{environment.python.parents[1]}/lib/", str(error))
        self.assertRegex(str(error), r"StopIteration: Hello! I am the offline robot|StopIteration: 你好")
        environment.pip("uninstall", "--yes", "securechat")
        self.assertNotIn(" securechat ", environment.twistd("--help"))

    def test_editable(self) -> None:
        """twistd lists securechat when the checkout is installed as editable."""
        environment = Environment()
        environment.install("--editable", checkout())
        self.assertIn(" securechat ", environment.twistd("--help"))

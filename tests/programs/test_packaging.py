"""What is packed and installed: twistd finds its plugin, and Twisted's own files are left alone."""

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from functools import cache
from pathlib import Path

import twisted
from twisted.trial.unittest import SynchronousTestCase

PROJECT = Path(__file__).parents[2]
PLUGIN = "twisted/plugins/securechat_plugin.py"
NOT_OURS_TO_PACK = ("twisted/__init__.py", "twisted/plugins/__init__.py", "twisted/plugins/dropin.cache")
NOT_SOURCE = shutil.ignore_patterns(".*", "_trial_temp*", "__pycache__", "*.egg-info", "build", "dist")


def run(*command: str | Path) -> str:
    """The output of a program that is run where the checkout cannot be found by accident."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
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
    (copy / "twisted/plugins/dropin.cache").touch()
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


class DistributionTests(SynchronousTestCase):
    """The files that we hand out."""

    def test_wheelHoldsThePackageAndThePlugin(self) -> None:
        """A wheel holds our modules and data, one plugin and nothing else of Twisted's."""
        source = checkout() / "securechat"
        wanted = {
            path.relative_to(checkout()).as_posix()
            for path in source.rglob("*")
            if path.suffix in {".py", ".mo", ".txt", ".typed"}
        }
        with zipfile.ZipFile(distributions()[1]) as wheel:
            packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
        self.assertEqual(packed, wanted | {PLUGIN})

    def test_sdistHoldsTheProject(self) -> None:
        """An sdist holds what it takes to test, lint and change the project, and nothing of Twisted's."""
        wanted = {"Makefile", "constraints.txt", "setup.py", "pyproject.toml", "LICENSE", PLUGIN}
        wanted.update(path.name for path in checkout().glob("*.md"))
        for folder in ("docs", "tests", "tools", "securechat"):
            files = (path for path in (checkout() / folder).rglob("*") if path.is_file())
            wanted.update(path.relative_to(checkout()).as_posix() for path in files)
        with tarfile.open(distributions()[0]) as sdist:
            packed = {name.partition("/")[2] for name in sdist.getnames()}
        self.assertEqual(wanted - packed, set())
        self.assertEqual(packed & set(NOT_OURS_TO_PACK), set())


class InstallationTests(SynchronousTestCase):
    """What twistd sees of us, run from a directory that is not the checkout."""

    def test_wheel(self) -> None:
        """twistd knows securechat and its options while its wheel is installed, and works on without it."""
        environment = Environment()
        environment.install(distributions()[1])
        self.assertIn(" securechat ", environment.twistd("--help"))
        self.assertIn("--help-robots", environment.twistd("securechat", "--help"))
        environment.pip("uninstall", "--yes", "securechat")
        self.assertNotIn(" securechat ", environment.twistd("--help"))

    def test_editable(self) -> None:
        """twistd lists securechat when the checkout is installed as editable."""
        environment = Environment()
        environment.install("--editable", checkout())
        self.assertIn(" securechat ", environment.twistd("--help"))

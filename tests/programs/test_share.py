"""Manual pages and completion: made from the settings, and understood by the programs that read them."""

import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.harness.daemon import ENVIRON

PROJECT = Path(__file__).parents[2]
SHARE = PROJECT / "share"
BASH = """
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
compopt() { :; }
_securechat
printf '%s\\n' "${COMPREPLY[@]}"
"""
CONFIG = """
[host.work]
address = "a"
  [host."home.example"]  # mine
[host."$(touch /tmp/securechat-was-expanded)"]
"""


def run(program: str, *arguments: str | Path, **environ: str) -> str:
    """The output of a program; SkipTest if there is no such program."""
    if shutil.which(program) is None:
        raise SkipTest(f"no {program}")
    done = subprocess.run([program, *arguments], env={**ENVIRON, **environ}, capture_output=True, text=True)
    if done.returncode != 0 or done.stderr:
        raise AssertionError(done.stdout + done.stderr)
    return done.stdout


class ShareTests(SynchronousTestCase):
    """The files in share/."""

    def test_areCurrent(self) -> None:
        """They say what the source says; if not, run `make share`."""
        command = [sys.executable, "-m", "tools.share", "--check"]
        done = subprocess.run(command, cwd=PROJECT, env=ENVIRON, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_manual(self) -> None:
        """The manual pages are valid, and name the options."""
        for name, words in (("securechat", "--known-hosts FILE"), ("twistd-securechat", "--authorized-keys")):
            page = SHARE / f"man/man1/{name}.1"
            text = run("groff", "-man", "-Tutf8", "-ww", "-K", "utf8", "-P-cbou", page)
            self.assertIn(words, text)


class CompletionTests(SynchronousTestCase):
    """Completion, by the shells themselves."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).absolute()
        (directory / "securechat").mkdir(parents=True)
        (directory / "securechat/client.toml").write_text(CONFIG)
        (directory / "a file").touch()
        self.directory = directory
        self.environ = {"XDG_CONFIG_HOME": str(directory), "HOME": str(directory)}

    def bash(self, *words: str) -> list[str]:
        script = SHARE / "bash-completion/completions/securechat"
        return run("bash", "-c", BASH, "bash", script, *words, **self.environ).split("\n")[:-1]

    def test_bash(self) -> None:
        """bash completes options, their values, files, and the names of servers."""
        self.assertEqual(self.bash("securechat", "--know"), ["--known-hosts"])
        self.assertEqual(self.bash("securechat", "--suite", "rsa"), ["rsa2048-fernet"])
        self.assertEqual(self.bash("securechat", "--suite", "=", "rsa"), ["rsa2048-fernet"])
        self.assertEqual(len(self.bash("securechat", "--suite", "=")), 2)
        self.assertEqual(self.bash("securechat", "-i", f"{self.directory}/a"), [f"{self.directory}/a file"])
        self.assertEqual(self.bash("securechat", "-q", "wo"), ["work"])
        self.assertEqual(self.bash("securechat", "h"), ["home.example"])
        self.assertEqual(self.bash("securechat", "-m", "wo"), [""])
        self.assertIn("--message", self.bash("securechat", "-"))

    def test_nothingIsExpanded(self) -> None:
        """The names of servers are not taken for commands."""
        self.assertIn("$(touch /tmp/securechat-was-expanded)", self.bash("securechat", ""))
        self.assertFalse(Path("/tmp/securechat-was-expanded").exists())

    def test_fish(self) -> None:
        """So does fish."""
        script = SHARE / "fish/vendor_completions.d/securechat.fish"

        def complete(line: str) -> list[str]:
            found = run("fish", "-c", f"source {script}; complete -C '{line}'", **self.environ)
            return [each.partition("\t")[0] for each in found.splitlines()]

        self.assertEqual(complete("securechat --know"), ["--known-hosts"])
        self.assertEqual(complete("securechat --suite rsa"), ["rsa2048-fernet"])
        self.assertEqual(complete("securechat wo"), ["work"])
        self.assertEqual(complete("securechat -m wo"), [])

    def test_zsh(self) -> None:
        """zsh can read its file."""
        run("zsh", "-n", SHARE / "zsh/site-functions/_securechat")

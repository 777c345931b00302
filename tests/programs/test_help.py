"""Help texts of the programs, and the tables in docs/ that are made from the same source."""

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat import __version__
from securechat.wrap import columns
from tests.harness.daemon import ENVIRON

PROJECT = Path(__file__).parents[2]
TWISTD = ("-c", "from twisted.scripts.twistd import run; run()", "securechat")
CLIENT = ("-m", "securechat.client")


class HelpTests(SynchronousTestCase):
    """The help texts of the programs."""

    def test_fitTheTerminal(self) -> None:
        """No line of a help text is wider than the terminal, in any language."""
        for command in (TWISTD, CLIENT):
            for language in ("en", "zh_CN"):
                done = subprocess.run(
                    [sys.executable, *command, "--help"],
                    env={**ENVIRON, "LANGUAGE": language, "HOME": "/", "COLUMNS": "80"},
                    capture_output=True,
                    text=True,
                )
                self.assertIn("--version", done.stdout, done.stderr)
                for line in done.stdout.splitlines():
                    self.assertLessEqual(columns(line), 80, line)

    def test_isTranslated(self) -> None:
        """The help of the client is in one language, also where the text is argparse's own, and so are its errors."""
        for language, is_english in (("en", True), ("zh_CN", False)):
            environ = {**ENVIRON, "LANGUAGE": language, "HOME": "/", "COLUMNS": "80"}
            texts = [
                subprocess.run(
                    [sys.executable, *CLIENT, option], env=environ, capture_output=True, encoding="utf-8", check=False
                )
                for option in ("--help", "--nonsense", "-m")
            ]
            for words in ("usage:", "options:", "positional arguments", "show this help", "show program's version"):
                self.assertEqual(words in texts[0].stdout, is_english, words)
            self.assertEqual("unrecognized arguments" in texts[1].stderr, is_english)
            self.assertEqual("expected one argument" in texts[2].stderr, is_english)

    def test_version(self) -> None:
        """--version prints the program's name and version."""
        done = subprocess.run([sys.executable, *CLIENT, "--version"], env=ENVIRON, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, f"securechat {__version__}\n", ""))

    def test_content(self) -> None:
        """The help begins with the program's name, and lists each option, its default and the exit codes."""
        environ = {**ENVIRON, "HOME": "/", "COLUMNS": "80"}
        done = subprocess.run([sys.executable, *CLIENT, "--help"], env=environ, capture_output=True, text=True)
        text = " ".join(done.stdout.split())
        self.assertTrue(text.startswith("usage: securechat "), text)
        for words in (
            *("HOST[:PORT]", "localhost:8080", "-i FILE", "--identity", "--agent", "--known-hosts FILE"),
            *("(default: /.local/share/securechat/known_hosts)", "--host-key SHA256:\u2026", "--accept-new"),
            *("--suite NAME", "(default: mlkem768x25519-chacha20poly1305)", "-m TEXT", "-v", "0 all messages"),
            *(
                "--serve [ADDRESS:]PORT",
                "1 to 16 (default: 4)",
                "--serve-origin",
                "--print-env",
                "-q, --quiet",
                "6 the",
            ),
            *("2 usage", "3 connection", "4 authentication", "5 a reply", "130 interrupted"),
        ):
            self.assertIn(words, text)
        self.assertNotIn("(default: False)", text)
        self.assertNotIn("(default: no)", text)


class DocumentationTests(SynchronousTestCase):
    """The tables of options in docs/."""

    def test_areCurrent(self) -> None:
        """They say what the source says; if not, run `make option-tables`."""
        done = subprocess.run(
            [sys.executable, "-m", "tools.option_tables", "--check"],
            cwd=PROJECT,
            env=ENVIRON,
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

"""The API key, and what programs are told of the API."""

import contextlib
import io
import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.api.address import ServeAddress
from securechat.client.api.environment import is_logged, key_path, load_key, print_environment
from securechat.client.settings import ClientSettings
from securechat.errors import ConfigurationError

ADDRESS = ServeAddress("127.0.0.1", 11435)


class KeyTests(SynchronousTestCase):
    """A user without a key."""

    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.patch(os, "environ", {**os.environ, "HOME": str(self.home), "XDG_STATE_HOME": f"{self.home}/state"})
        self.settings = ClientSettings(serve=ADDRESS)

    def with_key(self, content: str, mode: int = 0o600) -> ClientSettings:
        path = Path(self.mktemp())
        path.write_text(content)
        path.chmod(mode)
        return ClientSettings(serve=ADDRESS, serve_key_file=path)

    def test_made(self) -> None:
        """A key is made when it is first needed, for its owner only, and stays the same."""
        key = load_key(self.settings)
        assert key is not None
        self.assertRegex(key, r"\Asc-[A-Za-z0-9_-]{43}\Z")
        path = self.home / "state/securechat/api_key"
        self.assertEqual(path.read_text(), f"{key}\n")
        self.assertEqual((path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777), (0o600, 0o700))
        self.assertEqual(load_key(self.settings), key)

    def test_exposed(self) -> None:
        """A key that others can read is not used."""
        load_key(self.settings)
        key_path(self.settings).chmod(0o640)
        self.assertIn("too open", str(self.assertRaises(ConfigurationError, load_key, self.settings)))
        self.assertIn("0644", str(self.assertRaises(ConfigurationError, load_key, self.with_key("x", 0o644))))

    def test_file(self) -> None:
        """The key may be in a file of the user's, which has to exist and to contain nothing else."""
        self.assertEqual(load_key(self.with_key("secret\n")), "secret")
        for content in ("", "\n", "two words", "two\nlines", "\u20ac"):
            self.assertRaises(ConfigurationError, load_key, self.with_key(content))
        missing = ClientSettings(serve=ADDRESS, serve_key_file=Path("missing").absolute())
        self.assertRaises(ConfigurationError, load_key, missing)
        self.assertFalse(Path("missing").exists())

    def test_open(self) -> None:
        """No key is made if none is required."""
        self.assertIsNone(load_key(ClientSettings(serve=ADDRESS, serve_open=True)))
        self.assertFalse(self.home.exists())

    def printed(self, settings: ClientSettings, *, is_logged: bool = False) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            print_environment(settings, load_key(settings), is_logged=is_logged)
        return output.getvalue()

    def test_prints(self) -> None:
        """A shell gets the variables from the printed commands, whatever the key contains."""
        commands = self.printed(self.with_key("a'b$c"))
        script = commands + 'printf "%s %s" "$OPENAI_BASE_URL" "$OPENAI_API_KEY"'
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "http://127.0.0.1:11435/v1 a'b$c")

    def test_printsWithoutAKey(self) -> None:
        """Programs get a key also if none is required, because they do not start without one."""
        self.assertIn("OPENAI_API_KEY=none\n", self.printed(ClientSettings(serve=ADDRESS, serve_open=True)))

    def test_log(self) -> None:
        """The key is printed for the user to copy. In a log there is a command that reads it instead."""
        settings = self.with_key("secret")
        self.assertIn("OPENAI_API_KEY=secret\n", self.printed(settings))
        log = self.printed(settings, is_logged=True)
        self.assertNotIn("secret", log)
        done = subprocess.run(["/bin/sh", "-c", log + 'printf "$OPENAI_API_KEY"'], capture_output=True, text=True)
        self.assertEqual(done.stdout, "secret")

    def test_journal(self) -> None:
        """Output goes to systemd's journal if the variable names its stream, or that of standard error."""
        with open(self.mktemp(), "w") as journal, open(self.mktemp(), "w") as file:
            status = os.fstat(journal.fileno())
            environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
            for output, errors, expected in (
                (journal, journal, True),
                (journal, file, True),
                (file, journal, True),  # there may be two streams of the journal
                (file, file, False),  # inherited
                (io.StringIO(), file, False),
            ):
                with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                    self.assertEqual(is_logged(environ), expected)
                    self.assertFalse(is_logged({}))

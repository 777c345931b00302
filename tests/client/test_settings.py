"""The client's settings: their defaults and values."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.options import parse
from securechat.client.settings import ClientSettings
from securechat.errors import ConfigurationError
from securechat.settings import options_of
from securechat.wire.suites import DEFAULT_SUITE, SUITES

OPTIONS = {option.attribute: option for option in options_of(ClientSettings)}
DIGEST = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL+/012"  # 43 characters


class SettingsTests(SynchronousTestCase):
    """Defaults, and values that are accepted or refused."""

    def test_knownHosts(self) -> None:
        """The host keys are in the user's data directory, not in ssh's."""
        home = str(Path(self.mktemp()).absolute())
        self.patch(os, "environ", {**os.environ, "HOME": home, "XDG_DATA_HOME": f"{home}/data"})
        self.assertEqual(ClientSettings().known_hosts, Path(f"{home}/data/securechat/known_hosts"))
        self.assertEqual(parse([]).known_hosts, Path(f"{home}/data/securechat/known_hosts"))
        del os.environ["XDG_DATA_HOME"]
        self.assertEqual(ClientSettings().known_hosts, Path(f"{home}/.local/share/securechat/known_hosts"))

    def test_fingerprints(self) -> None:
        """A fingerprint is that of a SHA-256, in base64, with or without its padding."""
        for text in (f"SHA256:{DIGEST}", f"SHA256:{DIGEST}="):
            self.assertEqual(OPTIONS["host_key"].read(text), f"SHA256:{DIGEST}")
        for text in (
            *("", DIGEST, f"MD5:{DIGEST}", f"sha256:{DIGEST}", f"SHA256:{DIGEST}==", f"SHA256:{DIGEST}x"),
            *(f"SHA256:{DIGEST[:-1]}", f" SHA256:{DIGEST}", f"SHA256:{DIGEST}\n", f"SHA256:{DIGEST[:-1]}-"),
        ):
            self.assertRaises(ConfigurationError, OPTIONS["host_key"].read, text)

    def test_suites(self) -> None:
        """Each suite can be chosen by its name; the default is the one against quantum computers."""
        self.assertEqual(DEFAULT_SUITE, b"mlkem768x25519-chacha20poly1305")
        for name in SUITES:
            self.assertEqual(OPTIONS["suite"].read(name.decode()), name)
        for text in ("", "MLKEM768X25519-CHACHA20POLY1305", "rsa"):
            self.assertRaises(ConfigurationError, OPTIONS["suite"].read, text)

    def test_messages(self) -> None:
        """A message is any text in UTF-8, also an empty one or one that looks like an option's value."""
        for text in ("", "--", "a\nb", "\U0001f600"):
            self.assertEqual(parse([f"--message={text}"]).messages, (text,))
        self.assertRaises(ConfigurationError, OPTIONS["messages"].read, "\ud800")

    def test_paths(self) -> None:
        """A relative path is taken from the directory in which the program was started."""
        for attribute in ("identity", "known_hosts"):
            self.assertEqual(OPTIONS[attribute].read("key"), Path.cwd() / "key")

    def test_repr(self) -> None:
        """Settings do not show messages."""
        self.assertNotIn("secret", repr(parse(["-m", "secret"])))

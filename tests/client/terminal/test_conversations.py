"""Conversations in files."""

import os
from datetime import datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.terminal import conversations
from securechat.client.terminal.conversations import (
    MAX_EXCHANGES,
    Saved,
    content,
    decode,
    is_name,
    latest,
    new_name,
    path_of,
    read,
)
from securechat.errors import ConfigurationError

PATH = Path("/x.jsonl")
GOOD = b'{"user":"q","robot":"r"}\n'


class FormatTests(SynchronousTestCase):
    """The content of a file."""

    def test_roundTrip(self) -> None:
        """What is written is read again, one line an exchange."""
        exchanges = [Saved("a\nb", '"\u200b\x1b'), Saved("你好", "")]
        data = content(exchanges)
        self.assertEqual(data.count(b"\n"), 2)
        self.assertEqual(decode(data, PATH), exchanges)

    def test_again(self) -> None:
        """An exchange may replace the one before it."""
        data = content([Saved("a", "1"), Saved("b", "2"), Saved("b", "3", again=True)])
        self.assertEqual([exchange.robot for exchange in decode(data, PATH)], ["1", "3"])
        self.assertEqual(len(decode(content([Saved("a", "1", again=True)]), PATH)), 1)

    def test_badLines(self) -> None:
        """A line that is no exchange is named."""
        for bad in (
            *(b"x", b"[]", b"{}", b'{"user":"q"}', b'{"user":"q","robot":1}', b'{"user":"q","robot":"r","more":1}'),
            *(b'{"user":"\xff","robot":"r"}', b"[" * 100_000, GOOD[:-5], b'{"user":"\\ud800","robot":"r"}'),
        ):
            error = self.assertRaises(ConfigurationError, decode, GOOD + b"\n" + bad, PATH)
            self.assertEqual(str(error), "/x.jsonl:3: not an exchange of a saved conversation")

    def test_limit(self) -> None:
        """The latest exchanges are read, as many as a server is told."""
        exchanges = decode(GOOD * MAX_EXCHANGES + content([Saved("last", "")]), PATH)
        self.assertEqual((len(exchanges), exchanges[-1].user), (MAX_EXCHANGES, "last"))

    def test_repr(self) -> None:
        """A traceback does not show what was said."""
        self.assertNotIn("secret", repr(Saved("secret", "secret")))


class FileTests(SynchronousTestCase):
    """The files."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def test_names(self) -> None:
        """Names are words; everything else is a path."""
        for name in ("work", "notes-2", "工作", new_name(datetime(2026, 1, 2, 3, 4, 5))):
            self.assertTrue(is_name(name), name)
        for name in ("", "a.md", "../x", "/x", "-x", "a b", "x" * 65, "x\n", "~"):
            self.assertFalse(is_name(name), name)
        self.assertEqual(new_name(datetime(2026, 1, 2, 3, 4, 5)), "2026-01-02-030405")

    def test_latest(self) -> None:
        """The latest conversation is the one that was written last; without one, the directory is named."""
        for directory in (self.directory, self.directory / "none"):
            error = self.assertRaises(ConfigurationError, latest, directory)
            self.assertEqual(str(error), f"{directory}: no saved conversation")
        for name, age in (("b", 2), ("a", 3), ("c", 9)):
            path_of(name, self.directory).write_bytes(GOOD)
            os.utime(path_of(name, self.directory), (age, age))
        os.utime(path_of("b", self.directory), (10, 10))
        (self.directory / "other").touch()
        self.assertEqual(latest(self.directory).stem, "b")

    def test_read(self) -> None:
        """A file is read if it is not too large and others cannot write it."""
        path = path_of("a", self.directory)
        path.write_bytes(GOOD)
        path.chmod(0o600)
        self.assertEqual(read(path), [Saved("q", "r")])
        path.chmod(0o622)
        self.assertRaises(ConfigurationError, read, path)
        path.chmod(0o600)
        self.patch(conversations, "MAX_SIZE", 1024 * 1024)
        path.write_bytes(b" " * (1024 * 1024 + 1))
        self.assertRaises(ConfigurationError, read, path)

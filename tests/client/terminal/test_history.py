"""The history of what the user types."""

import json
import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.terminal.history import MAX_ENTRIES, InputHistory


class HistoryTests(SynchronousTestCase):
    """A history in a file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "state" / "history"

    def load(self) -> list[str]:
        """The entries of a new session, the oldest first."""
        return [*InputHistory(self.path).load_history_strings()][::-1]

    def test_sessions(self) -> None:
        """What was entered is there in the next session, also if it has several lines."""
        InputHistory(self.path).append_string("one\ntwo 中\udcff")
        InputHistory(self.path).append_string("three")
        self.assertEqual(self.load(), ["one\ntwo 中\udcff", "three"])

    def test_private(self) -> None:
        """Only the user can read the file, also if it was readable by others."""
        InputHistory(self.path).append_string("one")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.path.parent.stat().st_mode), 0o700)
        self.path.chmod(0o644)
        InputHistory(self.path).append_string("two")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_leftOut(self) -> None:
        """Text that begins with a space, blank text and a repetition are not kept, not even in the session."""
        history = InputHistory(self.path)
        for text in (" secret", "", "one", "one", "\n"):
            history.append_string(text)
        self.assertEqual(self.load(), ["one"])
        self.assertEqual(history.get_strings(), ["one"])

    def test_noFile(self) -> None:
        """Without a file, the history ends with the session."""
        history = InputHistory(None)
        history.append_string("one")
        self.assertEqual(history.get_strings(), ["one"])
        self.assertEqual([*history.load_history_strings()], [])

    def test_damaged(self) -> None:
        """Lines that are no strings are skipped."""
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(b'"one"\n{}\n\xff\n"two\n[1]\n"three"\n')
        self.assertEqual(self.load(), ["one", "three"])

    def test_limit(self) -> None:
        """The latest entries are kept; the others are removed when there are twice as many."""
        self.path.parent.mkdir(parents=True)
        self.path.write_text("".join(f"{json.dumps(str(number))}\n" for number in range(2 * MAX_ENTRIES + 1)))
        self.assertEqual(self.load(), [str(number) for number in range(MAX_ENTRIES + 1, 2 * MAX_ENTRIES + 1)])
        self.assertEqual(len(self.path.read_text().splitlines()), MAX_ENTRIES)
        self.assertEqual(os.listdir(self.path.parent), ["history"])
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_unwritable(self) -> None:
        """A file that cannot be written is no error, and a symbolic link is not followed."""
        self.path.parent.mkdir(parents=True)
        target = self.path.with_name("target")
        self.path.symlink_to(target)
        InputHistory(self.path).append_string("one")
        self.assertFalse(target.exists())
        InputHistory(Path("/dev/null/history")).append_string("one")

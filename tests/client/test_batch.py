"""The frontend without a terminal."""

import io
from contextlib import redirect_stderr
from typing import cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.exit_codes import ExitCode
from securechat.client.frontends.batch import Batch, FixedMessages
from securechat.client.protocol import ChatClient
from securechat.errors import Fault
from securechat.wire.events import Admitted
from securechat.wire.shaping import Shaping

ABOUT = Admitted("", "puppet", "test", 4096, False, Shaping.REPLY, 100, 1)


class Client:
    """A client whose line becomes quiet when a test says so."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.rooms: list[Deferred[int]] = []
        self.left: Deferred[None] | None = None

    def say(self, text: str) -> int:
        self.said.append(text)
        return len(self.said)

    def room(self) -> Deferred[int]:
        self.rooms.append(Deferred())
        return self.rooms[-1]

    def leaveQuietly(self) -> Deferred[None]:
        self.left = Deferred()
        return self.left


class Lines:
    """A source whose messages are ready when a test says so."""

    def __init__(self) -> None:
        self.wanted: Deferred[str | None] = Deferred()

    def next(self, limit: int) -> "Deferred[str | None]":
        self.wanted = Deferred()
        return self.wanted


class FullDisk(io.StringIO):
    """An output that cannot be written."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


class BatchTests(SynchronousTestCase):
    """A batch of messages."""

    def start(self, source: FixedMessages | Lines, output: io.StringIO | None = None) -> Batch:
        self.errors = io.StringIO()
        self.output = output or io.StringIO()
        self.client = Client()
        self.enterContext(redirect_stderr(self.errors))
        batch = Batch(source, self.output)
        batch.admitted(cast(ChatClient, self.client), ABOUT)
        return batch

    def test_together(self) -> None:
        """As many messages as the server accepts are sent when the line is quiet, and the others when it is again."""
        batch = self.start(FixedMessages(("1", "2", "3", "4")))
        self.assertEqual(self.client.said, [])
        self.client.rooms.pop().callback(3)
        self.assertEqual(self.client.said, ["1", "2", "3"])
        for number in (1, 2, 3):
            batch.replyReceived(number, f"{number}!", True)
        self.assertEqual(self.client.said, ["1", "2", "3"])
        self.client.rooms.pop().callback(3)
        self.assertEqual(self.client.said, ["1", "2", "3", "4"])
        self.assertIsNone(self.client.left)
        batch.replyReceived(4, "4!", True)
        self.assertIsNotNone(self.client.left)
        self.assertIn("to hide the length of the reply", self.errors.getvalue())
        batch.disconnected(None)
        self.assertIsNone(self.successResultOf(batch.ended))
        self.assertEqual((self.output.getvalue(), batch.exit), ("1!\n2!\n3!\n4!\n", ExitCode.ANSWERED))

    def test_readyLater(self) -> None:
        """A message that is ready a moment after another has to wait for a quiet line."""
        lines = Lines()
        self.start(lines)
        lines.wanted.callback("1")
        self.client.rooms.pop().callback(5)
        self.assertEqual(self.client.said, ["1"])
        lines.wanted.callback("2")
        self.assertEqual(self.client.said, ["1"])
        self.client.rooms.pop().callback(4)
        self.assertEqual(self.client.said, ["1", "2"])

    def test_invalid(self) -> None:
        """An invalid message is reported, those before it are answered, and the exit code is that of wrong usage."""
        batch = self.start(FixedMessages(("1", "x" * 5000, "3")))
        self.client.rooms.pop().callback(5)
        self.assertEqual(self.client.said, ["1"])
        self.assertIn("exceeds 4096 bytes", self.errors.getvalue())
        batch.replyReceived(1, "1!\n", True)
        self.assertIsNotNone(self.client.left)
        self.assertEqual((self.output.getvalue(), batch.exit), ("1!\n", ExitCode.USAGE))

    def test_outputFails(self) -> None:
        """An error of standard output is reported once; nothing more is sent, and the client leaves."""
        batch = self.start(FixedMessages(("1", "2", "3")), FullDisk())
        self.client.rooms.pop().callback(2)
        batch.replyReceived(1, "1!\n", False)
        self.assertIsNotNone(self.client.left)
        batch.replyReceived(1, "more", True)
        batch.faultReceived(2, Fault.CANCELLED)
        batch.disconnected(None)
        [line] = [line for line in self.errors.getvalue().splitlines() if line.startswith("securechat:")]
        self.assertIn("No space left on device", line)
        self.assertEqual((self.client.said, batch.exit), (["1", "2"], ExitCode.FAULT))

    def test_readerLeaves(self) -> None:
        """If the reader of a pipe leaves, nothing is said, not even of the reply that it did not read."""
        batch = self.start(FixedMessages(("1",)))
        self.client.rooms.pop().callback(1)
        batch.replyReceived(1, "half", False)
        before = self.errors.getvalue()
        batch.outputFailed(BrokenPipeError(32, "Broken pipe"))
        batch.disconnected(None)
        self.assertEqual((self.errors.getvalue(), batch.exit), (before, ExitCode.FAULT))
        self.assertIsNotNone(self.client.left)

    def test_disconnected(self) -> None:
        """Nothing is sent after the end of the connection, also if a message was being waited for."""
        lines = Lines()
        batch = self.start(lines)
        batch.disconnected(None)
        lines.wanted.callback("1")
        self.assertEqual((self.client.rooms, self.client.said), ([], []))

    def test_disconnectedBeforeQuiet(self) -> None:
        """A message that waited for a quiet line at the end of the connection is dropped."""
        batch = self.start(FixedMessages(("1",)))
        batch.disconnected(None)
        self.assertEqual(self.client.said, [])

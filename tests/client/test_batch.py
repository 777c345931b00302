"""The frontend without a terminal."""

import io
import json
from contextlib import redirect_stderr
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.exit_codes import ExitCode
from securechat.client.frontends.batch import Batch
from securechat.client.frontends.formats import JsonFormat, TextFormat
from securechat.client.frontends.source import FixedMessages
from securechat.client.protocol import ChatClient
from securechat.client.sanitize import sanitize, sanitize_line
from securechat.client.stderr import note
from securechat.errors import Category, Fault, RemoteProtocolError
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.messages import Reason
from securechat.wire.shaping import Shaping

ABOUT = Admitted("", "puppet", "test", 4096, False, Shaping.REPLY, 100, 1)


class Client:
    """A client whose line becomes quiet when a test says so."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.cancelled: list[int] = []
        self.rooms: list[Deferred[int]] = []
        self.left: Deferred[None] | None = None

    def say(self, text: str) -> int:
        self.said.append(text)
        return len(self.said)

    def cancel(self, message_id: int) -> None:
        self.cancelled.append(message_id)

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


class BatchTestCase(SynchronousTestCase):
    def start(
        self, source: FixedMessages | Lines, output: io.StringIO | None = None, form: JsonFormat | None = None
    ) -> Batch:
        self.errors = io.StringIO()
        self.output = output or io.StringIO()
        self.client = Client()
        self.leaving: list[Batch] = []
        self.enterContext(redirect_stderr(self.errors))
        batch = Batch(source, form or TextFormat(), self.output, step=note, leaving=self.leaving.append)
        batch.admitted(cast(ChatClient, self.client), ABOUT)
        return batch


class BatchTests(BatchTestCase):
    """A batch of messages."""

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
        self.assertEqual(self.leaving, [batch])
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


class ReplyTests(BatchTestCase):
    """What is written of replies, and the exit code."""

    def answer(self, *pieces: str) -> str:
        """Receive a reply in pieces; what is written of it."""
        batch = self.start(FixedMessages(("1", "2")))
        self.client.rooms.pop().callback(5)
        for piece in pieces[:-1]:
            batch.replyReceived(1, piece, False)
            self.assertEqual(self.output.getvalue()[-1:], sanitize(piece)[-1:])  # at once
        batch.replyReceived(1, pieces[-1], True)
        return self.output.getvalue()

    def test_newline(self) -> None:
        """Each reply ends with a newline, and one that has its own gets no other."""
        for pieces, text in (
            (("one",), "one\n"),
            (("one\n",), "one\n"),
            (("one\n\n",), "one\n\n"),
            (("",), "\n"),
            (("o", "ne"), "one\n"),
            (("one\n", ""), "one\n"),
            (("one\n", "two"), "one\ntwo\n"),
        ):
            self.assertEqual(self.answer(*pieces), text)

    def test_buffered(self) -> None:
        """Each part of a reply is written at once, although the output has a buffer."""
        written = io.BytesIO()
        batch = self.start(FixedMessages(("1",)), cast(io.StringIO, io.TextIOWrapper(written, write_through=False)))
        self.client.rooms.pop().callback(5)
        batch.replyReceived(1, "half", False)
        self.assertEqual(written.getvalue(), b"half")

    def test_forgetsTheLast(self) -> None:
        """The end of a reply says nothing about the next one."""
        batch = self.start(FixedMessages(("1", "2")))
        self.client.rooms.pop().callback(5)
        batch.replyReceived(1, "x", True)
        batch.replyReceived(2, "", True)
        self.assertEqual(self.output.getvalue(), "x\n\n")

    def test_controlCharacters(self) -> None:
        """Control characters of the robot reach neither standard output nor standard error."""
        self.assertEqual(self.answer("a\x1b[2J\x9b", "\u202eb\r\n\tc"), "a\ufffd[2J\ufffd\ufffdb\n\tc\n")
        batch = Batch(FixedMessages(()), TextFormat(), self.output, step=note, leaving=self.leaving.append)
        about = Admitted("", "robot\x1b[2J\nx", "soft\x9b", 4096, False, Shaping.OFF, 100, 1)
        batch.admitted(cast(ChatClient, self.client), about)
        [line] = [line for line in self.errors.getvalue().split("\n") if "robot" in line]
        self.assertTrue(line.isprintable(), line)
        self.assertIn("soft\ufffd", line)

    def test_notes(self) -> None:
        """Steps, and the robot's name, go to standard error, and to nothing else."""
        batch = self.start(FixedMessages(("1",)))
        batch.step("a step")
        self.assertIn("a step\n", self.errors.getvalue())
        self.assertIn("puppet", self.errors.getvalue())
        self.assertEqual(self.output.getvalue(), "")

    def test_faults(self) -> None:
        """A fault ends the line of a reply that had begun, is reported, and makes the exit code 5."""
        for piece, written, is_incomplete in (("", "", False), ("half", "half\n", True), ("line\n", "line\n", True)):
            batch = self.start(FixedMessages(("1", "2")))
            self.client.rooms.pop().callback(5)
            if piece:
                batch.replyReceived(1, piece, False)
            batch.faultReceived(1, Fault.BUSY)
            [line] = [line for line in self.errors.getvalue().splitlines() if line.startswith("securechat: ")]
            self.assertIn("overloaded", line)
            self.assertEqual("incomplete" in line, is_incomplete)
            batch.replyReceived(2, "two", True)
            self.assertEqual(self.output.getvalue(), written + "two\n")
            self.assertIsNotNone(self.client.left)
            batch.disconnected(None)
            self.assertIsNone(self.successResultOf(batch.ended))
            self.assertIs(batch.exit, ExitCode.FAULT)

    def test_nothingToSend(self) -> None:
        """Without messages the client leaves at once, and the exit code is 0."""
        batch = self.start(FixedMessages(()))
        self.assertIsNotNone(self.client.left)
        batch.disconnected(None)
        self.assertEqual((self.output.getvalue(), batch.exit), ("", ExitCode.ANSWERED))

    def test_ends(self) -> None:
        """A session that ends with a reply outstanding, or by the server, exits with 5; the reason is passed on."""
        cut = RemoteProtocolError(Category.CUT)
        goodbye = GoodbyeReceived(Reason.STOPPING, 0)
        for reason, is_answered, code in (
            (None, True, ExitCode.ANSWERED),
            (None, False, ExitCode.FAULT),
            (cut, False, ExitCode.FAULT),
            (goodbye, True, ExitCode.FAULT),
            (goodbye, False, ExitCode.FAULT),
        ):
            batch = self.start(FixedMessages(("1",)))
            self.client.rooms.pop().callback(5)
            if is_answered:
                batch.replyReceived(1, "x", True)
            batch.disconnected(reason)
            self.assertIs(self.successResultOf(batch.ended), reason)
            self.assertIs(batch.exit, code)
            self.assertNotIn("incomplete", self.errors.getvalue())

    def test_endsWithinAReply(self) -> None:
        """The line of a reply that breaks off is ended, and the user is told."""
        batch = self.start(FixedMessages(("1",)))
        self.client.rooms.pop().callback(5)
        batch.replyReceived(1, "half", False)
        batch.disconnected(RemoteProtocolError(Category.CUT))
        self.assertEqual((self.output.getvalue(), batch.exit), ("half\n", ExitCode.FAULT))
        self.assertIn("securechat: the reply is incomplete\n", self.errors.getvalue())

    def test_nothingAfterAFailure(self) -> None:
        """Once standard output has failed, no further message is sent."""
        self.start(FixedMessages(("1", "2", "3")), FullDisk()).replyReceived(0, "x", False)
        self.client.rooms.pop().callback(5)
        self.assertEqual(self.client.said, [])
        lines = Lines()
        self.start(lines, FullDisk()).replyReceived(0, "x", False)
        lines.wanted.callback("1")
        self.assertEqual((self.client.said, self.client.rooms), ([], []))

    def test_usageStays(self) -> None:
        """The exit code of an invalid message is not replaced by that of a cut."""
        batch = self.start(FixedMessages(("1", "x" * 5000)))
        self.client.rooms.pop().callback(5)
        batch.disconnected(RemoteProtocolError(Category.CUT))
        self.assertIs(batch.exit, ExitCode.USAGE)

    def test_limit(self) -> None:
        """The limit is the server's, in bytes of UTF-8; a message of exactly that size is sent."""
        for text, is_sent in (
            ("x" * 4096, True),
            ("x" * 4097, False),
            ("\u00fc" * 2048, True),
            ("\u00fc" * 2049, False),
        ):
            self.start(FixedMessages((text,)))
            if self.client.rooms:
                self.client.rooms.pop().callback(5)
            self.assertEqual(self.client.said, [text] if is_sent else [])

    def test_nothingToRestore(self) -> None:
        """There is no terminal to restore."""
        self.successResultOf(self.start(FixedMessages(())).restore_terminal())


class JsonTests(BatchTestCase):
    """Replies as JSON."""

    def setUp(self) -> None:
        self.clock = Clock()

    def begin(self, count: int = 2) -> Batch:
        batch = self.start(FixedMessages(("x",) * count), form=JsonFormat(self.clock.seconds))
        self.client.rooms.pop().callback(5)
        return batch

    def written(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.output.getvalue().splitlines()]

    def test_object(self) -> None:
        """When a reply has ended, its text is written with the robot, the user and the time that it took."""
        batch = self.begin()
        self.clock.advance(1.5)
        batch.replyReceived(1, "你\n", False)
        self.assertEqual(self.output.getvalue(), "")
        batch.replyReceived(1, "好", True)
        self.assertIn("你\\n好", self.output.getvalue())
        self.clock.advance(1)
        batch.replyReceived(2, "", True)
        same = {"robot": "puppet", "user": None, "cut": False, "fault": None}
        self.assertEqual(
            self.written(),
            [{"id": 1, "text": "你\n好", "seconds": 1.5, **same}, {"id": 2, "text": "", "seconds": 2.5, **same}],
        )

    def test_user(self) -> None:
        """The user is the one whom the server knows."""
        form = JsonFormat(self.clock.seconds)
        form.admitted(Admitted("alice", "puppet", "test", 4096, False, Shaping.REPLY, 100, 1))
        form.sent(1)
        self.assertEqual(json.loads(form.end(1))["user"], "alice")

    def test_controlCharacters(self) -> None:
        """Control characters are escaped, and the text remains the robot's."""
        text = "\x1b[2J\x9b\u202e\u2028\r\t\N{GRINNING FACE}"
        self.begin().replyReceived(1, text, True)
        line = self.output.getvalue()
        self.assertEqual(sanitize_line(line[:-1]) + "\n", line)
        self.assertEqual(json.loads(line)["text"], text)

    def test_fault(self) -> None:
        """A fault is named, and the text that has come is kept."""
        batch = self.begin()
        batch.replyReceived(1, "half", False)
        batch.faultReceived(1, Fault.TIMED_OUT)
        batch.replyReceived(2, "two", True)
        self.assertEqual(
            [(each["text"], each["cut"], each["fault"]) for each in self.written()],
            [("half", True, "timed-out"), ("two", False, None)],
        )

    def test_disconnected(self) -> None:
        """Each message that was not answered has an object if the connection is lost."""
        batch = self.begin()
        batch.replyReceived(1, "half", False)
        batch.disconnected(RemoteProtocolError(Category.TIMEOUT, "x"))
        self.assertEqual(
            [(each["id"], each["text"], each["cut"], each["fault"]) for each in self.written()],
            [(1, "half", True, "disconnected"), (2, "", True, "disconnected")],
        )

    def test_limit(self) -> None:
        """A reply that is too long to be kept is cancelled once, and what follows is dropped."""
        batch = self.begin()
        self.patch(JsonFormat, "limit", 10)
        for text in ("x" * 10, "y", "z"):
            batch.replyReceived(1, text, False)
        self.assertEqual(self.client.cancelled, [1])
        batch.faultReceived(1, Fault.CANCELLED)
        batch.replyReceived(2, "two", True)
        self.assertEqual(
            [(each["text"], each["fault"]) for each in self.written()], [("x" * 10, "cancelled"), ("two", None)]
        )

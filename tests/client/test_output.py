"""Standard output and standard error, over pipes."""

import errno
import os
import sys
import threading
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat.client import output as output_module
from securechat.client.output import MAX_WAITING, Output

reactor: Any = installed

PIPE_SIZE = 64 * 1024  # bytes, on Linux
TEXT = bytes(range(256)) * 1024  # more than a pipe takes


class OutputTestCase(TestCase):
    """An output whose thread runs, and a pipe."""

    def setUp(self) -> None:
        self.reader, self.writer = os.pipe()
        self.open = {self.reader, self.writer}
        self.addCleanup(self.close_all)
        self.output = Output()
        self.output.start(reactor)
        self.addCleanup(self.output.stop)
        self.failures: list[OSError] = []
        self.output.failed = self.failures.append

    def close_all(self) -> None:
        for end in [*self.open]:
            self.close(end)

    def close(self, end: int) -> None:
        self.open.remove(end)
        os.close(end)

    async def read(self, size: int) -> bytes:
        """The next bytes from the pipe."""

        def read() -> bytes:
            data = b""
            while len(data) < size and (more := os.read(self.reader, size - len(data))):
                data += more
            return data

        return cast(bytes, await deferToThread(read))


class WritingTests(OutputTestCase):
    """Text for a reader that is slow."""

    async def test_slowReader(self) -> None:
        """All text arrives in order without blocking the caller, whether or not the descriptor is non-blocking."""
        for blocking in (True, False):
            os.set_blocking(self.writer, blocking)
            self.output.write(self.writer, TEXT)
            self.output.write(self.writer, b"end")
            drained = self.output.drained()
            await deferLater(reactor, 0.05)
            self.assertNoResult(drained)
            self.assertEqual(await self.read(len(TEXT) + 3), TEXT + b"end")
            await drained
        self.assertEqual(self.failures, [])

    async def test_nothing(self) -> None:
        """There is nothing to wait for if nothing was written."""
        self.successResultOf(self.output.drained())

    async def test_cancelled(self) -> None:
        """Waiting for a reader can be given up; the text still arrives."""
        self.output.write(self.writer, TEXT)
        drained = self.output.drained()
        drained.cancel()
        self.failureResultOf(drained, CancelledError)
        self.assertEqual(await self.read(len(TEXT)), TEXT)
        await self.output.drained()

    async def test_twoDescriptors(self) -> None:
        """Text for two descriptors is written in the order in which it came."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        os.set_blocking(reader, False)
        self.output.write(self.writer, TEXT)
        self.output.write(writer, b"after")
        await deferLater(reactor, 0.05)
        self.assertRaises(BlockingIOError, os.read, reader, 9)
        await self.read(len(TEXT))
        await self.output.drained()
        self.assertEqual(os.read(reader, 9), b"after")

    async def test_hold(self) -> None:
        """When a megabyte waits, no more is to come until half of it has been read."""
        held: list[bool] = []
        self.assertEqual(MAX_WAITING, 2**20)
        self.output.hold(held.append)
        piece = bytes(1024)
        for _piece in range(MAX_WAITING // len(piece)):
            self.output.write(self.writer, piece)
        await deferLater(reactor, 0.05)
        self.assertEqual(held, [])
        for _piece in range(128):  # the pipe has taken 64 KiB
            self.output.write(self.writer, piece)
        await deferLater(reactor, 0.05)
        self.assertEqual(held, [True])
        await self.read(256 * 1024)
        await deferLater(reactor, 0.05)
        self.assertEqual(held, [True])
        await self.read(MAX_WAITING + 128 * 1024 - 256 * 1024)
        await self.output.drained()
        self.assertEqual(held, [True, False])

    async def test_holdsTheNext(self) -> None:
        """A second connection is held as well if the output of the first one still waits."""
        held: list[tuple[int, bool]] = []
        for connection in (1, 2):
            self.output.hold(lambda is_full, connection=connection: held.append((connection, is_full)))  # type: ignore[misc]
            self.output.write(self.writer, bytes(MAX_WAITING + PIPE_SIZE))
            await deferLater(reactor, 0.05)
            self.assertEqual(held, [(number, True) for number in range(1, connection + 1)])
        await self.read(2 * (MAX_WAITING + PIPE_SIZE))
        await self.output.drained()
        self.assertEqual(held[2:], [(2, False)])

    async def test_thread(self) -> None:
        """A blocked write does not keep the program from ending."""
        before = set(threading.enumerate())
        output = Output()
        output.start(reactor)
        self.addCleanup(output.stop)
        self.assertEqual([thread.daemon for thread in set(threading.enumerate()) - before], [True])

    async def test_stopped(self) -> None:
        """After the end, when nothing waits, text is written at once: by the interpreter, for instance."""
        self.output.write(self.writer, b"one")
        await self.output.drained()
        self.output.stop()
        self.output.write(self.writer, b"two")
        os.set_blocking(self.reader, False)
        self.assertEqual(os.read(self.reader, 9), b"onetwo")


class FailureTests(OutputTestCase):
    """Descriptors that cannot be written."""

    def stand_in(self) -> None:
        """Let the pipe be standard output."""
        self.patch(output_module, "STANDARD_OUTPUT", self.writer)

    async def test_noReader(self) -> None:
        """The end of the reader is told once, before all is said to be written; what follows is dropped."""
        self.stand_in()
        self.close(self.reader)
        for _write in range(3):
            self.output.write(self.writer, b"x")
        await self.output.drained()
        self.assertEqual([error.errno for error in self.failures], [errno.EPIPE])

    async def test_otherDescriptor(self) -> None:
        """An error of standard error is not told: there is no other place to say it."""
        self.close(self.reader)
        self.output.write(self.writer, b"x")
        await self.output.drained()
        self.assertEqual(self.failures, [])

    async def test_withoutThread(self) -> None:
        """Before the reactor runs, an error is raised once, so that the interpreter does not report it at exit."""
        self.close(self.reader)
        output = Output()
        self.assertRaises(OSError, output.write, self.writer, b"x")
        output.write(self.writer, b"x")


class StreamTests(SynchronousTestCase):
    """Python's standard streams."""

    def install(self, descriptor: int, encoding: str) -> Any:
        """The stream that takes the place of standard output, which writes to a descriptor in an encoding."""
        before = self.enterContext(open(os.dup(descriptor), "w", encoding=encoding))
        self.patch(sys, "stdout", before)
        self.patch(sys, "stderr", sys.stderr)
        self.patch(output_module, "STANDARD_OUTPUT", descriptor)
        Output().install()
        return sys.stdout

    def test_characters(self) -> None:
        """A character that the encoding lacks is replaced, also in the middle of text."""
        for encoding, text, data in (
            ("iso-8859-1", "it\N{RIGHT SINGLE QUOTATION MARK}s", b"it?s"),
            ("gbk", "好\N{GRINNING FACE}的", "好?的".encode("gbk")),
            ("ascii", "名: \udcff", b"?: ?"),
        ):
            reader, writer = os.pipe()
            self.addCleanup(os.close, reader)
            self.addCleanup(os.close, writer)
            stream = self.install(writer, encoding)
            print(text, file=stream, end="", flush=True)
            self.assertEqual(os.read(reader, 99), data)
            self.assertEqual((stream.fileno(), stream.isatty(), stream.writable()), (writer, False, True))

    def test_lines(self) -> None:
        """A line is written when it is complete, and as one piece."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        os.set_blocking(reader, False)
        stream = self.install(writer, "utf-8")
        print("half", file=stream, end="")
        self.assertRaises(BlockingIOError, os.read, reader, 9)
        print(" line", file=stream)
        self.assertEqual(os.read(reader, 99), b"half line\n")

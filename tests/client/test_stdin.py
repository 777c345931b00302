"""Lines from standard input."""

import os
import threading
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from securechat.client.frontends import stdin
from securechat.client.frontends.stdin import AHEAD, READ_SIZE, StdinLines
from securechat.errors import ConfigurationError
from securechat.wire.messages import MAX_MESSAGE

reactor: Any = installed


class StdinTests(TestCase):
    """A pipe."""

    timeout = 30

    def setUp(self) -> None:
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.reader)
        self.addCleanup(self.close)

    def close(self) -> None:
        if self.writer is not None:
            os.close(self.writer)
            self.writer = None  # type: ignore[assignment]

    async def lines(self, data: bytes, limit: int = MAX_MESSAGE) -> list[str]:
        """All lines of an input; the last one is the error with which it ends, if it does."""
        os.write(self.writer, data)
        self.close()
        return await self.rest(StdinLines(self.reader, reactor), limit)

    async def rest(self, lines: StdinLines, limit: int = MAX_MESSAGE) -> list[str]:
        found = []
        try:
            while (line := await lines.next(limit)) is not None:
                found.append(line)
        except ConfigurationError as error:
            found.append(f"error: {error}")
        return found

    async def test_lines(self) -> None:
        """Lines keep their indentation, blank ones are skipped, and the last one needs no newline."""
        found = await self.lines(b"one\n\n  two \r\n \t\r\n\xe4\xb8\x89\nlast")
        self.assertEqual(found, ["one", "  two ", "三", "last"])

    async def test_thread(self) -> None:
        """A blocked read does not keep the program from ending."""
        before = set(threading.enumerate())
        StdinLines(self.reader, reactor)
        self.assertEqual([thread.daemon for thread in set(threading.enumerate()) - before], [True])

    async def test_empty(self) -> None:
        """An empty input has no lines, and its end can be asked for again."""
        self.close()
        lines = StdinLines(self.reader, reactor)
        for _time in range(3):
            self.assertIsNone(await lines.next(9))

    async def test_pieces(self) -> None:
        """A line may arrive in pieces, also in the middle of a character."""
        lines = StdinLines(self.reader, reactor)
        wanted = lines.next(99)
        for piece in (b"a", b"\xe4\xb8", b"\x89", b"b\nc"):
            self.assertNoResult(wanted)
            os.write(self.writer, piece)
            await deferLater(reactor, 0.02)
        self.assertEqual(await wanted, "a三b")
        os.write(self.writer, b"\n")
        self.assertEqual(await lines.next(99), "c")

    async def test_notUtf8(self) -> None:
        """A line that is not valid UTF-8 ends the input, with its number; empty lines count."""
        self.assertEqual(await self.lines(b"one\n\n\xff\nfour\n"), ["one", "error: line 3: not valid UTF-8"])

    async def test_limit(self) -> None:
        """A line beyond the server's limit, in bytes, is an error with its number, and stays one."""
        os.write(self.writer, b"x" * 9 + b"\n\n" + "ü".encode() * 5 + b"\nmore\n")
        lines = StdinLines(self.reader, reactor)
        self.assertEqual(await lines.next(9), "x" * 9)
        for _time in range(2):
            self.assertEqual(await self.rest(lines, 9), ["error: line 3: message exceeds 9 bytes"])

    async def test_endless(self) -> None:
        """A line that is longer than any server accepts is not read to its end."""
        self.patch(stdin, "MAX_MESSAGE", 100)
        lines = StdinLines(self.reader, reactor)
        os.write(self.writer, b"ok\n" + b"x" * 100)
        self.assertEqual(await lines.next(100), "ok")
        wanted = lines.next(100)
        await deferLater(reactor, 0.05)
        self.assertNoResult(wanted)
        os.write(self.writer, b"x")
        self.assertEqual(str(await self.failure(wanted)), "line 2: message exceeds 100 bytes")

    async def failure(self, wanted: Any) -> BaseException:
        try:
            await wanted
        except ConfigurationError as error:
            return error
        raise AssertionError("no error")

    async def test_unreadable(self) -> None:
        """An input that cannot be read is an error in the system's words."""
        directory = os.open("/", os.O_RDONLY)
        self.addCleanup(os.close, directory)
        found = await self.rest(StdinLines(directory, reactor))
        self.assertEqual(found, [f"error: standard input: {os.strerror(21)}"])

    async def test_ahead(self) -> None:
        """A few lines are read ahead, so that a fast writer waits for the robot and does not fill the memory."""
        calls: list[Any] = []

        class Counter:
            def callFromThread(self, *call: Any) -> None:
                calls.append(call)
                reactor.callFromThread(*call)

        lines = StdinLines(self.reader, Counter())  # type: ignore[arg-type]
        os.write(self.writer, b"x\n" * 100)
        await deferLater(reactor, 0.1)
        self.assertEqual((len(calls), AHEAD, READ_SIZE), (8, 8, 65536))
        await lines.next(9)
        await deferLater(reactor, 0.1)
        self.assertEqual(len(calls), 9)
        self.close()
        self.assertEqual(len(await self.rest(lines)), 99)

    async def test_terminal(self) -> None:
        """From a terminal nothing is read before the first line is wanted: the user may be asked something before."""
        keyboard, terminal = os.openpty()
        self.addCleanup(os.close, keyboard)
        self.addCleanup(os.close, terminal)
        lines = StdinLines(terminal, reactor)
        os.write(keyboard, b"yes\n")
        await deferLater(reactor, 0.05)
        self.assertEqual(os.read(terminal, 99), b"yes\n")
        os.write(keyboard, b"one\ntwo\n\x04")
        self.assertEqual(await self.rest(lines), ["one", "two"])

"""The messages of a batch."""

import io
import os
import socket
import sys
from contextlib import redirect_stderr
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat.client.frontends import source
from securechat.client.frontends.source import LONG_WAIT, FixedMessages, InputMessage, is_interactive, open_source
from securechat.client.frontends.stdin import StdinLines
from securechat.client.settings import ClientSettings
from securechat.errors import ConfigurationError
from tests.harness.client_reactor import ClientReactor

reactor: Any = installed
LIMIT = 1000  # bytes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ThreadReactor(Clock):
    """A clock that moves when a test says so, and calls from threads in the reactor's thread."""

    def callFromThread(self, *call: Any) -> None:
        reactor.callFromThread(*call)


class InputTestCase(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.reader)
        self.clock = ThreadReactor()

    def open(self, *messages: str, optional: bool = False) -> InputMessage:
        return InputMessage(messages, self.reader, self.clock, optional=optional)  # type: ignore[arg-type]

    async def all(self, data: bytes, *messages: str) -> list[str]:
        """All messages; the last one is the error with which they end, if they do."""
        opened = self.open(*messages)
        reactor.callInThread(self.write, data)
        found = []
        try:
            while (message := await opened.next(LIMIT)) is not None:
                found.append(message)
        except ConfigurationError as error:
            found.append(f"error: {error}")
        return found

    def write(self, data: bytes) -> None:
        with open(self.writer, "wb") as file:
            file.write(data)


class InputMessageTests(InputTestCase):
    """Standard input as one message."""

    async def test_text(self) -> None:
        """The text is one message, without a byte order mark and the white space at its end."""
        self.assertEqual(await self.all("\ufeff  a\n\n\tb \n\n".encode()), ["  a\n\n\tb"])

    async def test_below(self) -> None:
        """It stands below the first message of the command line; the others follow."""
        self.assertEqual(await self.all(b"x\ny\n", "a", "b"), ["a\n\nx\ny", "b"])

    async def test_empty(self) -> None:
        """An empty input, or one of white space, adds nothing."""
        self.assertEqual(await self.all(b" \n\n", "a"), ["a"])

    async def test_emptyAlone(self) -> None:
        """Alone it is no message."""
        self.assertEqual(await self.all(b""), [])

    async def test_notUtf8(self) -> None:
        """An input that is not valid UTF-8 is an error with the number of the line."""
        self.assertEqual(await self.all(b"a\nb\xff\n", "m"), ["error: line 2: not valid UTF-8"])

    async def test_limit(self) -> None:
        """The limit is that of the whole message."""
        self.assertEqual(await self.all(b"x" * 999, "mm"), [f"error: message exceeds {LIMIT} bytes"])

    async def test_endless(self) -> None:
        """An input that is longer than any server accepts is not read to its end."""
        self.patch(source, "MAX_MESSAGE", 100)
        os.write(self.writer, b"x" * 101)
        with self.assertRaisesRegex(ConfigurationError, "message exceeds 100 bytes"):
            await self.open("m").next(LIMIT)
        os.close(self.writer)

    async def test_unreadable(self) -> None:
        """An input that cannot be read is an error in the system's words."""
        os.close(self.writer)
        directory = os.open("/", os.O_RDONLY)
        self.addCleanup(os.close, directory)
        opened = InputMessage((), directory, self.clock, optional=False)  # type: ignore[arg-type]
        with self.assertRaisesRegex(ConfigurationError, f"standard input: {os.strerror(21)}"):
            await opened.next(LIMIT)

    async def test_terminal(self) -> None:
        """A terminal is not read before the message is needed: the user may be asked something before."""
        os.close(self.writer)
        keyboard, terminal = os.openpty()
        self.addCleanup(os.close, keyboard)
        self.addCleanup(os.close, terminal)
        opened = InputMessage((), terminal, self.clock, optional=False)  # type: ignore[arg-type]
        os.write(keyboard, b"yes\n")
        await deferLater(reactor, 0.05)
        self.assertEqual(os.read(terminal, 9), b"yes\n")
        message = opened.next(LIMIT)
        os.write(keyboard, b"text\n\x04")
        self.assertEqual(await message, "text")

    async def wait(self, *, optional: bool, data: bytes) -> tuple[str, "str | None"]:
        """What the user is told while an input remains open after this data, and the message."""
        with redirect_stderr(io.StringIO()) as errors:
            opened = self.open("a", optional=optional)
            message = opened.next(LIMIT)
            os.write(self.writer, data)
            while data and self.clock.getDelayedCalls():  # until the thread has read it
                await deferLater(reactor, 0.01)
            self.clock.advance(LONG_WAIT - 0.1)
            self.assertNoResult(message)
            self.clock.advance(0.2)
        is_open = not message.called
        os.write(self.writer, b"late")
        os.close(self.writer)
        text = await message
        self.assertEqual(is_open, "late" in (text or ""))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return errors.getvalue(), text

    async def test_nothing(self) -> None:
        """A pipe that nobody writes to or closes does not hold a message up for long; the user is told."""
        errors, text = await self.wait(optional=True, data=b"")
        self.assertIn("nothing has come on standard input", errors)
        self.assertEqual(text, "a")

    async def test_something(self) -> None:
        """When something has come, its end is waited for."""
        self.assertEqual(await self.wait(optional=True, data=b"x"), ("", "a\n\nxlate"))

    async def test_required(self) -> None:
        """So it is if standard input was asked for."""
        self.assertEqual(await self.wait(optional=False, data=b""), ("", "a\n\nlate"))


class ChoiceTests(SynchronousTestCase):
    """Which source is used."""

    def setUp(self) -> None:
        keyboard, terminal = os.openpty()
        reader, writer = os.pipe()
        os.close(writer)
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        null = os.open(os.devnull, os.O_RDONLY)
        file = os.open(__file__, os.O_RDONLY)
        for descriptor in (keyboard, terminal, reader, null, file):
            self.addCleanup(os.close, descriptor)
        self.inputs = {"terminal": terminal, "pipe": reader, "socket": one.fileno(), "null": null, "file": file}

    def use(self, name: str) -> None:
        self.patch(sys, "stdin", self.enterContext(open(self.inputs[name], closefd=False)))

    def test_sources(self) -> None:
        """With a message, only a file or a pipe is read, unless standard input is asked for."""
        for name in self.inputs:
            self.use(name)
            for options, expected in (
                ({}, StdinLines if name == "terminal" else InputMessage),
                ({"lines": True}, StdinLines),
                ({"stdin": True}, InputMessage),
                ({"messages": ("x",)}, InputMessage if name in ("pipe", "file") else FixedMessages),
                ({"messages": ("x",), "stdin": True}, InputMessage),
            ):
                opened: object = open_source(ClientSettings(**options), ClientReactor())  # type: ignore[arg-type]
                self.assertIsInstance(opened, expected, (name, options))

    def test_closed(self) -> None:
        """Closed standard input is an error if it is needed."""
        self.patch(sys, "stdin", None)
        self.assertIsInstance(open_source(ClientSettings(messages=("x",)), ClientReactor()), FixedMessages)  # type: ignore[arg-type]
        for options in ({}, {"lines": True}, {"messages": ("x",), "stdin": True}):
            with self.assertRaisesRegex(ConfigurationError, "standard input is closed"):
                open_source(ClientSettings(**options), ClientReactor())  # type: ignore[arg-type]

    def test_interactive(self) -> None:
        """The user is prompted at a terminal, if no option says otherwise."""
        self.patch(sys, "stdout", Terminal())
        self.use("terminal")
        self.assertTrue(is_interactive(ClientSettings()))
        for options in ({"messages": ("x",)}, {"stdin": True}, {"lines": True}):
            self.assertFalse(is_interactive(ClientSettings(**options)))
        self.patch(sys, "stdout", io.StringIO())
        self.assertFalse(is_interactive(ClientSettings()))
        self.patch(sys, "stdout", Terminal())
        self.use("pipe")
        self.assertFalse(is_interactive(ClientSettings()))

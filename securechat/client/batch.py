"""Talking without a terminal: messages from the command line or a pipe, and nothing but replies to standard output."""

from typing import Final, Protocol, TextIO

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from securechat.client.notes import complain, note
from securechat.client.outcome import ExitCode
from securechat.client.protocol import ChatClient
from securechat.client.sentences import of_fault
from securechat.client.untrusted import harmless
from securechat.errors import ConfigurationError, Fault, SecureChatError
from securechat.events import Admitted, GoodbyeReceived
from securechat.i18n import _

MAX_OPEN: Final = 4  # messages that wait for their replies


class Source(Protocol):
    """Where messages come from, one after the other."""

    def next(self) -> "Deferred[str | None]":
        """The next message; None if there are no more."""


class Batch:
    """A ChatUser that says what it was given and writes down what is answered. `ended` fires when all is over."""

    def __init__(self, source: Source, output: TextIO) -> None:
        self.client: ChatClient | None = None
        self.is_admitted = False
        self.exit = ExitCode.ANSWERED
        self.ended: Deferred[SecureChatError | GoodbyeReceived | None] = Deferred()
        self._source = source
        self._output = output
        self._open = 0
        self._line_open = False  # the last thing written was no whole line
        self._progress: Deferred[None] | None = None

    # What the session tells

    def step(self, text: str) -> None:
        note(text)

    def admitted(self, about: Admitted) -> None:
        self.is_admitted = True
        note(_("connected to {robot} ({software})").format(robot=about.robot, software=about.software))
        Deferred.fromCoroutine(self._talk()).addErrback(self._stopped)

    def replyReceived(self, message_id: int, text: str, last: bool) -> None:
        text = harmless(text)
        self._write(text)
        if text:
            self._line_open = not text.endswith("\n")
        if last:
            self._end_line(always=not self._line_open and not text)
            self._done()

    def faultReceived(self, message_id: int, fault: Fault) -> None:
        self._end_line()
        complain(of_fault(fault))
        self.exit = ExitCode.FAULT
        self._done()

    def disconnected(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        if self._line_open:
            self._end_line()
            complain(_("the reply was cut"))
        if self._open and self.exit is ExitCode.ANSWERED:
            self.exit = ExitCode.FAULT
        self.ended.callback(reason)

    # What the batch does

    async def _talk(self) -> None:
        """Say everything, and leave when all is answered."""
        client = self.client
        assert client is not None
        while (text := await self._source.next()) is not None:
            client.say(text)
            self._open += 1
            while self._open >= MAX_OPEN:
                await self._reply_done()
        while self._open:
            await self._reply_done()
        client.leave()

    def _stopped(self, failure: Failure) -> None:
        """A line that is no message ends it."""
        failure.trap(ConfigurationError)
        complain(failure.getErrorMessage())
        self._stop(ExitCode.USAGE)

    def _stop(self, exit_code: ExitCode) -> None:
        self.exit = exit_code
        assert self.client is not None
        self.client.leave()

    def _reply_done(self) -> "Deferred[None]":
        self._progress = Deferred()
        return self._progress

    def _done(self) -> None:
        self._open -= 1
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.callback(None)

    def _end_line(self, *, always: bool = False) -> None:
        if self._line_open or always:
            self._write("\n")
        self._line_open = False

    def _write(self, text: str) -> None:
        try:
            self._output.write(text)
            self._output.flush()
        except BrokenPipeError:
            self._stop(ExitCode.FAULT)

"""The frontend without a terminal: messages from the command line or a pipe, replies to standard output."""

from typing import Protocol, TextIO

from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from securechat.client.exit_codes import ExitCode
from securechat.client.explain import of_fault
from securechat.client.protocol import ChatClient
from securechat.client.sanitize import sanitize
from securechat.client.stderr import complain, note
from securechat.errors import ConfigurationError, Fault, SecureChatError
from securechat.i18n import _
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.items import Head, Piece, ServerEvent


class Source(Protocol):
    """A source of messages."""

    def next(self, limit: int) -> "Deferred[str | None]":
        """The next message; None at the end. ConfigurationError if it has more than `limit` bytes of UTF-8."""


class FixedMessages:
    """The messages on the command line."""

    def __init__(self, messages: tuple[str, ...]) -> None:
        self._messages = iter(messages)

    def next(self, limit: int) -> "Deferred[str | None]":
        text = next(self._messages, None)
        if text is not None and len(text.encode()) > limit:
            return fail(ConfigurationError(_("message exceeds {size} bytes").format(size=limit)))
        return succeed(text)


class Batch:
    """A frontend that sends the messages of a source, writes the replies, and leaves."""

    _client: ChatClient  # from `admitted` on
    _max_message: int  # bytes, as well
    redial = None  # a batch that was cut ends: its caller knows better whether to send the messages again

    def __init__(self, source: Source, output: TextIO) -> None:
        self.exit = ExitCode.ANSWERED
        self.ended: Deferred[SecureChatError | GoodbyeReceived | None] = Deferred()
        self._source = source
        self._output = output
        self._open = 0
        self._reply = ""  # the last character written of the incomplete reply
        self._progress: Deferred[None] | None = None
        self._talking: Deferred[object] = succeed(None)
        self._can_write = True

    # ChatUser

    def step(self, text: str) -> None:
        note(text)

    def admitted(self, client: ChatClient, about: Admitted) -> None:
        self._client = client
        self._max_message = about.max_message
        note(_("connected to {robot} ({software})").format(robot=about.robot, software=about.software))
        self._talking = Deferred.fromCoroutine(self._talk()).addErrback(lambda failure: failure.trap(CancelledError))

    def replyReceived(self, message_id: int, text: str, last: bool) -> None:
        self._write(sanitize(text))
        if last:
            if not self._reply.endswith("\n"):
                self._write("\n")
            self._done()

    def resultReceived(self, message_id: int, items: list[Head | Piece | ServerEvent], last: bool) -> None:
        """There is none, because this sends no API requests."""

    def faultReceived(self, message_id: int, fault: Fault) -> None:
        has_begun = bool(self._reply)
        self._break_off()
        if self._can_write:
            complain(of_fault(fault, has_begun=has_begun))
        self.exit = ExitCode.FAULT
        self._done()

    def disconnected(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        self._talking.cancel()
        if self._reply and self._can_write:
            self._break_off()
            complain(_("the reply is incomplete"))
        if isinstance(reason, GoodbyeReceived) or (self._open and self.exit is ExitCode.ANSWERED):
            self.exit = ExitCode.FAULT
        self.ended.callback(reason)

    def restore_terminal(self) -> "Deferred[None]":
        """There is nothing to restore."""
        return succeed(None)

    # Sending and writing

    async def _talk(self) -> None:
        """Send all messages, and leave when all replies are complete. Stop at a line that is not a valid message."""
        room = 0
        try:
            upcoming = self._source.next(self._max_message)
            while (text := await upcoming) is not None:
                room = room or await self._client.room()
                self._client.say(text)
                self._open += 1
                upcoming = self._source.next(self._max_message)
                room = room - 1 if upcoming.called else 0  # only messages that are ready now are sent together
        except ConfigurationError as error:
            complain(str(error))
            self.exit = ExitCode.USAGE
        while self._open:
            await self._reply_done()
        if not self._client.leaveQuietly().called:
            note(_("all replies received; leaving with the server's last record, to hide the length of the reply"))

    def _reply_done(self) -> "Deferred[None]":
        self._progress = Deferred()
        return self._progress

    def _done(self) -> None:
        self._reply = ""
        self._open -= 1
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.callback(None)

    def _break_off(self) -> None:
        """End the line of an incomplete reply."""
        if self._reply and not self._reply.endswith("\n"):
            self._write("\n")
        self._reply = ""

    def _write(self, text: str) -> None:
        if not self._can_write:
            return
        try:
            self._output.write(text)
            self._output.flush()
        except OSError as error:
            self.outputFailed(error)
        self._reply = (self._reply + text)[-1:]

    def outputFailed(self, error: OSError) -> None:
        """Standard output cannot be written: its reader has gone, or the disk is full. Leave."""
        if not isinstance(error, BrokenPipeError):
            complain(_("standard output: {problem}").format(problem=error.strerror))
        self._can_write = False
        self.exit = ExitCode.FAULT
        self._talking.cancel()
        self._client.leaveQuietly()

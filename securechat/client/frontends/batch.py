"""The frontend without a terminal: messages from the command line or a pipe, replies to standard output."""

from collections.abc import Callable
from typing import TextIO

from twisted.internet.defer import CancelledError, Deferred, succeed

from securechat.client.exit_codes import ExitCode
from securechat.client.explain import of_fault
from securechat.client.frontends.formats import Format
from securechat.client.frontends.source import Source
from securechat.client.protocol import ChatClient
from securechat.client.sanitize import sanitize
from securechat.client.stderr import complain
from securechat.errors import ConfigurationError, Fault, SecureChatError
from securechat.i18n import _
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.items import Head, Piece, ServerEvent


class Batch:
    """A frontend that sends the messages of a source, writes the replies, and leaves."""

    _client: ChatClient  # from `admitted` on
    _max_message: int  # bytes, as well
    redial = None  # a batch that was cut ends: its caller knows better whether to send the messages again

    def __init__(
        self,
        source: Source,
        form: Format,
        output: TextIO,
        *,
        step: Callable[[str], None],
        leaving: Callable[["Batch"], object],
    ) -> None:
        """`step` is told the steps of the handshake.

        `leaving` is called when only the end of the train remains to be waited for; `exit` is final then.
        """
        self.step = step
        self.exit = ExitCode.ANSWERED
        self.ended: Deferred[SecureChatError | GoodbyeReceived | None] = Deferred()
        self._source = source
        self._output = output
        self._leaving = leaving
        self._form = form
        self._open: list[int] = []  # ids of the messages without a complete reply
        self._size = 0  # characters received of the incomplete reply
        self._progress: Deferred[None] | None = None
        self._talking: Deferred[object] = succeed(None)
        self._can_write = True

    # ChatUser

    def admitted(self, client: ChatClient, about: Admitted) -> None:
        self._client = client
        self._max_message = about.max_message
        self._form.admitted(about)
        self.step(_("connected to {robot} ({software})").format(robot=about.robot, software=about.software))
        self._talking = Deferred.fromCoroutine(self._talk()).addErrback(lambda failure: failure.trap(CancelledError))

    def replyReceived(self, message_id: int, text: str, last: bool) -> None:
        limit = self._form.limit
        if limit is not None and self._size + len(text) > limit:
            if self._size <= limit:
                self._client.cancel(message_id)
            self._size = limit + 1
        else:
            self._size += len(text)
            self._write(self._form.piece(message_id, text))
        if last:
            self._write(self._form.end(message_id))
            self._done(message_id)

    def resultReceived(self, message_id: int, items: list[Head | Piece | ServerEvent], last: bool) -> None:
        """There is none, because this sends no API requests."""

    def faultReceived(self, message_id: int, fault: Fault) -> None:
        self._write(self._form.cut(message_id, fault))
        if self._can_write:
            complain(of_fault(fault, has_begun=self._size > 0))
        self.exit = ExitCode.FAULT
        self._done(message_id)

    def disconnected(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        self._talking.cancel()
        for message_id in self._open:
            self._write(self._form.cut(message_id, None))
        if self._size and self._can_write:
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
                message_id = self._client.say(text)
                self._form.sent(message_id)
                self._open.append(message_id)
                upcoming = self._source.next(self._max_message)
                room = room - 1 if upcoming.called else 0  # only messages that are ready now are sent together
        except ConfigurationError as error:
            complain(str(error))
            self.exit = ExitCode.USAGE
        while self._open:
            await self._reply_done()
        self._leave()

    def _reply_done(self) -> "Deferred[None]":
        self._progress = Deferred()
        return self._progress

    def _done(self, message_id: int) -> None:
        self._size = 0
        self._open.remove(message_id)
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.callback(None)

    def _write(self, text: str) -> None:
        if not self._can_write or not text:
            return
        try:
            self._output.write(sanitize(text))
            self._output.flush()
        except OSError as error:
            self.outputFailed(error)

    def outputFailed(self, error: OSError) -> None:
        """Standard output cannot be written: its reader has gone, or the disk is full. Leave."""
        if not isinstance(error, BrokenPipeError):
            complain(_("standard output: {problem}").format(problem=error.strerror))
        self._can_write = False
        self.exit = ExitCode.FAULT
        self._talking.cancel()
        self._leave()

    def _leave(self) -> None:
        if not self._client.leaveQuietly().called:
            self._leaving(self)

"""The frontend on a terminal: a prompt that stays usable while a reply is displayed above it."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.utils import get_cwidth
from twisted.internet.defer import Deferred, succeed

from securechat.client.exit_codes import ExitCode
from securechat.client.explain import of_fault
from securechat.client.frontends.lines import Lines
from securechat.client.protocol import ChatClient
from securechat.client.quiet import MAX_PENDING
from securechat.client.sanitize import is_text, sanitize, sanitize_line
from securechat.client.stderr import note
from securechat.errors import Fault, SecureChatError
from securechat.i18n import _
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.items import Head, Piece, ServerEvent

PROMPT: Final = "> "


class Terminal:
    """A frontend with a prompt."""

    _client: ChatClient  # from `admitted` on
    _max_message: int  # bytes, as well

    def __init__(self, session: "PromptSession[str]") -> None:
        self.exit = ExitCode.ANSWERED
        self.ended: Deferred[SecureChatError | GoodbyeReceived | None] = Deferred()
        self._session = session
        self._lines = Lines(get_cwidth)  # of the reply
        self._open: list[int] = []  # ids of the messages without a complete reply
        self._queue: deque[Callable[[], None]] = deque()  # what is sent when the server accepts messages again
        self._has_begun = False  # whether part of the reply to the first of them has arrived
        self._cancelled = 0  # id of the message whose reply was cancelled last
        self._prompting: asyncio.Future[None] | None = None

    # ChatUser

    def step(self, text: str) -> None:
        note(text)

    def admitted(self, client: ChatClient, about: Admitted) -> None:
        self._client = client
        self._max_message = about.max_message
        user = sanitize_line(about.user)
        hello = (
            _("Hello, {user}! Connected to {robot}. Type /help for help.")
            if user
            else _("Hello! Connected to {robot}. Type /help for help.")
        )
        _print(hello.format(user=user, robot=sanitize_line(about.robot)))
        self._prompting = asyncio.ensure_future(self._prompt())

    def replyReceived(self, message_id: int, text: str, last: bool) -> None:
        self._has_begun = self._has_begun or text != ""
        for line in self._lines.feed(sanitize(text), self._columns()):
            _print(line)
        if last:
            self._replied(message_id)
        self._refresh()

    def resultReceived(self, message_id: int, items: list[Head | Piece | ServerEvent], last: bool) -> None:
        """There is none, because this sends no API requests."""

    def faultReceived(self, message_id: int, fault: Fault) -> None:
        sentence = of_fault(fault, has_begun=self._has_begun)
        self._replied(message_id)
        _print(sentence)
        self._refresh()

    def _replied(self, message_id: int) -> None:
        self._end_line()
        self._open.remove(message_id)
        self._has_begun = False

    def disconnected(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        if self._has_begun:
            self._end_line()
            _print(_("The reply is incomplete."))
        if self._open and self.exit is ExitCode.ANSWERED and reason is not None:
            self.exit = ExitCode.FAULT
        # Messages about the end are displayed after the prompt is removed, or they would be erased with it.
        self.restore_terminal().addCallback(lambda _nothing: self.ended.callback(reason))

    def outputFailed(self, error: OSError) -> None:
        """The terminal is gone, and so is its input, which ends the prompt."""

    def restore_terminal(self) -> "Deferred[None]":
        """Remove the prompt; fires when the terminal has been restored."""
        if self._prompting is None:
            return succeed(None)
        self._prompting.cancel()
        gone: Deferred[None] = Deferred()
        self._prompting.add_done_callback(lambda _future: gone.callback(None))
        return gone

    # The prompt

    async def _prompt(self) -> None:
        """Read lines until the user or the server ends the session."""
        with patch_stdout():
            while True:
                try:
                    text = await self._session.prompt_async(self._message, handle_sigint=False)
                except KeyboardInterrupt:
                    if not self._open or self._cancelled == self._open[0]:
                        self._leave(ExitCode.INTERRUPTED)
                        return
                    self._cancelled = self._open[0]
                    self._client.cancel(self._cancelled)
                except EOFError:
                    self._leave(ExitCode.ANSWERED)
                    return
                else:
                    _print(PROMPT + text)  # the prompt erased itself, with the unfinished line above it
                    if not self._execute(text.strip()):
                        return

    def _message(self) -> str:
        """The prompt, with the unfinished line of the reply above it, or a note that the reply is pending."""
        waits = self._open and not self._has_begun
        above = _("(waiting for the reply; Ctrl-C cancels it)") if waits else self._lines.unfinished
        return f"{above}\n{PROMPT}" if above else PROMPT

    def _execute(self, text: str) -> bool:
        """Run a command, or send a message; False if the user leaves."""
        match text:
            case "":
                pass
            case "/quit":
                self._leave(ExitCode.ANSWERED)
                return False
            case "/new":
                self._do_in_turn(self._start_afresh)
            case "/help":
                _print(
                    _(
                        "/new starts a new conversation, /quit or Ctrl-D exits, Ctrl-C cancels a reply. "
                        "Anything else is sent to the robot."
                    )
                )
            case _:
                self._do_in_turn(partial(self._say, text), wait=len(self._open) >= MAX_PENDING)
        return True

    def _do_in_turn(self, action: Callable[[], None], *, wait: bool = False) -> None:
        """Send something now, unless it has to wait; then what follows waits as well."""
        if not wait and not self._queue:
            action()
            return
        if not self._queue:
            self._client.room().addCallback(self._send_queued)
        self._queue.append(action)
        _print(_("(queued; it will be sent after the replies)"))

    def _send_queued(self, room: int) -> None:
        for _place in range(min(room, len(self._queue))):
            self._queue.popleft()()
        if self._queue:
            self._client.room().addCallback(self._send_queued)
        self._refresh()

    def _start_afresh(self) -> None:
        self._client.startAfresh()
        _print(_("Started a new conversation."))

    def _say(self, text: str) -> None:
        if not is_text(text):
            _print(_("Not sent: the message is not valid text in the encoding of the terminal."))
            return
        try:
            self._open.append(self._client.say(text))
        except ValueError:
            _print(_("Message too long: the limit is {size} bytes.").format(size=self._max_message))

    def _leave(self, status: ExitCode) -> None:
        self.exit = status
        self._queue.clear()
        if not self._client.leaveQuietly().called:
            _print(_("Leaving with the server's last record, to hide the length of the reply. Ctrl-C leaves at once."))

    def _columns(self) -> int:
        return self._session.app.output.get_size().columns

    def _end_line(self) -> None:
        line = self._lines.end()
        if line:
            _print(line)

    def _refresh(self) -> None:
        if self._session.app.is_running:
            self._session.app.invalidate()


def _print(text: str) -> None:
    """Print a line or more: a reply, our own text, or what the user pasted, without control characters."""
    print(sanitize(text))

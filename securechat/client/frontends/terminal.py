"""The frontend on a terminal: a prompt that stays usable while a reply is displayed above it."""

import asyncio
from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from securechat.client.exit_codes import ExitCode
from securechat.client.explain import of_fault, of_loss
from securechat.client.protocol import ChatClient
from securechat.client.reactor import IClientReactor
from securechat.client.redial import Redial, is_passing
from securechat.client.terminal.commands import Command, UnknownCommandError, help_lines, key_lines, parse
from securechat.client.terminal.conversations import Saved
from securechat.client.terminal.export import Exporter
from securechat.client.terminal.keeping import Keeper
from securechat.client.terminal.lines import notice_row, shorten, show_error, show_input, show_notice
from securechat.client.terminal.live import awaited_reply, next_attempt, question
from securechat.client.terminal.outbox import Outbox
from securechat.client.terminal.progress import Progress
from securechat.client.terminal.screen import Screen
from securechat.client.terminal.session import Server, Session, greeting, info_lines
from securechat.client.terminal.styles import Row
from securechat.client.terminal.transcript import Transcript
from securechat.errors import Fault, SecureChatError
from securechat.i18n import _
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.messages import Reason

ANSWERS: Final = {"": True, "y": True, "yes": True, "n": False, "no": False}  # send messages again?
HINT: Final = 5.0  # seconds in which a second Ctrl-C leaves
MAX_RESTORED: Final = 150  # columns about the conversation with which the user goes on


class Terminal:
    """A frontend with a prompt. It stays when a session is lost, and goes on in the next one."""

    _session: Session  # the latest one, from the first `admitted` on

    def __init__(
        self, screen: Screen, reactor: IClientReactor, server: Server, keeper: Keeper, *, is_verbose: bool = False
    ) -> None:
        self.exit = ExitCode.ANSWERED
        self.ended: Deferred[SecureChatError | GoodbyeReceived | None] = Deferred()
        self._screen = screen
        self._reactor = reactor
        self._server = server
        self._keeper = keeper
        self._progress = Progress(screen, reactor, server, is_verbose=is_verbose)
        self._transcript = Transcript()
        self._outbox = Outbox(screen, reactor, self._transcript, keeper)
        self._exporter = Exporter(reactor, screen, self._transcript, keeper)
        self._redial = Redial(reactor)
        self._loss = ""  # the notice about the last loss
        self._hint: IDelayedCall | None = None  # while a second Ctrl-C leaves
        self._prompting: asyncio.Future[None] | None = None
        self._is_leaving = False

    @property
    def redial(self) -> Redial | None:
        return self._redial if self._outbox.is_lost and not self._is_leaving else None

    def restore_conversation(self, exchanges: Sequence[Saved]) -> None:
        """Go on with a conversation that was saved."""
        self._transcript.restore((exchange.user, exchange.robot) for exchange in exchanges)
        self._outbox.has_to_recall = bool(exchanges)

    # ChatUser: before a session

    def step(self, text: str) -> None:
        self._progress.step(text, has_prompt=self._prompting is not None)

    def admitted(self, client: ChatClient, about: Admitted) -> None:
        self._progress.stop()
        self._redial.succeeded()
        session = Session(client, about)
        if self._prompting is None or not session.has_ends_of(self._session):
            self._screen.show([greeting(self._server, session)])
        elif self._loss:
            show_notice(self._screen, _("reconnected"))
        self._session = session
        self._outbox.admitted(session)
        if self._prompting is None:
            self._show_restored()
            self._prompting = asyncio.ensure_future(self._screen.run(self))
            return
        if self.asks and self._screen.echoes:
            show_notice(self._screen, question(self._outbox.unanswered))
        self._screen.refresh()

    def _show_restored(self) -> None:
        """Say with which conversation the user goes on."""
        last = self._transcript.last_question()
        if last is not None and self._keeper.path is not None:
            text = _("continuing {name}; messages so far: {count}; the last one: {text}")
            text = text.format(name=self._keeper.path.stem, count=len(self._transcript.answered()), text=last)
            show_notice(self._screen, shorten(text, MAX_RESTORED))

    # ScreenUser: from the prompt to the server

    def submitted(self, text: str) -> bool:
        self._forget_hint()
        answer = text.strip().lower()
        if self.asks and answer in ANSWERS:
            self._outbox.decide(is_yes=ANSWERS[answer])
            return True
        if not answer:
            self._dial_now()
        try:
            entered = parse(text)
        except UnknownCommandError as error:
            show_error(self._screen, str(error))
            return False
        if isinstance(entered, Command):
            return self._execute(entered, text)
        entered = entered.rstrip() if "\n" in entered else entered.strip()
        if entered:
            if not self._outbox.send(entered):
                return False
            self._dial_now()
        return True

    def _execute(self, command: Command, text: str) -> bool:
        """Run a command; False if what is in the editor stays there."""
        if not self._screen.echoes:
            show_input(self._screen, text.strip())
        match command.name:
            case "help":
                self._show_lines(*help_lines(), "", *key_lines())
            case "new":
                self._outbox.start_afresh()
            case "retry":
                if self._outbox.retry():
                    self._dial_now()
            case "copy":
                self._exporter.copy(int(command.argument or 1))
            case "save":
                self._exporter.save(command.argument, self._session.robot)
            case "edit":
                self._screen.draft = self._transcript.last_question() or ""
                self._screen.edit()
                return False
            case "info":
                self._show_lines(*info_lines(self._server, self._session))
            case "quit":
                self._leave(ExitCode.ANSWERED)
        return True

    def _show_lines(self, *texts: str) -> None:
        for text in texts:
            show_notice(self._screen, text)

    def _dial_now(self) -> None:
        """If there is no session, do not wait any longer before the next attempt."""
        if self.redial is not None:
            self.redial.now()

    def interrupted(self) -> None:
        if self._outbox.can_cancel:
            self._outbox.cancel()
        elif self.asks:
            self._outbox.decide(is_yes=False)
        elif self._screen.draft:
            self._screen.draft = ""
        elif self._hint is None:
            self._hint = self._reactor.callLater(HINT, self._forget_hint)
        else:
            self._forget_hint()
            self._leave(ExitCode.INTERRUPTED)
        self._screen.refresh()

    def _forget_hint(self) -> None:
        hint, self._hint = self._hint, None
        if hint is not None:
            _stop(hint)
            self._screen.refresh()

    def input_ended(self) -> None:
        self._leave(ExitCode.ANSWERED)

    @property
    def asks(self) -> bool:
        return self._outbox.asks

    def live(self) -> Row:
        if self._hint is not None:
            return notice_row(_("press Ctrl-C again, or Ctrl-D, to leave"))
        if self._outbox.is_lost:
            return [] if self._screen.echoes else next_attempt(self._redial)
        if self.asks and not self._screen.echoes:
            return notice_row(question(self._outbox.unanswered))
        if self._outbox.open:
            return awaited_reply(self._outbox.open[0], self._session, self._reactor.seconds(), self._screen.columns)
        return []

    # ChatUser: from the server to the screen

    def replyReceived(self, message_id: int, text: str, last: bool) -> None:
        if text and not self._is_leaving:  # a user who leaves does not wait for the rest
            self._outbox.received(text)
        if last:
            self._outbox.answered()
            self._replied()
        self._screen.refresh()

    def faultReceived(self, message_id: int, fault: Fault) -> None:
        message = self._outbox.open[0]
        if not self._is_leaving:
            message.show_rest()
            show_error(self._screen, of_fault(fault, has_begun=message.has_begun))
        self._replied()
        self._screen.refresh()

    def _replied(self) -> None:
        message = self._outbox.close_first()
        if not self._is_leaving:
            message.show_rest()
            self._screen.show([[]])
            self._outbox.begin_turn()

    def resultReceived(self, message_id: int, items: list[Head | Piece | ServerEvent], last: bool) -> None:
        """This front end sends no API requests, and so receives no results."""

    # ChatUser: the end of a session

    def disconnected(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        if self._outbox.is_lost:  # an attempt has failed
            self._end(reason)
            return
        if self._prompting is not None and not self._is_leaving and is_passing(reason):
            self._lose(reason)
            self._end(reason)
            return
        if not self._is_leaving and self._outbox.show_incomplete():
            show_error(self._screen, _("the reply is incomplete"))
        if self._outbox.open and self.exit is ExitCode.ANSWERED and reason is not None:
            self.exit = ExitCode.FAULT
        self._outbox.stop()
        self._progress.stop()
        _stop(self._hint)
        # Messages about the end are displayed after the prompt is removed, or they would be erased with it.
        self.restore_terminal().addCallback(lambda _nothing: self._end(reason))

    def _lose(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        """Go on without a session until there is another one."""
        self._loss = of_loss(reason)
        if self._outbox.show_incomplete():
            self._loss = self._loss or _("reconnecting")
            show_error(self._screen, _("the reply is incomplete: {reason}").format(reason=self._loss))
        elif self._loss:
            show_notice(self._screen, self._loss)
        is_idle = not self._outbox.open and self._outbox.is_empty
        self._outbox.lost()
        timed_out = isinstance(reason, GoodbyeReceived) and reason.reason is Reason.IDLE
        self._redial.lost(is_lazy=timed_out and self._outbox.is_empty, is_idle=is_idle)
        self._screen.refresh()

    def _end(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        ended, self.ended = self.ended, Deferred()
        ended.callback(reason)

    def _leave(self, status: ExitCode) -> None:
        if self._is_leaving:
            return
        self._outbox.show_incomplete()
        if self._outbox.unanswered and status is ExitCode.ANSWERED:
            status = ExitCode.FAULT
        self._is_leaving = True
        self.exit = status
        self._outbox.leave()
        self._screen.close()
        if self._outbox.is_lost:
            _stop(self._hint)
            self._redial.cancel()
        elif not self._session.client.leaveQuietly().called:
            show_notice(
                self._screen,
                _("leaving with the server's last record, to hide the length of the reply; Ctrl-C leaves at once"),
            )

    def outputFailed(self, error: OSError) -> None:
        """The terminal is gone, and so is its input, which ends the prompt."""

    def restore_terminal(self) -> "Deferred[None]":
        """Remove the prompt; fires when the terminal has been restored, and the conversation has been written."""
        if self._prompting is None or self._prompting.done():
            return self._keeper.done()
        if self._screen.draft and not self._is_leaving:
            show_input(self._screen, self._screen.draft)  # it would be lost
        gone: Deferred[None] = Deferred()
        self._prompting.add_done_callback(lambda _future: gone.callback(None))
        self._screen.close()
        return gone.addCallback(lambda _nothing: self._keeper.done())


def _stop(call: IDelayedCall | None) -> None:
    if call is not None and call.active():
        call.cancel()

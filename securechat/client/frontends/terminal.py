"""The frontend on a terminal: a prompt that stays usable while a reply is displayed above it."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from securechat.client.backoff import LASTING_REASONS
from securechat.client.exit_codes import ExitCode
from securechat.client.explain import of_fault, of_loss
from securechat.client.protocol import ChatClient
from securechat.client.quiet import MAX_PENDING
from securechat.client.reactor import IClientReactor
from securechat.client.redial import Redial
from securechat.client.sanitize import is_text, sanitize, sanitize_line
from securechat.client.stderr import note
from securechat.client.terminal.commands import Command, UnknownCommandError, help_lines, key_lines, parse
from securechat.client.terminal.conversations import Saved
from securechat.client.terminal.export import Exporter
from securechat.client.terminal.keeping import Keeper
from securechat.client.terminal.lines import NOTICE, notice_row, shorten, show_error, show_input, show_notice
from securechat.client.terminal.markdown import Styler
from securechat.client.terminal.prose import indent_imitations
from securechat.client.terminal.screen import PROMPT, Screen
from securechat.client.terminal.session import MAX_NAME, Server, Session, greeting, info_lines
from securechat.client.terminal.styles import Row, Style, cut, plain
from securechat.client.terminal.transcript import Exchange, Transcript
from securechat.conversation import Turn
from securechat.errors import (
    Category,
    ConfigurationError,
    Fault,
    LocalProtocolError,
    RemoteProtocolError,
    SecureChatError,
)
from securechat.i18n import _
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.messages import Reason
from securechat.wire.shaping import Shaping

STALLED: Final = 3.0  # seconds without a record, after which the user is told
STALLED_TICKS: Final = 10  # if that is longer
YES: Final = ("", "y", "yes")  # send messages again whose replies were lost
NO: Final = ("n", "no")
HINT: Final = 5.0  # seconds in which a second Ctrl-C leaves
MAX_RESTORED: Final = 150  # columns about the conversation with which the user goes on
CUTS: Final = (Category.CUT, Category.TIMEOUT)  # how a session ends if the line drops


@dataclass(slots=True)
class _Open:
    """A message without a complete reply."""

    id: int
    exchange: Exchange
    since: float  # when it was sent
    styler: Styler
    is_echoed: bool = False  # whether it is on the screen already
    has_begun: bool = False  # whether part of its reply has arrived


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
        self._is_verbose = is_verbose
        self._transcript = Transcript()
        self._exporter = Exporter(reactor, screen, self._transcript, keeper)
        self._open: deque[_Open] = deque()  # the first one is being answered
        self._unanswered: list[str] = []  # messages whose replies were lost, until the user decides about them
        self._has_to_recall = False  # whether the server does not know the conversation yet
        self._queue: deque[Callable[[], object]] = deque()  # what is sent when the server accepts messages again
        self._cancelled = 0  # id of the message whose reply was cancelled last
        self._hint: IDelayedCall | None = None  # while a second Ctrl-C leaves
        self._clockwork: IDelayedCall | None = None  # draws the seconds
        self._connecting: IDelayedCall | None = None  # tells that connecting takes long
        self._is_leaving = False
        self._prompting: asyncio.Future[None] | None = None
        self._redial = Redial(reactor)
        self._loss = ""  # the notice about the last loss
        self._is_lost = False  # whether there is no session, after the first one

    @property
    def redial(self) -> Redial | None:
        return self._redial if self._is_lost and not self._is_leaving else None

    def restore_conversation(self, exchanges: Sequence[Saved]) -> None:
        """Go on with a conversation that was saved."""
        self._transcript.restore((exchange.user, exchange.robot) for exchange in exchanges)
        self._has_to_recall = bool(exchanges)

    # ChatUser

    def step(self, text: str) -> None:
        if self._connecting is None:
            self._connecting = self._reactor.callLater(STALLED, self._still_connecting)
        self._server.steps.append(text)
        if self._is_verbose:
            if self._prompting is None:
                note(text)
            else:
                show_notice(self._screen, text)

    def admitted(self, client: ChatClient, about: Admitted) -> None:
        self._stop(self._connecting)
        self._redial.succeeded()
        session = Session(client, about)
        if self._prompting is None or not session.has_ends_of(self._session):
            self._screen.show([greeting(self._server, session)])
        elif self._loss:
            show_notice(self._screen, _("reconnected"))
        self._session = session
        self._is_lost = False
        if self._prompting is None:
            self._show_restored()
            self._prompting = asyncio.ensure_future(self._screen.run(self))
            return
        self._has_to_recall = True
        if self._unanswered and self._screen.echoes:
            show_notice(self._screen, self._question())
        self._send_waiting()
        self._screen.refresh()

    def replyReceived(self, message_id: int, text: str, last: bool) -> None:
        message = self._open[0]
        if self._is_leaving:
            text = ""  # the user does not wait for it
        if text:
            self._begin_reply(message)
            self._transcript.extend(message.exchange, text)
            self._show_reply(message.styler.feed(text, self._screen.columns))
        if last:
            if message.has_begun:
                message.exchange.is_answered = True
                kept = self._keeper.add(message.exchange.question, message.exchange.reply)
                kept.addErrback(self._not_kept)
            self._replied(message)
        self._screen.refresh()

    def resultReceived(self, message_id: int, items: list[Head | Piece | ServerEvent], last: bool) -> None:
        """There is none, because this sends no API requests."""

    def faultReceived(self, message_id: int, fault: Fault) -> None:
        message = self._open[0]
        if not self._is_leaving:
            self._finish(message)
            show_error(self._screen, of_fault(fault, has_begun=message.has_begun))
        self._replied(message)
        self._screen.refresh()

    def disconnected(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        if self._is_lost:  # an attempt has failed
            self._end(reason)
            return
        if self._prompting is not None and not self._is_leaving and _may_go_on(reason):
            self._lose(reason)
            self._end(reason)
            return
        if self._open and self._open[0].has_begun and not self._is_leaving:
            self._finish(self._open[0])
            show_error(self._screen, _("the reply is incomplete"))
        if self._open and self.exit is ExitCode.ANSWERED and reason is not None:
            self.exit = ExitCode.FAULT
        self._stop(self._clockwork, self._hint, self._connecting)
        # Messages about the end are displayed after the prompt is removed, or they would be erased with it.
        self.restore_terminal().addCallback(lambda _nothing: self._end(reason))

    def _end(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        ended, self.ended = self.ended, Deferred()
        ended.callback(reason)

    def _lose(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        """Go on without a session until there is another one."""
        self._is_lost = True
        self._loss = of_loss(reason)
        if self._open and self._open[0].has_begun:
            self._finish(self._open[0])
            self._loss = self._loss or _("reconnecting")
            show_error(self._screen, _("the reply is incomplete: {reason}").format(reason=self._loss))
        elif self._loss:
            show_notice(self._screen, self._loss)
        self._unanswered += [message.exchange.question for message in self._open]
        self._open.clear()
        self._cancelled = 0
        is_idle = isinstance(reason, GoodbyeReceived) and reason.reason is Reason.IDLE
        self._redial.lost(is_lazy=is_idle and not self._queue)
        self._start_clockwork()
        self._screen.refresh()

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

    # ScreenUser

    def submitted(self, text: str) -> bool:
        self._forget_hint()
        if self.asks and text.strip().lower() in (*YES, *NO):
            self._decide(is_yes=text.strip().lower() in YES)
            return True
        if self.redial is not None and not text.strip():
            self.redial.now()
        try:
            entered = parse(text)
        except UnknownCommandError as error:
            show_error(self._screen, str(error))
            return False
        if isinstance(entered, Command):
            return self._execute(entered, text)
        entered = entered.rstrip() if "\n" in entered else entered.strip()
        return not entered or self._message(entered)

    def interrupted(self) -> None:
        if self._open and self._cancelled != self._open[0].id:
            self._cancelled = self._open[0].id
            self._session.client.cancel(self._cancelled)
        elif self.asks:
            self._decide(is_yes=False)
        elif self._screen.draft:
            self._screen.draft = ""
        elif self._hint is None:
            self._hint = self._reactor.callLater(HINT, self._forget_hint)
        else:
            self._forget_hint()
            self._leave(ExitCode.INTERRUPTED)
        self._screen.refresh()

    def input_ended(self) -> None:
        self._leave(ExitCode.ANSWERED)

    @property
    def asks(self) -> bool:
        return bool(self._unanswered) and not self._is_lost

    def live(self) -> Row:
        if self._hint is not None:
            return notice_row(_("press Ctrl-C again, or Ctrl-D, to leave"))
        if self._is_lost:
            return self._reconnecting()
        if self.asks and not self._screen.echoes:
            return notice_row(self._question())
        if not self._open:
            return []
        message = self._open[0]
        seconds = self._reactor.seconds() - message.since
        stalled = self._stalled(min(self._session.client.silence, seconds))
        if message.has_begun:
            row = self._robots(message.styler.unfinished)
            if not stalled:
                return row
            return [*cut(row, max(0, self._screen.columns - len(stalled) - 1)), (Style.NOTICE, f" {stalled}")]
        if self._cancelled == message.id:
            return notice_row(_("stopping the reply"))
        waiting = _("waiting for {robot}, {seconds} s; Ctrl-C stops it")
        waiting = waiting.format(robot=self._session.robot, seconds=int(seconds))
        return [(Style.NOTICE, stalled or NOTICE + waiting)]

    def _stalled(self, silence: float) -> str:
        """A notice if the server has sent nothing for so many seconds, although it sends at each tick."""
        limit = max(STALLED, STALLED_TICKS * self._session.about.tick / 1000)
        if self._session.about.shaping is Shaping.OFF or silence < limit:
            return ""
        return NOTICE + _("nothing has come for {seconds} s").format(seconds=int(silence))

    def _reconnecting(self) -> Row:
        """When the server is dialled next, and what was wrong the last time."""
        if self._redial.is_lazy or self._screen.echoes:
            return []
        seconds = self._redial.seconds
        text = _("reconnecting")
        if seconds is not None:
            text = _("reconnecting in {seconds} s; Enter tries now").format(seconds=math.ceil(seconds))
        problem = f" · {sanitize_line(self._redial.problem)}" if self._redial.problem else ""
        return notice_row(f"{text}{problem}")

    # After a session was lost

    def _question(self) -> str:
        """Whether messages whose replies were lost are sent again."""
        first = sanitize_line(self._unanswered[0])
        if len(self._unanswered) == 1:
            return _("send it again? Enter or y: yes, n or Ctrl-C: no · {text}").format(text=first)
        text = _("send {count} messages again? Enter or y: yes, n or Ctrl-C: no · {text}")
        return text.format(count=len(self._unanswered), text=first)

    def _decide(self, *, is_yes: bool) -> None:
        """Send the messages whose replies were lost again, or forget them; then what waits behind them."""
        messages, self._unanswered = self._unanswered, []
        if is_yes:
            self._queue.extendleft(partial(self._say, text) for text in reversed(messages))
        self._send_waiting()
        self._screen.refresh()

    def _send_waiting(self) -> None:
        if self._queue and not self._has_to_wait:
            self._session.client.room().addCallback(self._send_queued)

    @property
    def _has_to_wait(self) -> bool:
        """Whether nothing can be sent: there is no session, or the user decides about earlier messages first."""
        return not self._session.client.is_open or bool(self._unanswered)

    # Sending

    def _message(self, text: str) -> bool:
        """Send a message, or queue it; False if it cannot be sent."""
        if not is_text(text):
            show_error(self._screen, _("not sent: the message is not valid text in the encoding of the terminal"))
            return False
        if len(text.encode()) > self._session.about.max_message:
            self._refuse_long()
            return False
        if self._open or self._queue or self._has_to_wait:
            show_notice(self._screen, _("queued: {text}").format(text=shorten(text, MAX_NAME)))
        self._do_in_turn(partial(self._say, text), wait=len(self._open) >= MAX_PENDING)
        if self.redial is not None:
            self.redial.now()
        return True

    def _refuse_long(self) -> None:
        limit = self._session.about.max_message
        show_error(self._screen, _("message too long: the limit is {size} bytes").format(size=limit))

    def _do_in_turn(self, action: Callable[[], object], *, wait: bool = False) -> None:
        """Send something now, unless it has to wait; then what follows waits as well."""
        if not wait and not self._queue and not self._has_to_wait:
            action()
            return
        if not self._queue and not self._has_to_wait:
            self._session.client.room().addCallback(self._send_queued)
        self._queue.append(action)

    def _send_queued(self, room: int) -> None:
        for _place in range(min(room, len(self._queue))):
            self._queue.popleft()()
        if self._queue:
            self._session.client.room().addCallback(self._send_queued)
        self._screen.refresh()

    def _start_afresh(self) -> None:
        if not self._is_lost:
            self._session.client.startAfresh()
        self._transcript.start_afresh()
        self._keeper.start_afresh()
        show_notice(self._screen, _("started a new conversation"))

    def _say(self, text: str, recall: Sequence[Turn] | None = None) -> bool:
        """Send a message; whether it was possible. The first one of a session takes the conversation along."""
        if self._has_to_recall:
            recall = self._transcript.turns(self._session.about.max_message) or None
        try:
            message_id = self._session.client.say(text, recall)
        except LocalProtocolError:
            show_error(self._screen, _("not sent: too many retries; try again in a minute"))
            return False
        except ValueError:  # another server accepts less than the one for which the message was queued
            self._refuse_long()
            return False
        self._has_to_recall = False
        styler = Styler(keep_marks=not self._screen.is_styled)
        message = _Open(message_id, self._transcript.add(text), self._reactor.seconds(), styler)
        message.is_echoed = self._screen.echoes and not self._open
        self._open.append(message)
        if len(self._open) == 1:
            self._begin_turn(message)
        self._screen.refresh()
        return True

    def _leave(self, status: ExitCode) -> None:
        if self._is_leaving:
            return
        if self._open:
            self._finish(self._open[0])
        if self._unanswered and status is ExitCode.ANSWERED:
            status = ExitCode.FAULT
        self._is_leaving = True
        self.exit = status
        self._queue.clear()
        self._screen.close()
        if self._is_lost:
            self._stop(self._clockwork, self._hint)
            self._redial.cancel()
        elif not self._session.client.leaveQuietly().called:
            show_notice(
                self._screen,
                _("leaving with the server's last record, to hide the length of the reply; Ctrl-C leaves at once"),
            )

    # Commands

    def _execute(self, command: Command, text: str) -> bool:
        """Run a command; False if what is in the editor stays there."""
        if not self._screen.echoes:
            show_input(self._screen, text.strip())
        match command.name:
            case "help":
                self._show_lines(*help_lines(), "", *key_lines())
            case "new":
                self._forget_conversation()
            case "retry":
                return self._retry()
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

    def _forget_conversation(self) -> None:
        self._unanswered.clear()
        if self._is_lost and not self._queue:
            self._start_afresh()
        else:
            self._do_in_turn(self._start_afresh)

    def _retry(self) -> bool:
        """Send the last message again, without its reply in the conversation."""
        question = self._transcript.last_question()
        if question is None:
            show_error(self._screen, _("there is no message yet"))
        elif self.asks:
            self._decide(is_yes=True)
        elif self._open or self._queue or self._unanswered:
            show_error(self._screen, _("wait for the replies, or stop them with Ctrl-C"))
        else:
            self._do_in_turn(partial(self._say_again, question))
            if self.redial is not None:
                self.redial.now()
        return True

    def _say_again(self, question: str) -> None:
        exchange = self._transcript.take_back()
        recall = self._transcript.turns(self._session.about.max_message) if exchange is not None else None
        if not self._say(question, recall) and exchange is not None:
            exchange.is_answered = True
        elif exchange is not None:
            self._keeper.take_back()

    def _not_kept(self, failure: Failure) -> None:
        failure.trap(ConfigurationError)
        text = _("no longer saving the conversation: {problem}")
        show_error(self._screen, text.format(problem=failure.value))

    def _show_restored(self) -> None:
        """Say with which conversation the user goes on."""
        question = self._transcript.last_question()
        if question is not None and self._keeper.path is not None:
            text = _("continuing {name}; messages so far: {count}; the last one: {text}")
            text = text.format(name=self._keeper.path.stem, count=len(self._transcript.answered()), text=question)
            show_notice(self._screen, shorten(text, MAX_RESTORED))

    def _show_lines(self, *texts: str) -> None:
        for text in texts:
            show_notice(self._screen, text)

    # Displaying

    def _begin_turn(self, message: _Open) -> None:
        """The robot turns to a message."""
        message.since = self._reactor.seconds()
        if not message.is_echoed:
            show_input(self._screen, message.exchange.question)
        self._start_clockwork()

    def _start_clockwork(self) -> None:
        if self._clockwork is None:
            self._clockwork = self._reactor.callLater(1, self._tick)

    def _begin_reply(self, message: _Open) -> None:
        if not message.has_begun:
            message.has_begun = True
            name = self._session.robot if self._screen.is_styled else f"{self._session.robot}:"
            self._screen.show([[(Style.ROBOT, name)]])

    def _show_reply(self, rows: list[Row]) -> None:
        self._screen.show([self._robots(row) for row in rows])

    def _robots(self, row: Row) -> Row:
        """A row of the robot. Without styles, it must not look like ours, also where the terminal breaks it."""
        if self._screen.is_styled:
            return row
        text = sanitize(plain(row))  # as it will be displayed
        return [(Style.PLAIN, indent_imitations(text, PROMPT[0] + NOTICE[0], self._screen.columns + 1))]

    def _finish(self, message: _Open) -> None:
        """Display what remains of a reply."""
        self._show_reply(message.styler.end(self._screen.columns))

    def _replied(self, message: _Open) -> None:
        self._open.popleft()
        if self._is_leaving:
            return
        self._finish(message)
        self._screen.show([[]])
        if self._open:
            self._begin_turn(self._open[0])

    def _tick(self) -> None:
        """A second has passed."""
        self._clockwork = self._reactor.callLater(1, self._tick) if self._open or self._is_lost else None
        self._screen.refresh()

    def _forget_hint(self) -> None:
        hint, self._hint = self._hint, None
        if hint is not None:
            self._stop(hint)
            self._screen.refresh()

    def _still_connecting(self) -> None:
        text = _("still waiting for {name}; the last step was: {step}. Ctrl-C stops")
        show_notice(self._screen, text.format(name=self._server.name, step=self._server.steps[-1]))

    def _stop(self, *calls: IDelayedCall | None) -> None:
        for call in calls:
            if call is not None and call.active():
                call.cancel()


def _may_go_on(reason: SecureChatError | GoodbyeReceived | None) -> bool:
    """Whether another session may go better than one that has ended so. None: it was too old."""
    if isinstance(reason, GoodbyeReceived):
        return reason.reason not in LASTING_REASONS
    return reason is None or (isinstance(reason, RemoteProtocolError) and reason.category in CUTS)

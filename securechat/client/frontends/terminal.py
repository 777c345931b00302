"""The frontend on a terminal: a prompt that stays usable while a reply is displayed above it."""

import asyncio
import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from securechat.client.backoff import LASTING_REASONS
from securechat.client.exit_codes import ExitCode
from securechat.client.explain import of_fault, of_loss
from securechat.client.host_key_check import HostKeyCheck
from securechat.client.protocol import ChatClient
from securechat.client.quiet import MAX_PENDING
from securechat.client.reactor import IClientReactor
from securechat.client.redial import Redial
from securechat.client.sanitize import REPLACEMENT, is_text, sanitize, sanitize_line, without_controls
from securechat.client.stderr import note
from securechat.client.terminal.clipboard import copy_with_program, terminal_sequence
from securechat.client.terminal.commands import Command, UnknownCommandError, help_lines, parse
from securechat.client.terminal.conversations import Saved, is_name
from securechat.client.terminal.keeping import Keeper
from securechat.client.terminal.markdown import Styler
from securechat.client.terminal.prose import indent_imitations, wrap
from securechat.client.terminal.screen import PROMPT, Screen
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
from securechat.files import write_new
from securechat.i18n import _
from securechat.ssh import keys
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.messages import Reason
from securechat.wire.shaping import Shaping

NOTICE: Final = "-- "  # begins the client's own lines, as PROMPT begins the user's; no line of a robot begins so
STALLED: Final = 3.0  # seconds without a record, after which the user is told
STALLED_TICKS: Final = 10  # if that is longer
YES: Final = ("", "y", "yes")  # send messages again whose replies were lost
NO: Final = ("n", "no")
HINT: Final = 5.0  # seconds in which a second Ctrl-C leaves
SHORT_FINGERPRINT: Final = 11  # characters, SHA256: included
MAX_NAME: Final = 60  # columns of a name that the server has chosen
MAX_RESTORED: Final = 150  # columns about the conversation with which the user goes on
MAX_STEPS: Final = 16  # of handshakes that are kept for /info
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


@dataclass(frozen=True, slots=True)
class Server:
    """What the user knows the server by."""

    name: str
    host_key_check: HostKeyCheck
    steps: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_STEPS))  # of the handshake


class Terminal:
    """A frontend with a prompt. It stays when a session is lost, and goes on in the next one."""

    _client: ChatClient  # from the first `admitted` on; that of the latest session
    _about: Admitted  # as well
    _robot: str  # as well: its name

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
        self._names: tuple[str, str, bytes] | None = None  # of the user and the robot, and the server's key

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
                self._notice(text)

    def admitted(self, client: ChatClient, about: Admitted) -> None:
        self._client = client
        self._about = about
        self._stop(self._connecting)
        self._redial.succeeded()
        is_first, self._is_lost = not self._is_lost, False
        self._robot = _short(about.robot) or _("robot")
        before, self._names = self._names, (_short(about.user), self._robot, client.host_key)
        if self._names != before:
            self._screen.show([self._greeting()])
        elif self._loss:
            self._notice(_("reconnected"))
        if is_first:
            self._show_restored()
            self._prompting = asyncio.ensure_future(self._screen.run(self))
            return
        self._has_to_recall = True
        if self._unanswered and self._screen.echoes:
            self._notice(self._question())
        self._send_waiting()
        self._screen.refresh()

    def _greeting(self) -> Row:
        user = _short(self._about.user) or _("anonymous")
        verdict = _(self._server.host_key_check.verdict)
        fingerprint = keys.fingerprint(self._client.host_key)
        hint = _("/help for help")
        return [
            (Style.NOTICE, f"{self._server.name} · {fingerprint[:SHORT_FINGERPRINT]}… {verdict} · "),
            (Style.USER, user),
            (Style.NOTICE, " → "),
            (Style.ROBOT, self._robot),
            (Style.NOTICE, f" · {hint}"),
        ]

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
            self._notice(of_fault(fault, has_begun=message.has_begun), Style.ERROR)
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
            self._notice(_("the reply is incomplete"), Style.ERROR)
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
            self._notice(_("the reply is incomplete: {reason}").format(reason=self._loss), Style.ERROR)
        elif self._loss:
            self._notice(self._loss)
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
            self._echo(self._screen.draft)  # it would be lost
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
            self._notice(str(error), Style.ERROR)
            return False
        if isinstance(entered, Command):
            return self._execute(entered, text)
        entered = entered.rstrip() if "\n" in entered else entered.strip()
        return not entered or self._message(entered)

    def interrupted(self) -> None:
        if self._open and self._cancelled != self._open[0].id:
            self._cancelled = self._open[0].id
            self._client.cancel(self._cancelled)
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
            return [(Style.NOTICE, NOTICE + _("press Ctrl-C again, or Ctrl-D, to leave"))]
        if self._is_lost:
            return self._reconnecting()
        if self.asks and not self._screen.echoes:
            return [(Style.NOTICE, NOTICE + self._question())]
        if not self._open:
            return []
        message = self._open[0]
        seconds = self._reactor.seconds() - message.since
        stalled = self._stalled(min(self._client.silence, seconds))
        if message.has_begun:
            row = self._robots(message.styler.unfinished)
            if not stalled:
                return row
            return [*cut(row, max(0, self._screen.columns - len(stalled) - 1)), (Style.NOTICE, f" {stalled}")]
        if self._cancelled == message.id:
            return [(Style.NOTICE, NOTICE + _("stopping the reply"))]
        waiting = _("waiting for {robot}, {seconds} s; Ctrl-C stops it")
        waiting = waiting.format(robot=self._robot, seconds=int(seconds))
        return [(Style.NOTICE, stalled or NOTICE + waiting)]

    def _stalled(self, silence: float) -> str:
        """A notice if the server has sent nothing for so many seconds, although it sends at each tick."""
        limit = max(STALLED, STALLED_TICKS * self._about.tick / 1000)
        if self._about.shaping is Shaping.OFF or silence < limit:
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
        return [(Style.NOTICE, f"{NOTICE}{text}{problem}")]

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
            self._client.room().addCallback(self._send_queued)

    @property
    def _has_to_wait(self) -> bool:
        """Whether nothing can be sent: there is no session, or the user decides about earlier messages first."""
        return not self._client.is_open or bool(self._unanswered)

    # Sending

    def _message(self, text: str) -> bool:
        """Send a message, or queue it; False if it cannot be sent."""
        if not is_text(text):
            self._notice(_("not sent: the message is not valid text in the encoding of the terminal"), Style.ERROR)
            return False
        if len(text.encode()) > self._about.max_message:
            limit = self._about.max_message
            self._notice(_("message too long: the limit is {size} bytes").format(size=limit), Style.ERROR)
            return False
        if self._open or self._queue or self._has_to_wait:
            self._notice(_("queued: {text}").format(text=plain(cut([(Style.PLAIN, sanitize_line(text))], MAX_NAME))))
        self._do_in_turn(partial(self._say, text), wait=len(self._open) >= MAX_PENDING)
        if self.redial is not None:
            self.redial.now()
        return True

    def _do_in_turn(self, action: Callable[[], object], *, wait: bool = False) -> None:
        """Send something now, unless it has to wait; then what follows waits as well."""
        if not wait and not self._queue and not self._has_to_wait:
            action()
            return
        if not self._queue and not self._has_to_wait:
            self._client.room().addCallback(self._send_queued)
        self._queue.append(action)

    def _send_queued(self, room: int) -> None:
        for _place in range(min(room, len(self._queue))):
            self._queue.popleft()()
        if self._queue:
            self._client.room().addCallback(self._send_queued)
        self._screen.refresh()

    def _start_afresh(self) -> None:
        if not self._is_lost:
            self._client.startAfresh()
        self._transcript.start_afresh()
        self._keeper.start_afresh()
        self._notice(_("started a new conversation"))

    def _say(self, text: str, recall: Sequence[Turn] | None = None) -> bool:
        """Send a message; whether it was possible. The first one of a session takes the conversation along."""
        if self._has_to_recall:
            recall = self._transcript.turns(self._about.max_message) or None
        try:
            message_id = self._client.say(text, recall)
        except LocalProtocolError:
            self._notice(_("not sent: too many retries; try again in a minute"), Style.ERROR)
            return False
        except ValueError:  # another server accepts less than the one for which the message was queued
            self._notice(_("message too long: the limit is {size} bytes").format(size=self._about.max_message))
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
        elif not self._client.leaveQuietly().called:
            self._notice(
                _("leaving with the server's last record, to hide the length of the reply; Ctrl-C leaves at once")
            )

    # Commands

    def _execute(self, command: Command, text: str) -> bool:
        """Run a command; False if what is in the editor stays there."""
        if not self._screen.echoes:
            self._echo(text.strip())
        match command.name:
            case "help":
                self._show_help()
            case "new":
                self._forget_conversation()
            case "retry":
                return self._retry()
            case "copy":
                self._copy(int(command.argument or 1))
            case "save":
                self._save(command.argument)
            case "edit":
                self._screen.draft = self._transcript.last_question() or ""
                self._screen.edit()
                return False
            case "info":
                self._show_info()
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
            self._notice(_("there is no message yet"), Style.ERROR)
        elif self.asks:
            self._decide(is_yes=True)
        elif self._open or self._queue or self._unanswered:
            self._notice(_("wait for the replies, or stop them with Ctrl-C"), Style.ERROR)
        else:
            self._do_in_turn(partial(self._say_again, question))
            if self.redial is not None:
                self.redial.now()
        return True

    def _say_again(self, question: str) -> None:
        exchange = self._transcript.take_back()
        recall = self._transcript.turns(self._about.max_message) if exchange is not None else None
        if not self._say(question, recall) and exchange is not None:
            exchange.is_answered = True
        elif exchange is not None:
            self._keeper.take_back()

    def _copy(self, number: int) -> None:
        reply = self._transcript.reply(number)
        if reply is None:
            self._notice(_("there is no such reply"), Style.ERROR)
            return
        text = without_controls(reply)
        copying = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), copy_with_program, text, os.environ)
        copying.addCallback(self._copied, text)

    def _copied(self, is_done: bool, text: str) -> None:
        sequence = None if is_done else terminal_sequence(text)
        if not is_done and sequence is None:
            self._notice(_("the reply is too long for the terminal's clipboard; use /save"), Style.ERROR)
            return
        if sequence is not None:
            self._screen.write_sequence(sequence)
        self._notice(_("copied {count} characters").format(count=len(text)))
        hidden = sanitize(text).count(REPLACEMENT) - text.count(REPLACEMENT)
        if hidden:
            self._notice(_("{count} of them are invisible").format(count=hidden), Style.ERROR)

    def _save(self, name: str) -> None:
        if is_name(name):
            self._keep(name)
            return
        path = Path(name).expanduser().absolute()
        if not path.parent.is_dir():
            self._notice(_("{path}: no such directory").format(path=path.parent), Style.ERROR)
            return
        data = self._transcript.as_markdown(self._robot).encode(errors="replace")
        saving = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), write_new, path, data, 0o600)
        saving.addCallback(lambda _nothing: self._notice(_("saved in {path}").format(path=path)))
        saving.addErrback(self._not_saved, path)

    def _keep(self, name: str) -> None:
        """Keep the conversation from now on."""
        exchanges = [Saved(exchange.question, exchange.reply) for exchange in self._transcript.answered()]
        saving = self._keeper.save_as(name, exchanges)
        saving.addCallback(lambda path: self._notice(_("saved in {path}; later messages are added").format(path=path)))
        saving.addErrback(self._not_kept_as, name)

    def _not_kept_as(self, failure: Failure, name: str) -> None:
        failure.trap(ConfigurationError, FileExistsError)
        error = failure.value
        is_there = isinstance(error, FileExistsError)
        self._notice(_("{name}: a conversation of this name exists").format(name=name) if is_there else str(error))

    def _not_kept(self, failure: Failure) -> None:
        failure.trap(ConfigurationError)
        text = _("no longer saving the conversation: {problem}")
        self._notice(text.format(problem=failure.value), Style.ERROR)

    def _show_restored(self) -> None:
        """Say with which conversation the user goes on."""
        question = self._transcript.last_question()
        if question is not None and self._keeper.path is not None:
            text = _("continuing {name}; messages so far: {count}; the last one: {text}")
            text = text.format(name=self._keeper.path.stem, count=len(self._transcript.answered()), text=question)
            self._notice(plain(cut([(Style.PLAIN, sanitize_line(text))], MAX_RESTORED)))

    def _not_saved(self, failure: Failure, path: Path) -> None:
        failure.trap(ConfigurationError, FileExistsError)
        error = failure.value
        is_there = isinstance(error, FileExistsError)
        self._notice(_("{path}: file exists").format(path=path) if is_there else str(error), Style.ERROR)

    def _show_help(self) -> None:
        texts = [
            *help_lines(),
            "",
            _("Enter sends; Alt-Enter or Ctrl-J begins a new line; what you paste is one message."),
            _("Ctrl-C stops the reply, then clears the line, then leaves; Ctrl-D leaves; Ctrl-Z suspends."),
            _("Ctrl-R searches earlier messages; Ctrl-X Ctrl-E opens $EDITOR; Ctrl-L clears the screen."),
            _("A message that begins with a slash: //text. One that begins with a space is not kept in the history."),
        ]
        for text in texts:
            self._notice(text)

    def _show_info(self) -> None:
        about = self._about
        shaping = _("{mode}, a tick every {tick} ms, {width} records a tick").format(
            mode=about.shaping.name.lower(), tick=about.tick, width=about.width
        )
        for name, text in (
            (_("server"), self._server.name),
            (_("software"), sanitize_line(about.software)),
            (_("host key"), keys.fingerprint(self._client.host_key)),
            (_("user"), _short(about.user) or _("anonymous")),
            (_("robot"), self._robot),
            (_("longest message"), _("{size} bytes").format(size=about.max_message)),
            (_("shaping"), shaping),
        ):
            self._notice(_("{name}: {value}").format(name=name, value=text))
        for step in self._server.steps:
            self._notice(step)

    # Displaying

    def _begin_turn(self, message: _Open) -> None:
        """The robot turns to a message."""
        message.since = self._reactor.seconds()
        if not message.is_echoed:
            self._echo(message.exchange.question)
        self._start_clockwork()

    def _start_clockwork(self) -> None:
        if self._clockwork is None:
            self._clockwork = self._reactor.callLater(1, self._tick)

    def _begin_reply(self, message: _Open) -> None:
        if not message.has_begun:
            message.has_begun = True
            name = self._robot if self._screen.is_styled else f"{self._robot}:"
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

    def _echo(self, text: str) -> None:
        """What the user has entered, in the place where it belongs."""
        first, *others = sanitize(text).split("\n")
        rows: list[Row] = [[(Style.USER, PROMPT), (Style.BOLD, first)]]
        rows += [[(Style.PLAIN, " " * len(PROMPT)), (Style.BOLD, line)] for line in others]
        self._screen.show(rows)

    def _notice(self, text: str, style: Style = Style.NOTICE) -> None:
        """A line of our own."""
        self._screen.show(wrap([(style, NOTICE)], [(style, sanitize_line(text))], self._screen.columns))

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
        self._notice(text.format(name=self._server.name, step=self._server.steps[-1]))

    def _stop(self, *calls: IDelayedCall | None) -> None:
        for call in calls:
            if call is not None and call.active():
                call.cancel()


def _may_go_on(reason: SecureChatError | GoodbyeReceived | None) -> bool:
    """Whether another session may go better than one that has ended so. None: it was too old."""
    if isinstance(reason, GoodbyeReceived):
        return reason.reason not in LASTING_REASONS
    return reason is None or (isinstance(reason, RemoteProtocolError) and reason.category in CUTS)


def _short(name: str) -> str:
    """A name that the server has chosen, on one line and not too long."""
    return plain(cut([(Style.PLAIN, sanitize_line(name))], MAX_NAME))

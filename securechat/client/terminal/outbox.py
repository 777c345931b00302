"""The user's messages, from the prompt to the end of their replies."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from securechat.client.quiet import MAX_PENDING
from securechat.client.sanitize import is_text
from securechat.client.terminal.keeping import Keeper
from securechat.client.terminal.lines import shorten, show_error, show_notice
from securechat.client.terminal.live import SecondHand
from securechat.client.terminal.open_message import OpenMessage
from securechat.client.terminal.screen import Screen
from securechat.client.terminal.session import Session
from securechat.client.terminal.transcript import Transcript
from securechat.conversation import Turn
from securechat.errors import ConfigurationError, LocalProtocolError
from securechat.i18n import _

MAX_QUOTED: Final = 60  # columns of a message in the notice that it was queued


class Outbox:
    """Sends messages at once if it can, and otherwise in turn.

    A message waits in the queue until the server accepts it. While there is no session, and until the user has decided
    about the messages whose replies were lost, everything waits.
    """

    _session: Session  # the latest one, from the first `admitted` on

    def __init__(self, screen: Screen, clock: IReactorTime, transcript: Transcript, keeper: Keeper) -> None:
        self.open: deque[OpenMessage] = deque()  # sent, without a complete reply; the first one is being answered
        self.unanswered: list[str] = []  # messages whose replies were lost, until the user decides about them
        self.is_lost = False  # whether there is no session, after the first one
        self.has_to_recall = False  # whether the server does not know the conversation yet
        self._queue: deque[Callable[[], object]] = deque()  # what is done when the server accepts messages again
        self._awaits_room = False  # whether the queue is waiting for the server to accept messages
        self._screen = screen
        self._clock = clock
        self._transcript = transcript
        self._keeper = keeper
        self._seconds = SecondHand(clock, screen)  # while a reply or a session is awaited

    # Sessions

    def admitted(self, session: Session) -> None:
        """A session has begun."""
        self._session = session
        self.has_to_recall = self.has_to_recall or self.is_lost
        self.is_lost = False
        self._seconds.stop()
        self._send_waiting()

    def lost(self) -> None:
        """The session has ended, and another one will follow."""
        self.is_lost = True
        self._awaits_room = False  # that of the session which has ended never comes
        self.unanswered += [message.exchange.question for message in self.open]
        self.open.clear()
        self._seconds.start()

    def leave(self) -> None:
        """The user leaves: send nothing more."""
        self._queue.clear()
        if self.is_lost:
            self.stop()

    def stop(self) -> None:
        """The last session has ended, or there will be no other."""
        self._seconds.stop()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is queued."""
        return not self._queue

    # Sending

    def send(self, text: str) -> bool:
        """Send a message, or queue it; False if it cannot be sent."""
        if not is_text(text):
            show_error(self._screen, _("not sent: the message is not valid text in the encoding of the terminal"))
            return False
        if len(text.encode()) > self._session.about.max_message:
            self._refuse_long()
            return False
        if self.open or self._queue or self._has_to_wait:
            show_notice(self._screen, _("queued: {text}").format(text=shorten(text, MAX_QUOTED)))
        self._do_in_turn(partial(self._say, text), wait=len(self.open) >= MAX_PENDING)
        return True

    def retry(self) -> bool:
        """Send the last message again, without its reply in the conversation; False if that is not possible now."""
        question = self._transcript.last_question()
        if question is None:
            show_error(self._screen, _("there is no message yet"))
            return False
        if self.asks:
            self.decide(is_yes=True)
            return True
        if self.open or self._queue or self.unanswered:
            show_error(self._screen, _("wait for the replies, or stop them with Ctrl-C"))
            return False
        self._do_in_turn(partial(self._say_again, question))
        return True

    def start_afresh(self) -> None:
        """Start a new conversation after what is queued. Messages whose replies were lost are not sent again."""
        self.unanswered.clear()
        if self.is_lost and not self._queue:
            self._start_afresh()
        else:
            self._do_in_turn(self._start_afresh)

    @property
    def asks(self) -> bool:
        """Whether the user has to decide about the messages whose replies were lost."""
        return bool(self.unanswered) and not self.is_lost

    def decide(self, *, is_yes: bool) -> None:
        """Send the messages whose replies were lost again, or forget them; then what waits behind them."""
        messages, self.unanswered = self.unanswered, []
        if is_yes:
            self._queue.extendleft(partial(self._say, text) for text in reversed(messages))
        self._send_waiting()
        self._screen.refresh()

    # The open messages

    @property
    def can_cancel(self) -> bool:
        """Whether a reply is awaited or incomplete, and has not been cancelled."""
        return bool(self.open) and not self.open[0].is_cancelled

    def cancel(self) -> None:
        """Cancel the reply to the first open message."""
        self.open[0].is_cancelled = True
        self._session.client.cancel(self.open[0].id)

    def received(self, text: str) -> None:
        """A part of the reply to the first open message has arrived; it is not empty."""
        self._transcript.extend(self.open[0].exchange, text)
        self.open[0].show(text)

    def answered(self) -> None:
        """The reply to the first open message is complete. It is part of the conversation, unless it is empty."""
        message = self.open[0]
        if message.has_begun:
            message.exchange.is_answered = True
            kept = self._keeper.add(message.exchange.question, message.exchange.reply)
            kept.addErrback(self._not_kept)

    def _not_kept(self, failure: Failure) -> None:
        failure.trap(ConfigurationError)
        text = _("no longer saving the conversation: {problem}")
        show_error(self._screen, text.format(problem=failure.value))

    def show_incomplete(self) -> bool:
        """Display all that has arrived of an incomplete reply; False if there is none."""
        if not self.open or not self.open[0].has_begun:
            return False
        self.open[0].show_rest()
        return True

    def close_first(self) -> OpenMessage:
        """Remove the first open message: its reply is complete, or it has failed."""
        message = self.open.popleft()
        if not self.open:
            self._seconds.stop()
        return message

    def begin_turn(self, *, is_echoed: bool = False) -> None:
        """The robot turns to the first open message, if there is one; `is_echoed` if the user has just typed it."""
        if self.open:
            self.open[0].begin_turn(self._clock.seconds(), is_echoed=is_echoed)
            self._seconds.start()

    # The queue

    @property
    def _has_to_wait(self) -> bool:
        """Whether nothing can be sent: there is no session, or the user decides about earlier messages first."""
        return not self._session.client.is_open or bool(self.unanswered)

    def _do_in_turn(self, action: Callable[[], object], *, wait: bool = False) -> None:
        """Do something now, unless it has to wait; then what follows waits as well."""
        if not wait and not self._queue and not self._has_to_wait:
            action()
            return
        self._queue.append(action)
        self._send_waiting()

    def _send_waiting(self) -> None:
        if self._queue and not self._has_to_wait and not self._awaits_room:
            self._awaits_room = True
            self._session.client.room().addCallback(self._send_queued)

    def _send_queued(self, room: int) -> None:
        self._awaits_room = False
        for _place in range(min(room, len(self._queue))):
            self._queue.popleft()()
        self._send_waiting()
        self._screen.refresh()

    # What is done in turn

    def _say(self, text: str, recall: Sequence[Turn] | None = None) -> bool:
        """Send a message; whether it was possible. The first one of a session takes the conversation along."""
        if self.has_to_recall:
            recall = self._transcript.turns(self._session.about.max_message) or None
        try:
            message_id = self._session.client.say(text, recall)
        except LocalProtocolError:
            show_error(self._screen, _("not sent: too many retries; try again in a minute"))
            return False
        except ValueError:  # another server accepts less than the one for which the message was queued
            self._refuse_long()
            return False
        self.has_to_recall = False
        exchange = self._transcript.add(text)
        self.open.append(OpenMessage(message_id, exchange, self._screen, self._session.robot))
        if len(self.open) == 1:
            self.begin_turn(is_echoed=self._screen.echoes)
        self._screen.refresh()
        return True

    def _refuse_long(self) -> None:
        limit = self._session.about.max_message
        show_error(self._screen, _("message too long: the limit is {size} bytes").format(size=limit))

    def _say_again(self, question: str) -> None:
        exchange = self._transcript.take_back()
        recall = self._transcript.turns(self._session.about.max_message) if exchange is not None else None
        if not self._say(question, recall) and exchange is not None:
            exchange.is_answered = True
        elif exchange is not None:
            self._keeper.take_back()

    def _start_afresh(self) -> None:
        if not self.is_lost:
            self._session.client.startAfresh()
        self._transcript.start_afresh()
        self._keeper.start_afresh()
        show_notice(self._screen, _("started a new conversation"))

"""The live row above the prompt: what the user waits for, and for how long."""

import math
from collections.abc import Sequence
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securechat.client.redial import Redial
from securechat.client.sanitize import sanitize_line
from securechat.client.terminal.lines import NOTICE, notice_row
from securechat.client.terminal.open_message import OpenMessage
from securechat.client.terminal.screen import Screen
from securechat.client.terminal.session import Session
from securechat.client.terminal.styles import Row, Style, cut
from securechat.i18n import _
from securechat.wire.shaping import Shaping

STALLED: Final = 3.0  # seconds without a record, after which the user is told
STALLED_TICKS: Final = 10  # if that is longer


def awaited_reply(message: OpenMessage, session: Session, now: float, columns: int) -> Row:
    """The incomplete row of a reply, or how long the user has been waiting for the reply.

    Both give notice of a server that sends nothing.
    """
    seconds = now - message.since
    stalled = _stalled(session, min(session.client.silence, seconds))
    if message.has_begun:
        if not stalled:
            return message.unfinished
        return [*cut(message.unfinished, max(0, columns - len(stalled) - 1)), (Style.NOTICE, f" {stalled}")]
    if message.is_cancelled:
        return notice_row(_("stopping the reply"))
    if stalled:
        return [(Style.NOTICE, stalled)]
    text = _("waiting for {robot}, {seconds} s; Ctrl-C stops it")
    return notice_row(text.format(robot=session.robot, seconds=int(seconds)))


def _stalled(session: Session, silence: float) -> str:
    """A notice if the server has sent nothing for so many seconds, although it sends at each tick; or nothing."""
    limit = max(STALLED, STALLED_TICKS * session.about.tick / 1000)
    if session.about.shaping is Shaping.OFF or silence < limit:
        return ""
    return NOTICE + _("nothing has come for {seconds} s").format(seconds=int(silence))


def next_attempt(redial: Redial) -> Row:
    """When the client connects next, and why the last attempt failed; empty if it waits for a message."""
    if redial.is_lazy:
        return []
    seconds = redial.seconds
    text = _("reconnecting")
    if seconds is not None:
        text = _("reconnecting in {seconds} s; Enter tries now").format(seconds=math.ceil(seconds))
    problem = f" · {sanitize_line(redial.problem)}" if redial.problem else ""
    return notice_row(f"{text}{problem}")


def question(messages: Sequence[str]) -> str:
    """Whether to send messages again whose replies were lost."""
    first = sanitize_line(messages[0])
    if len(messages) == 1:
        return _("send it again? Enter or y: yes, n or Ctrl-C: no · {text}").format(text=first)
    text = _("send {count} messages again? Enter or y: yes, n or Ctrl-C: no · {text}")
    return text.format(count=len(messages), text=first)


class SecondHand:
    """Draws the live row each second while it counts seconds."""

    def __init__(self, clock: IReactorTime, screen: Screen) -> None:
        self._clock = clock
        self._screen = screen
        self._next: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to draw, unless that has begun already."""
        if self._next is None:
            self._next = self._clock.callLater(1, self._tick)

    def stop(self) -> None:
        """Draw no longer."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _tick(self) -> None:
        self._next = self._clock.callLater(1, self._tick)
        self._screen.refresh()

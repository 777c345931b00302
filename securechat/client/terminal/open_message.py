"""A message without a complete reply, and the part of the reply that is on the screen."""

from securechat.client.sanitize import sanitize
from securechat.client.terminal.lines import NOTICE, show_input
from securechat.client.terminal.markdown import Styler
from securechat.client.terminal.prose import indent_imitations
from securechat.client.terminal.screen import PROMPT, Screen
from securechat.client.terminal.styles import Row, Style, plain
from securechat.client.terminal.transcript import Exchange


class OpenMessage:
    """A message that was sent. The robot turns to it when the replies before it are complete."""

    def __init__(self, message_id: int, exchange: Exchange, screen: Screen, robot: str) -> None:
        """`robot` is the name above the reply."""
        self.id = message_id
        self.exchange = exchange
        self.since = 0.0  # when the robot turned to it
        self.has_begun = False  # whether part of its reply has arrived
        self.is_cancelled = False
        self._screen = screen
        self._robot = robot
        self._styler = Styler(keep_marks=not screen.is_styled)

    def begin_turn(self, now: float, *, is_echoed: bool) -> None:
        """The robot turns to the message, which is displayed unless the screen still has it as it was typed."""
        self.since = now
        if not is_echoed:
            show_input(self._screen, self.exchange.question)

    def show(self, text: str) -> None:
        """Display a part of the reply, as far as its rows are complete."""
        if not self.has_begun:
            self.has_begun = True
            name = self._robot if self._screen.is_styled else f"{self._robot}:"
            self._screen.show([[(Style.ROBOT, name)]])
        self._show(self._styler.feed(text, self._screen.columns))

    def show_rest(self) -> None:
        """Display what remains of the reply: it is complete, or no more of it is displayed."""
        self._show(self._styler.end(self._screen.columns))

    @property
    def unfinished(self) -> Row:
        """The row of the reply that is not complete."""
        return self._robots(self._styler.unfinished)

    def _show(self, rows: list[Row]) -> None:
        self._screen.show([self._robots(row) for row in rows])

    def _robots(self, row: Row) -> Row:
        """A row of the robot. Without styles, it must not look like one of the user's or the client's.

        This holds also for the rows into which the terminal breaks it.
        """
        if self._screen.is_styled:
            return row
        text = sanitize(plain(row))  # as it will be displayed
        return [(Style.PLAIN, indent_imitations(text, PROMPT[0] + NOTICE[0], self._screen.columns + 1))]

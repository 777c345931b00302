"""What the terminal frontend needs of a screen, and what a screen needs of it."""

from collections.abc import Sequence
from typing import Final, Protocol

from securechat.client.terminal.styles import Row

PROMPT: Final = "> "


class ScreenUser(Protocol):
    """The callbacks of a screen."""

    def submitted(self, text: str) -> bool:
        """The user has entered text. False if it stays in the editor."""

    def interrupted(self) -> None:
        """The user has typed Ctrl-C."""

    def input_ended(self) -> None:
        """The user has typed Ctrl-D, or the terminal has gone. Nothing more is entered."""

    @property
    def asks(self) -> bool:
        """Whether the live row asks a question; ``y`` or ``n`` alone is submitted at once then."""

    def live(self) -> Row:
        """The row above the prompt; empty if there is none."""


class Screen(Protocol):
    """A terminal with a prompt."""

    is_styled: bool  # whether rows are displayed with their styles
    echoes: bool  # whether what the user has entered is still displayed afterwards
    draft: str  # what the user is typing

    @property
    def columns(self) -> int:
        """The width."""

    def show(self, rows: Sequence[Row]) -> None:
        """Print rows above the prompt."""

    def write_sequence(self, sequence: str) -> None:
        """Send an escape sequence of ours."""

    def refresh(self) -> None:
        """The live row has changed."""

    def edit(self) -> None:
        """Edit the draft with the user's editor."""

    async def run(self, user: ScreenUser) -> None:
        """Display the prompt until `close` is called."""

    def close(self) -> None:
        """Remove the prompt; then `run` returns."""

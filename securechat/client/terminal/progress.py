"""What the user is told while the client connects."""

from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securechat.client.stderr import note
from securechat.client.terminal.lines import show_notice
from securechat.client.terminal.screen import Screen
from securechat.client.terminal.session import Server
from securechat.i18n import _

SLOW: Final = 3.0  # seconds after the first step, after which the user is told what the client waits for


class Progress:
    """Records the steps of the handshake. They are displayed if the user has asked for them, or if it takes long."""

    def __init__(self, screen: Screen, clock: IReactorTime, server: Server, *, is_verbose: bool) -> None:
        self._screen = screen
        self._clock = clock
        self._server = server
        self._is_verbose = is_verbose
        self._slow: IDelayedCall | None = None

    def step(self, text: str, *, has_prompt: bool) -> None:
        """A step is complete. Without a prompt, it is displayed on standard error."""
        if self._slow is None:
            self._slow = self._clock.callLater(SLOW, self._is_slow)
        self._server.steps.append(text)
        if self._is_verbose:
            if has_prompt:
                show_notice(self._screen, text)
            else:
                note(text)

    def stop(self) -> None:
        """The server has admitted the client, or the connection has ended."""
        if self._slow is not None and self._slow.active():
            self._slow.cancel()

    def _is_slow(self) -> None:
        text = _("still waiting for {name}; the last step was: {step}. Ctrl-C stops")
        show_notice(self._screen, text.format(name=self._server.name, step=self._server.steps[-1]))

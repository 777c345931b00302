"""Holding a client: it is not read while too many of its messages wait for their turn."""

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securechat.errors import Category
from securechat.server.deadlines import Deadlines
from securechat.transport import IChatTransport, peer_has_closed

LOOK_INTERVAL: Final = 5.0  # seconds after which the server notices that a client that is not read has gone


class Reading:
    """Whether a client is read. While it is not, Twisted would not notice that it has gone, so this looks after it."""

    __slots__ = ("_abort", "_call", "_clock", "_deadlines", "_read", "_transport", "is_held")

    def __init__(
        self,
        transport: IChatTransport,
        deadlines: Deadlines,
        clock: IReactorTime,
        read: Callable[[bytes], None],
        abort: Callable[[Category], None],
    ) -> None:
        """`read` is called with no bytes when the client is read again, for the input that came before.

        `abort` is called if the client has gone.
        """
        self.is_held = False
        self._transport = transport
        self._deadlines = deadlines
        self._clock = clock
        self._read = read
        self._abort = abort
        self._call: IDelayedCall | None = None  # while it is held: to look after it, or to read it again

    def hold(self, until: Deferred[None] | None) -> None:
        """Do not read the client until the Deferred fires, or `resume` is called."""
        self.is_held = True
        self._deadlines.pause()
        self._transport.pauseProducing()
        if until is not None:
            until.addCallback(self._resume_soon)
        self._call = self._clock.callLater(LOOK_INTERVAL, self._look_for_peer)

    def resume(self) -> None:
        """Read the client again if it is held."""
        if self.is_held:
            self.stop()
            self.is_held = False
            self._deadlines.resume()
            self._transport.resumeProducing()
            self._read(b"")

    def stop(self) -> None:
        """Look no more whether the client is there."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    def close(self) -> None:
        """The connection is closed. Drop what refers to it, so that it is freed without the garbage collector."""
        self.stop()
        self.is_held = False
        del self._read, self._abort

    def _look_for_peer(self) -> None:
        if peer_has_closed(self._transport):
            self._abort(Category.CUT)
        else:
            self._call = self._clock.callLater(LOOK_INTERVAL, self._look_for_peer)

    def _resume_soon(self, _fired: None) -> None:
        """In a turn of the reactor of its own: what was read might stop the task that is sending records just now."""
        self.stop()
        self._call = self._clock.callLater(0, self.resume)

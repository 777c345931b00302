"""The frontend that serves the local API: from the first session with the server to the end of the program."""

import errno
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort

from securechat.client.api.address import ServeAddress
from securechat.client.api.door import DoorSettings
from securechat.client.api.environment import is_logged, load_key, show_environment
from securechat.client.api.pool import SessionPool
from securechat.client.api.report import Report, Style
from securechat.client.api.session import ApiSession
from securechat.client.api.site import Site, make_site
from securechat.client.connecting import Connector
from securechat.client.exit_codes import ExitCode
from securechat.client.output import Output
from securechat.client.protocol import Signer
from securechat.client.reactor import IClientReactor
from securechat.client.settings import ClientSettings
from securechat.client.stderr import drop
from securechat.errors import ConfigurationError
from securechat.files import make_private_directory
from securechat.i18n import _
from securechat.stale_socket import remove_stale_socket

STOP_TIME: Final = 60.0  # seconds for the running requests, after a signal
LEAVE_TIME: Final = 20.0  # seconds more for leaving quietly; service managers wait for 90 in all
_OWNER_ONLY: Final = 0o600


async def serve(
    reactor: IClientReactor,
    options: ClientSettings,
    connector: Connector,
    signers: Sequence[Signer | None],
    output: Output,
) -> ExitCode:
    """Serve the API until a signal cancels this, twice if requests are running. SecureChatError if it cannot start."""
    assert options.serve is not None
    key = load_key(options)
    report = Report(_style(options), reactor, lambda: f"{pool.size}/{options.serve_sessions}")
    output.hold(report.hold)
    line = _Line(connector, report)
    pool = SessionPool(line.open_session, options.serve_sessions, reactor, line.changed)
    try:
        pool.add(await connector.try_keys(signers, partial(line.try_key, pool)))
        door = DoorSettings(key, frozenset(options.serve_origins), options.serve_any_address)
        try:
            port = _listen(reactor, options.serve, make_site(pool, door, report, reactor))
        except ConfigurationError:
            await pool.leave(at_once=True)
            raise
        report.note(
            _("serving the API of {name} on {address}").format(
                name=options.destination.local_name, address=options.serve
            )
        )
        show_environment(options, key, is_logged=is_logged(os.environ))
        try:
            await Deferred[None]()
        except CancelledError:
            await _stop(reactor, port, pool, report)
        return ExitCode.ANSWERED
    finally:
        report.close()


def _style(options: ClientSettings) -> Style:
    if options.quiet:
        return Style.NOTHING
    return Style.STATUS if sys.stderr.isatty() else Style.LINES


class _Line:
    """Opens sessions with the key that the server accepted first, and says whether there is a connection."""

    def __init__(self, connector: Connector, report: Report) -> None:
        self._connector = connector
        self._report = report
        self._signer: Signer | None = None

    async def try_key(self, pool: SessionPool, signer: Signer | None) -> ApiSession:
        """A session, if the server accepts this key; only of this first one the steps are told."""
        self._signer = signer
        session = await self.open_session(pool)
        self._connector.tell = self._connector.step = drop
        return session

    async def open_session(self, pool: SessionPool) -> ApiSession:
        """A session; SecureChatError. The user is asked nothing."""
        session = ApiSession(pool, lambda text: self._connector.step(text))
        client = await self._connector.connect(self._signer, session)
        try:
            return await session.opened
        except CancelledError:
            client.leave()
            raise

    def changed(self, problem: str | None) -> None:
        """There is no connection to the server, because of this problem; None if there is one again."""
        if problem is None:
            self._report.note(_("connected to the server again"))
        else:
            self._report.complain(_("no connection to the server: {problem}").format(problem=problem))


def _listen(reactor: IClientReactor, address: ServeAddress, factory: Site) -> IListeningPort:
    """Listen; ConfigurationError."""
    try:
        if address.path is None:
            return reactor.listenTCP(address.port, factory, interface=address.host)
        make_private_directory(address.path.parent)
        remove_stale_socket(address.path)
        if os.path.lexists(address.path):  # Twisted would leave its lock behind
            raise CannotListenError(None, address.path, OSError(errno.EADDRINUSE, ""))
        mask = os.umask(0o777 & ~_OWNER_ONLY)  # Twisted sets the mode only after others could have connected
        try:
            return reactor.listenUNIX(str(address.path), factory, mode=_OWNER_ONLY, wantPID=True)
        finally:
            os.umask(mask)
    except CannotListenError as error:
        raise ConfigurationError(
            _("--serve {address}: {problem}").format(address=address, problem=_in_words(error))
        ) from None


def _in_words(error: CannotListenError) -> str:
    number = getattr(error.socketError, "errno", None)
    if not isinstance(number, int) or number == errno.EADDRINUSE:  # without a number: another program has the lock
        return _("the address is in use; is another securechat running?")
    return os.strerror(number)


async def _stop(reactor: IClientReactor, port: IListeningPort, pool: SessionPool, report: Report) -> None:
    """Let the running requests end, and leave; CancelledError if another signal cuts this short."""
    port.stopListening()  # is not waited for: a second signal would cancel it
    try:
        idle = pool.stop()
        if not idle.called:
            report.note(_("waiting for the running requests; another Ctrl-C stops at once"))
            await _within(STOP_TIME, idle, reactor)
        gone = pool.leave()
        if not gone.called:
            report.note(
                _("Leaving with the server's last record, to hide the length of the reply. Ctrl-C leaves at once.")
            )
            await _within(LEAVE_TIME, gone, reactor)
    except CancelledError:
        pool.leave(at_once=True)
        raise


async def _within(seconds: float, event: "Deferred[None]", reactor: IClientReactor) -> None:
    """Wait for an event, but not longer."""
    try:
        await event.addTimeout(seconds, reactor)
    except TimedOut:
        return

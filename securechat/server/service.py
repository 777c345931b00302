"""The daemon as a Twisted service: it listens, reloads authorized keys on SIGHUP, and ends all sessions on exit."""

import os
import signal
import sys
from collections.abc import Generator, Sequence
from ipaddress import ip_network
from typing import Any

from twisted.application import strports
from twisted.application.service import IServiceCollection, MultiService
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.usage import UsageError

from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.server.bookkeeping import Bookkeeping
from securechat.server.garbage import GarbageCollection
from securechat.server.haproxy import PREFIX, ProxiedFactory
from securechat.server.hardening import forbid_dumps
from securechat.server.ledger.interface import Ledger
from securechat.server.log_file import LogFile
from securechat.server.log_limit import ILogReactor, limit_log
from securechat.server.protocol import ChatServerFactory
from securechat.server.sd_notify import ServiceManager
from securechat.server.signals import call_on_signal
from securechat.server.startup import CheckedEndpoint, PublicEndpoint, describe, raise_file_limit, warn_of_root
from securechat.server.users import AuthorizedUsers
from securechat.ssh import keys

log = Logger()


class IServerReactor(IReactorCore, ILogReactor):
    """The reactor's interfaces that the daemon uses."""

    def close() -> None:
        """Make none of the calls that are pending, and release the timer."""


class StartError(SystemExit, Exception):
    """The daemon cannot start; the argument is the reason.

    As a SystemExit it ends ``twistd -n`` with one line and status 1 instead of a traceback. As an Exception it lets a
    daemonized twistd report to its parent and remove its PID file.
    """


def _refusal(problem: str) -> StartError:
    """The error to raise once logging has begun, printed."""
    text = f"securechat: {problem}"
    print(text, file=sys.__stderr__)  # by now sys.stderr is the log, where the exception will go, too
    return StartError(text)


class ChatService(MultiService):
    """Runs a ChatServerFactory on its endpoints, and closes its robot at the end."""

    def __init__(
        self,
        factory: ChatServerFactory,
        endpoints: Sequence[str],
        reactor: IServerReactor,
        log_file: LogFile | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """`endpoints` are Twisted's server endpoint strings; UsageError if one is invalid.

        Without a ledger, the usage of users is forgotten when the daemon ends.
        """
        super().__init__()
        self.log_file = log_file  # None if an observer of Twisted's writes the log
        self._factory = factory
        self._reactor = reactor
        self._garbage = GarbageCollection(factory.clock, lambda: factory.beat.is_idle)
        self.bookkeeping = Bookkeeping(factory.accounts, ledger, factory.clock) if ledger is not None else None
        self._manager = ServiceManager(reactor, os.environ)
        proxies = [ip_network(network) for network in factory.settings.proxy_from]
        for endpoint in endpoints:
            reached = ProxiedFactory(factory, proxies) if endpoint.startswith(PREFIX) else factory
            try:
                service = strports.service(endpoint.removeprefix(PREFIX), reached, reactor)
            except Exception as error:  # whatever the parser of this kind of endpoint raises
                problem = describe(error)
                if isinstance(error, LookupError) and endpoint.removeprefix(PREFIX).startswith("systemd:"):
                    problem = _("systemd passed no such socket; start the daemon by its socket unit")
                raise UsageError(_("--listen {endpoint}: {error}").format(endpoint=endpoint, error=problem)) from None
            service.endpoint = CheckedEndpoint(service.endpoint, endpoint)
            if not factory.users.has_list:
                service.endpoint = PublicEndpoint(service.endpoint)
            service.setServiceParent(self)

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Become part of twistd's application, which takes its log from there."""
        super().setServiceParent(parent)
        if self.log_file is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.log_file)

    def privilegedStartService(self) -> None:
        try:
            super().privilegedStartService()
        except ConfigurationError as error:
            raise _refusal(str(error)) from None

    def startService(self) -> None:
        forbid_dumps()  # again: a change of the user may have allowed them
        warn_of_root()
        raise_file_limit(self._factory.settings)
        users = self._factory.users
        if isinstance(users, AuthorizedUsers):
            try:
                users.load()  # with --uid, it was read by another user before
            except ConfigurationError as error:
                raise _refusal(str(error)) from None
        self._unlimit_log = limit_log(self._reactor)
        self._garbage.start()
        super().startService()
        if self.bookkeeping is not None:
            self.bookkeeping.start()
        call_on_signal(self._reactor, signal.SIGHUP, self.reload)
        call_on_signal(self._reactor, signal.SIGINT, self._stop_reactor, "SIGINT")
        if self.log_file is not None:
            call_on_signal(self._reactor, signal.SIGUSR1, self.log_file.reopen)
        # The reactor installs a handler for SIGTERM when it starts to run.
        self._reactor.callWhenRunning(call_on_signal, self._reactor, signal.SIGTERM, self._stop_reactor, "SIGTERM")
        self._reactor.callWhenRunning(self._manager.ready)
        log.info(
            "host key {fingerprint}, robot {robot}",
            fingerprint=keys.fingerprint(self._factory.identity.host_key.blob),
            robot=self._factory.robot.name,
        )

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        self._manager.stopping(self._factory.settings.drain)
        yield super().stopService()
        yield self._factory.stop()
        yield self._factory.robot.close()
        if self.bookkeeping is not None:
            yield self.bookkeeping.stop()
        self._garbage.stop()
        self._manager.close()
        self._unlimit_log()
        self._reactor.close()

    def _stop_reactor(self, name: str) -> None:
        """Stop the daemon on the signal of this name; on a second one, wait neither for replies nor for clients."""
        try:
            self._reactor.stop()
            log.info("received {signal}, shutting down", signal=name)
        except ReactorNotRunning:
            log.info("received {signal} again, closing all connections", signal=name)
            self._factory.abort()

    def reload(self) -> None:
        """Reload the authorized keys, and end the sessions of users whose key was removed."""
        users = self._factory.users
        self._manager.reloading()
        if isinstance(users, AuthorizedUsers):
            users.reload()
            # Even if the file is unchanged: a handshake may already have read it.
            self._factory.drop_unauthorized()
        self._manager.ready()

"""The daemon as a Twisted service: it listens, reloads authorized keys on SIGHUP, and ends all sessions on exit."""

import os
import signal
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

from twisted.application.service import IServiceCollection, MultiService
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.usage import UsageError

from securechat.errors import ConfigurationError
from securechat.i18n import in_english
from securechat.robots.interface import IRobot
from securechat.server.bookkeeping import Bookkeeping
from securechat.server.factory import ChatServerFactory
from securechat.server.garbage import GarbageCollection
from securechat.server.haproxy import PREFIX, ProxiedFactory
from securechat.server.hardening import forbid_dumps
from securechat.server.keys_command import IProgramReactor
from securechat.server.ledger.interface import KICK, RELOAD
from securechat.server.ledger.opening import Shared
from securechat.server.limits import UserLimits
from securechat.server.log_file import LogFile
from securechat.server.log_limit import ILogReactor, limit_log
from securechat.server.sd_notify import ServiceManager
from securechat.server.settings import ServerSettings
from securechat.server.signals import call_on_signal
from securechat.server.startup import (
    CheckedEndpoint,
    PrivateEndpoint,
    PublicEndpoint,
    check_public,
    make_listener,
    raise_file_limit,
    warn_of_root,
)
from securechat.server.users import Users
from securechat.server.wall_clock import WallClock
from securechat.ssh import keys

log = Logger()


class IServerReactor(IReactorCore, IProgramReactor, ILogReactor):
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


class Configuration(NamedTuple):
    """What a reload replaces."""

    settings: ServerSettings
    users: Users
    robot: IRobot
    user_limits: Mapping[str, UserLimits]  # of users with limits of their own, by name


class ChatService(MultiService):
    """Runs a ChatServerFactory on its endpoints, and closes its robot at the end."""

    def __init__(
        self,
        factory: ChatServerFactory,
        endpoints: Sequence[str],
        reactor: IServerReactor,
        shared: Shared,
        log_file: LogFile | None = None,
        configure: Callable[[], Configuration] | None = None,
    ) -> None:
        """`endpoints` are Twisted's server endpoint strings; UsageError if one is invalid.

        `configure` reads the configuration file again; ConfigurationError or UsageError if it cannot be used.
        """
        super().__init__()
        self.log_file = log_file  # None if an observer of Twisted's writes the log
        self._factory = factory
        self._configure = configure
        self._problem = ""  # of the configuration file, when it was read last
        self._reactor = reactor
        self._garbage = GarbageCollection(factory.clock, lambda: factory.beat.is_idle)
        self._notices = shared.notices
        connected = factory.connected_users if shared.notices is not None else None
        self._bookkeeping = Bookkeeping(factory.accounts, shared.ledger, factory.clock, connected)
        self._wall_clock = WallClock(factory.clock)
        self._manager = ServiceManager(reactor, os.environ)
        proxies = [ip_network(network) for network in factory.settings.proxy_from]
        for endpoint in endpoints:
            reached = ProxiedFactory(factory, proxies) if endpoint.startswith(PREFIX) else factory
            service = make_listener(endpoint, reached, reactor)
            check_public(endpoint, factory.settings)
            service.endpoint = CheckedEndpoint(service.endpoint, endpoint)
            if not factory.users.has_list:
                service.endpoint = PublicEndpoint(service.endpoint)
            service.setServiceParent(self)
        # For operators. They are stopped last, so that they can watch the sessions end.
        self.operators = MultiService()
        settings = factory.settings
        if settings.metrics is not None:
            self._add_metrics(settings.metrics, is_public=settings.metrics_public)
        if settings.control is not None:
            self._add_control(settings.control)

    def _add_metrics(self, endpoint: str, *, is_public: bool) -> None:
        # Not loaded without the option: twisted.web and prometheus_client take a while.
        from securechat.server.metrics import registry_of
        from securechat.server.metrics_site import MetricsSite, Pages

        factory = self._factory
        registry = registry_of(factory, lambda: bool(self._problem), self._lines_lost)
        pages = Pages(registry, lambda: not factory.is_stopping, factory.clock)
        service = make_listener(endpoint, MetricsSite(pages, factory.clock), self._reactor, "--metrics")
        if not is_public:
            service.endpoint = PrivateEndpoint(service.endpoint)
        service.endpoint = CheckedEndpoint(service.endpoint, endpoint, f"--metrics {endpoint}")
        service.setServiceParent(self.operators)

    def _lines_lost(self) -> int:
        return self.log_file.lines_lost if self.log_file is not None else 0

    def _add_control(self, path: Path) -> None:
        from securechat.server.control import ControlFactory
        from securechat.server.control_commands import Controls

        endpoint = f"unix:{quoteStringArgument(str(path))}:mode=600"
        send = self._notices.send if self._notices is not None else None
        controls = Controls(self._factory, self.reload, self.drain, self._bookkeeping.usage, send)
        control = ControlFactory(controls, self._factory.clock)
        service = make_listener(endpoint, control, self._reactor, "--control")
        service.endpoint = CheckedEndpoint(service.endpoint, endpoint, f"--control {path}")
        service.setServiceParent(self.operators)

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Become part of twistd's application, which takes its log from there."""
        super().setServiceParent(parent)
        if self.log_file is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.log_file)

    def privilegedStartService(self) -> None:
        try:
            super().privilegedStartService()
            self.operators.privilegedStartService()
        except ConfigurationError as error:
            raise _refusal(str(error)) from None

    def startService(self) -> None:
        forbid_dumps()  # again: a change of the user may have allowed them
        warn_of_root()
        raise_file_limit(self._factory.settings)
        try:
            self._factory.users.load()  # with --uid, it was read by another user before
        except ConfigurationError as error:
            raise _refusal(str(error)) from None
        self._unlimit_log = limit_log(self._reactor)
        self._garbage.start()
        self._wall_clock.start()
        super().startService()
        self._bookkeeping.start()
        if self._notices is not None:
            self._notices.start(self._act)
        self.operators.startService()
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
        successor = self._factory.identity.next_host_key
        if successor is not None:
            log.info("next host key {fingerprint}", fingerprint=keys.fingerprint(successor.blob))
        self._warn_of_unknown_users()

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        self._manager.stopping(self._factory.settings.drain)
        yield super().stopService()
        yield self._factory.stop()
        yield self.operators.stopService()
        yield self._factory.robot.close()
        if self._notices is not None:
            self._notices.stop()
        yield self._bookkeeping.stop()
        self._garbage.stop()
        self._wall_clock.stop()
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

    def drain(self) -> None:
        """Stop the daemon as the first SIGTERM does; no effect if it is already stopping."""
        with suppress(ReactorNotRunning):
            self._reactor.stop()
            log.info("received the drain command, shutting down")

    def _act(self, action: str, name: str) -> None:
        """Carry out what another daemon was told. Newer versions may know other actions."""
        if action == KICK:
            log.info("another daemon has ended the sessions of {user}", user=name)
            self._factory.kick(name)
        elif action == RELOAD:
            self.reload()

    def _warn_of_unknown_users(self) -> None:
        """Log which users have limits of their own but no key, because a name may be misspelt."""
        users = self._factory.users
        if users.has_unlisted:
            return
        unknown = self._factory.accounts.limits.keys() - set(map(users.name_of, users.names))
        if unknown:
            log.warn("limits of users without an authorized key: {names}", names=", ".join(sorted(unknown)))

    @property
    def problem(self) -> str:
        """Why the configuration file or a file of keys cannot be used at present; empty if all can."""
        return self._problem or self._factory.users.problem

    def reload(self) -> str | None:
        """Read the configuration and the keys again; the problem, if there is one: then the previous ones stay.

        Only the sessions of users end who are not authorized any more.
        """
        self._manager.reloading()
        if self._configure is not None:
            self._reload_configuration(self._configure)
        self._factory.users.reload()
        # Even if the file is unchanged: a handshake may already have read it.
        self._factory.drop_unauthorized()
        self._manager.ready()
        return self.problem or None

    def _reload_configuration(self, configure: Callable[[], Configuration]) -> None:
        try:
            with in_english():
                self._factory.configure(*configure())
        except (ConfigurationError, UsageError) as error:
            self._problem = str(error)
            log.error("{error}; keeping the previous configuration", error=self._problem)
        else:
            self._problem = ""
            log.info("reloaded the configuration")
            self._warn_of_unknown_users()

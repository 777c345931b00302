"""What the daemon checks when it starts, and what it warns of."""

import errno
import os
import re
import resource
import socket
from ipaddress import ip_address
from typing import Final

from twisted.application import strports
from twisted.application.internet import StreamServerEndpointService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorCore, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.usage import UsageError
from zope.interface import implementer

from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.server.addresses import place_of
from securechat.server.haproxy import PREFIX
from securechat.server.message_memory import SHARES
from securechat.server.settings import ServerSettings
from securechat.server.stale_files import parts_of, remove_stale_socket_of

log = Logger()

_INTERFACE: Final = re.compile(r":interface=((?:\\.|[^:\\])*)")

# Connections that can wait to be accepted. When more arrive at once, the kernel drops some, and their clients try again
# after a second. Twisted's default of 50 is too low: after a restart, all clients reconnect together.
BACKLOG: Final = 4096  # the most that Linux allows by default
_WITH_BACKLOG: Final = ("tcp", "tcp6", "unix")  # whose third part is the backlog

SPARE_FILES: Final = 64  # open files besides those of clients: the log, listening sockets, connections of robots


def warn_of_root() -> None:
    """Warn if the daemon keeps the privileges of root."""
    if os.geteuid() == 0:
        log.warn("running as root; run it as another user, for example with twistd --uid and --gid")


def raise_file_limit(settings: ServerSettings) -> None:
    """Allow as many open files as the sessions need; warn if the hard limit is lower."""
    needed = settings.max_sessions + settings.max_handshakes + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < needed:
        log.warn(
            "at most {limit} files can be open (RLIMIT_NOFILE), but --max-sessions {sessions} needs {needed}",
            limit=limit,
            sessions=settings.max_sessions,
            needed=needed,
        )


def is_unix(endpoint: str) -> bool:
    """Whether clients reach an endpoint at the address of a UNIX socket. Behind haproxy, it is an Internet address."""
    kind, *parts = endpoint.split(":")
    return kind == "unix" or (kind == "systemd" and not {"UNIX", "domain=UNIX"}.isdisjoint(parts))


def is_local(endpoint: str) -> bool:
    """Whether only this machine can reach an endpoint, as far as its text says."""
    if is_unix(endpoint.removeprefix(PREFIX)):
        return True
    interface = _INTERFACE.search(endpoint)
    try:
        return interface is not None and is_loopback(interface[1].replace("\\", ""))
    except ValueError:
        return False


def check_public(endpoint: str, settings: ServerSettings) -> None:
    """UsageError if everyone on the network would be admitted without ``--anyone``."""
    if not settings.has_users and not settings.anyone and not is_local(endpoint):
        raise UsageError(
            _(
                "--listen {endpoint}: open to everyone who can reach it; use --authorized-keys FILE, "
                "or --anyone to admit everyone"
            ).format(endpoint=endpoint)
        )


def find_contradiction(settings: ServerSettings) -> tuple[str, str] | None:
    """The attribute of a setting that others forbid, and the problem."""
    if not settings.names and any(map(is_unix, settings.listen)):
        return "listen", _("a UNIX socket has no host name: use --name [HOST]:PORT")
    if settings.revoked_keys is not None and not settings.has_users:
        return "revoked_keys", _("has no effect without authorized keys: anyone can make another key")
    if settings.ledger_password_file is not None and settings.ledger is None:
        return "ledger_password_file", _("has no effect without --ledger")
    share = settings.max_buffered // SHARES
    if settings.message_limit > share:
        return "max_message", _("expected at most an eighth of --max-buffered, {share}").format(share=share)
    return None


def make_listener(
    text: str, factory: IProtocolFactory, reactor: IReactorCore, option: str = "--listen"
) -> StreamServerEndpointService:
    """The service of an endpoint of an option; UsageError if the text is invalid."""
    try:
        return strports.service(_with_backlog(text.removeprefix(PREFIX)), factory, reactor)
    except Exception as error:  # each kind of endpoint has a parser of its own, which may raise anything
        problem = describe(error)
        if isinstance(error, LookupError) and text.removeprefix(PREFIX).startswith("systemd:"):
            problem = _("systemd passed no such socket; start the daemon by its socket unit")
        raise UsageError(
            _("{option} {endpoint}: {error}").format(option=option, endpoint=text, error=problem)
        ) from None


def _with_backlog(text: str) -> str:
    """The same endpoint with a backlog of BACKLOG, unless it names one."""
    kind, *parts = parts_of(text)
    positional = [part for part in parts if "=" not in part]
    if kind not in _WITH_BACKLOG or len(positional) > 2 or any(part.startswith("backlog=") for part in parts):
        return text
    return f"{text}:backlog={BACKLOG}"


def describe(error: BaseException) -> str:
    """Why an endpoint is invalid or does not listen, without Python's error numbers."""
    if isinstance(error, CannotListenError):
        # Twisted says "Cannot acquire lock" if another process listens on a UNIX socket.
        error = error.socketError if isinstance(error.socketError, Exception) else OSError(errno.EADDRINUSE, "")
    if isinstance(error, socket.gaierror):  # its numbers are not those of other errors
        return error.strerror or str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    if isinstance(error, TypeError):  # from Twisted's function for this kind of endpoint
        return _("too many, too few or unknown parts between colons; a colon within a part is written as \\:")
    return str(error)


@implementer(IStreamServerEndpoint)
class CheckedEndpoint:
    """An endpoint of an option; listening fails with a ConfigurationError that names it."""

    def __init__(self, endpoint: IStreamServerEndpoint, text: str, option: str = "") -> None:
        """`text` is the endpoint as a string, `option` what the operator wrote, by default ``--listen`` with it."""
        self._endpoint = endpoint
        self._text = text
        self._option = option or f"--listen {text}"

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        remove_stale_socket_of(self._text)
        return self._endpoint.listen(protocolFactory).addErrback(self._fail)

    def _fail(self, failure: Failure) -> IListeningPort:
        assert failure.value is not None
        problem = describe(failure.value)
        raise ConfigurationError(_("{option}: {problem}").format(option=self._option, problem=problem)) from None


@implementer(IStreamServerEndpoint)
class PrivateEndpoint:
    """An endpoint for this machine; listening fails with a ValueError if other machines can reach its address."""

    def __init__(self, endpoint: IStreamServerEndpoint) -> None:
        self._endpoint = endpoint

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        return self._endpoint.listen(protocolFactory).addCallback(self._check)

    @staticmethod
    def _check(port: IListeningPort) -> IListeningPort:
        address = port.getHost()
        if isinstance(address, UNIXAddress) or (
            isinstance(address, IPv4Address | IPv6Address) and is_loopback(address.host)
        ):
            return port
        port.stopListening()
        raise ValueError(_("other machines can reach it; add :interface=127.0.0.1, or use --metrics-public"))


def is_loopback(host: str) -> bool:
    """Whether an IP address, of the form that Twisted gives it, is reachable from this machine only."""
    return ip_address(host.partition("%")[0]).is_loopback


@implementer(IStreamServerEndpoint)
class PublicEndpoint:
    """An endpoint for everyone, with a warning if its address is reachable from other machines."""

    def __init__(self, endpoint: IStreamServerEndpoint) -> None:
        self._endpoint = endpoint

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        return self._endpoint.listen(protocolFactory).addCallback(self._warn)

    @staticmethod
    def _warn(port: IListeningPort) -> IListeningPort:
        address = port.getHost()
        is_public = isinstance(address, IPv4Address | IPv6Address) and not is_loopback(address.host)
        if is_public:
            log.warn(
                "{address} is open to everyone who can reach it; to restrict it, use --authorized-keys",
                address=place_of(address),
            )
        return port

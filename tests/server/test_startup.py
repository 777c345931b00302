"""Warnings at startup. Those that need a process are in tests.programs.test_daemon."""

import errno
import os
import resource
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from securechat.server.settings import ServerSettings
from securechat.server.startup import (
    PublicEndpoint,
    describe,
    is_local,
    is_unix,
    make_listener,
    raise_file_limit,
    warn_of_root,
)
from securechat.tap import Options
from tests.harness.logs import logged_lines

reactor: Any = installed


@implementer(IStreamServerEndpoint)
class FakeEndpoint:
    """Listens on an address, or says that it does."""

    def __init__(self, address: IAddress) -> None:
        self._address = address

    def listen(self, protocolFactory: Any) -> "Deferred[Any]":
        return succeed(self)

    def getHost(self) -> IAddress:
        return self._address


class DescribeTests(SynchronousTestCase):
    """Why an endpoint does not listen."""

    def test_words(self) -> None:
        """Errors of the system are described in its words, without their numbers."""
        in_use = OSError(errno.EADDRINUSE, "in words that depend on the language")
        unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        for error, words in (
            (CannotListenError(None, 8080, in_use), "Address already in use"),
            (CannotListenError(None, "/run/chat", "Cannot acquire lock"), "Address already in use"),
            (CannotListenError("eth0", 1, unknown), "Name or service not known"),
            (PermissionError(errno.EACCES, "", "/run/chat.lock"), "Permission denied"),
            (OSError("AF_UNIX path too long"), "AF_UNIX path too long"),
            (
                TypeError("_parseTCP() got multiple values for argument 'interface'"),
                "too many, too few or unknown parts between colons; a colon within a part is written as \\:",
            ),
            (OverflowError("bind(): port must be 0-65535."), "bind(): port must be 0-65535."),
        ):
            self.assertEqual(describe(error), words)

    def test_unix(self) -> None:
        """Endpoints that need --name are those at whose address there is no host name."""
        for endpoint in ("unix:/run/chat", "unix:address=/x", "systemd:domain=UNIX:index=0", "systemd:UNIX:name=chat"):
            self.assertTrue(is_unix(endpoint), endpoint)
            self.assertFalse(is_unix(f"haproxy:{endpoint}"))
        for endpoint in ("tcp:8080", "systemd:domain=INET6:index=0", "tcp:8080:interface=UNIX", ""):
            self.assertFalse(is_unix(endpoint), endpoint)

    def test_local(self) -> None:
        """Loopback addresses and UNIX sockets are for this machine only; everything unclear counts as public."""
        for endpoint in (
            *("tcp:8080:interface=127.0.0.1", "tcp:8080:backlog=9:interface=127.9.9.9", "unix:/run/chat"),
            *(r"tcp6:8080:interface=\:\:1", "haproxy:tcp:8080:interface=127.0.0.1", "haproxy:unix:/run/chat"),
        ):
            self.assertTrue(is_local(endpoint), endpoint)
        for endpoint in (
            *("tcp:8080", "tcp6:8080", "tcp:8080:interface=10.0.0.1", r"tcp6:8080:interface=\:\:"),
            *("tcp:8080:interface=", "tcp:8080:interface=localhost", "systemd:INET:index=0", "haproxy:tcp:8080"),
        ):
            self.assertFalse(is_local(endpoint), endpoint)


class NameTests(SynchronousTestCase):
    """Names of the server."""

    def test_zone(self) -> None:
        """A link-local address in --name loses its zone, which clients do not send."""
        options = Options()
        options.parseOptions(["--name", "[FE80:0::1%eth0]:80"])
        self.assertEqual(options.settings.names, ("[fe80::1]:80",))


class PublicEndpointTests(SynchronousTestCase):
    """Endpoints for everyone."""

    def test_warns(self) -> None:
        """The log warns of each address that other machines can reach, and of no other."""
        logged = logged_lines(self)
        for address, is_public in (
            (IPv4Address("TCP", "127.0.0.1", 8080), False),
            (IPv4Address("TCP", "127.1.2.3", 8080), False),
            (IPv6Address("TCP", "::1", 8080), False),
            (UNIXAddress(b"/run/chat"), False),
            (IPv4Address("TCP", "0.0.0.0", 8080), True),
            (IPv4Address("TCP", "192.0.2.1", 8080), True),
            (IPv6Address("TCP", "::", 8080), True),
            (IPv6Address("TCP", "fe80::1%eth0", 8080), True),
        ):
            logged.clear()
            endpoint = FakeEndpoint(address)
            self.assertIs(self.successResultOf(PublicEndpoint(endpoint).listen(Factory())), endpoint)
            self.assertEqual(["is open to everyone who can reach it" in line for line in logged], [True] * is_public)


class BacklogTests(TestCase):
    """Connections that wait to be accepted."""

    def connect(self, number: int, target: "str | tuple[str, int]") -> int:
        """Connect up to so many clients while the server does nothing; how many could."""
        for connected in range(number):
            client = socket.socket(socket.AF_UNIX if isinstance(target, str) else socket.AF_INET)
            self.addCleanup(client.close)
            client.settimeout(0.5)
            try:
                client.connect(target)
            except OSError:  # among them a timeout
                return connected
        return number

    async def test_many(self) -> None:
        """Hundreds of clients that connect at the same time need not try again after a second."""
        path = str(Path(tempfile.mkdtemp()) / "socket")
        self.addCleanup(shutil.rmtree, Path(path).parent)
        for text in ("tcp:0:interface=127.0.0.1", "tcp:0:127.0.0.1", f"unix:{path}", f"haproxy:unix:{path}:mode=600"):
            port = await make_listener(text, Factory(), reactor).endpoint.listen(Factory())
            address = port.getHost()
            target = path if "unix" in text else (address.host, address.port)
            self.assertEqual(self.connect(200, target), 200, text)
            await port.stopListening()

    async def test_chosen(self) -> None:
        """An operator may choose a number."""
        for text in ("tcp:0:interface=127.0.0.1:backlog=5", "tcp:0:127.0.0.1:5"):
            port = await make_listener(text, Factory(), reactor).endpoint.listen(Factory())
            self.assertLess(self.connect(10, ("127.0.0.1", port.getHost().port)), 9, text)
            await port.stopListening()


class WarningTests(SynchronousTestCase):
    """Root, and the limit on open files."""

    def setUp(self) -> None:
        self.logged: list[Any] = []
        observer = cast(ILogObserver, self.logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def warnings(self) -> list[str]:
        """What was logged since the last call, all of it warnings."""
        for event in self.logged:
            self.assertIs(event["log_level"], LogLevel.warn)
        lines = [event["log_format"].format(**event) for event in self.logged]
        self.logged.clear()
        return lines

    def test_root(self) -> None:
        """A daemon that runs as root is warned of, and no other."""
        for user, words in ((0, ["running as root"]), (1000, [])):
            self.patch(os, "geteuid", lambda user=user: user)
            warn_of_root()
            self.assertEqual([line.partition(";")[0] for line in self.warnings()], words)

    def test_files(self) -> None:
        """The soft limit is raised to what sessions, handshakes and 64 others need, as far as the hard one allows."""
        settings = ServerSettings(max_sessions=1000, max_handshakes=30)
        infinite = resource.RLIM_INFINITY
        changed: list[Any] = []
        self.patch(resource, "setrlimit", lambda kind, limits: changed.append((kind, limits)))
        for soft, hard, new, warned in (
            (1093, 4096, (1094, 4096), False),
            (1094, 4096, None, False),
            (4096, 4096, None, False),
            (infinite, infinite, None, False),
            (256, infinite, (1094, infinite), False),
            (256, 1094, (1094, 1094), False),
            (256, 1093, (1093, 1093), True),
            (256, 256, (256, 256), True),
        ):
            changed.clear()
            self.patch(resource, "getrlimit", lambda kind, limits=(soft, hard): limits)
            raise_file_limit(settings)
            self.assertEqual(changed, [] if new is None else [(resource.RLIMIT_NOFILE, new)])
            lines = [f"at most {hard} files can be open (RLIMIT_NOFILE), but --max-sessions 1000 needs 1094"]
            self.assertEqual(self.warnings(), lines * warned)

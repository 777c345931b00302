"""The files in deploy/: that they fit the daemon."""

import json
import re
import shlex
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.api.serve import LEAVE_TIME, STOP_TIME
from securechat.client.exit_codes import ExitCode
from securechat.client.options import parse
from securechat.errors import Category
from securechat.server.log_format import line_of
from securechat.tap import Options
from tests.harness.pair import NAME
from tests.server.test_protocol import SERVER, Listed, ServerTestCase, Session, Wire

DEPLOY = Path(__file__).parents[1] / "deploy"
# What fail2ban makes of <ADDR>, nearly; it removes the date from a line before it is searched.
ADDRESS = r"(?P<address>[0-9a-f.:]+)"
DATE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}")
NOT_COUNTED = {  # categories of honest clients, and those that only a client uses
    *(Category.TIMEOUT, Category.LIMIT, Category.CUT),
    *(Category.SEAL, Category.HOST_KEY),
}


class Mallory(Listed):
    """A user whose name looks like a log line."""

    def name_of(self, blob: bytes) -> str:
        return "client 9 from [192.0.2.99]:9: aborted (framing)"


class Fail2banTests(ServerTestCase):
    """The filter for fail2ban, with lines of the real log."""

    def setUp(self) -> None:
        super().setUp()
        config = ConfigParser()
        config.read(DEPLOY / "fail2ban/filter.d/securechat.conf")
        self.pattern = re.compile(config["Definition"]["failregex"].replace("<ADDR>", ADDRESS))

    def counted(self, prefix: str = "") -> list[str]:
        """The addresses that are counted for the lines since the last call."""
        lines = [line_of(event) or "" for event in self.logged]
        self.logged.clear()
        found = [self.pattern.search(prefix + DATE.sub("", line)) for line in lines]
        return [match["address"] for match in found if match]

    def abort(self, address: IAddress, category: Category) -> None:
        session = Session(self.factory, wire=Wire(address, SERVER))
        session.server._log.aborted(category, self.clock.seconds())
        session.lose()
        self.logged[:] = [event for event in self.logged if event.get("event") == "aborted"]

    def test_categories(self) -> None:
        """Categories that mean an attack are counted, with IPv4 and IPv6, and no others."""
        self.factory = self.make_factory(handshake_burst=1000, names=(NAME,))
        for address in (IPv4Address("TCP", "192.0.2.7", 5), IPv6Address("TCP", "2001:db8::7", 5)):
            for category in Category:
                self.abort(address, category)
                expected = [] if category in NOT_COUNTED else [address.host]
                self.assertEqual(self.counted(), expected, category)

    def test_admitted(self) -> None:
        """An admitted client that breaks the protocol is counted; one that leaves is not, whatever its name."""
        self.factory = self.make_factory(users=Mallory())
        session = Session(self.factory).open()
        session.lose()
        self.assertEqual(self.counted(), [])
        Session(self.factory).open().server.dataReceived(b"garbage")
        self.assertEqual(self.counted(), ["192.0.2.7"])

    def test_journal(self) -> None:
        """In the journal, a line has the host and the program before it."""
        self.abort(IPv4Address("TCP", "192.0.2.7", 5), Category.PROOF)
        self.assertEqual(self.counted(" chat twistd[12]: 2026-01-31T10:00:00+0000"), ["192.0.2.7"])


class CommandTests(SynchronousTestCase):
    """The command lines that start the daemon and the client."""

    def parse(self, command: list[str]) -> Options:
        options = Options()
        options.parseOptions(command[command.index("securechat") + 1 :])
        return options

    def test_unit(self) -> None:
        """The options in the unit exist, and the daemon is neither root nor able to become it."""
        text = (DEPLOY / "systemd/securechat.service").read_text().replace("\\\n", " ")
        start = re.search("^ExecStart=(.*)$", text, re.MULTILINE)
        assert start is not None
        settings: Any = self.parse(shlex.split(start[1])).settings
        self.assertEqual(settings.names, ("[chat.example.org]:8080",))
        for line in ("Type=notify", "DynamicUser=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "LimitCORE=0"):
            self.assertIn(f"\n{line}\n", text)
        stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
        assert stop is not None
        self.assertGreater(int(stop[1]), settings.drain + 15)

    def test_userUnit(self) -> None:
        """So do those of the client's unit; it is not started again if that would not help, and has time to stop."""
        text = (DEPLOY / "systemd/securechat-serve.service").read_text()
        start = re.search("^ExecStart=(.*)$", text, re.MULTILINE)
        assert start is not None
        settings = parse(shlex.split(start[1])[1:])
        self.assertEqual(str(settings.serve), "127.0.0.1:11435")
        codes = (ExitCode.USAGE, ExitCode.NOT_TRUSTED, ExitCode.NO_API)
        self.assertIn("\nRestartPreventExitStatus={} {} {}\n".format(*map(int, codes)), text)
        stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
        assert stop is not None
        self.assertGreater(int(stop[1]), STOP_TIME + LEAVE_TIME)

    def test_container(self) -> None:
        """So do those in the container file."""
        text = (DEPLOY / "container/Containerfile").read_text().replace("\\\n", " ")
        start = re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
        assert start is not None
        self.assertEqual(self.parse(json.loads(start[1])).settings.listen, ("tcp:8080",))
        self.assertRegex(text, r"(?m)^USER [1-9]")

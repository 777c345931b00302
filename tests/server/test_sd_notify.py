"""Messages to systemd."""

import os
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from securechat.server.sd_notify import ServiceManager


class NotifyTests(SynchronousTestCase):
    """A socket that receives what the daemon says."""

    def setUp(self) -> None:
        self.clock = Clock()
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.address = str(Path(directory.name) / "notify")
        self.receiver = self.listen(self.address)

    def listen(self, address: str) -> socket.socket:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(receiver.close)
        receiver.bind(address)
        receiver.setblocking(False)
        return receiver

    def received(self, receiver: socket.socket | None = None) -> list[list[str]]:
        """The messages since the last call, each in lines."""
        messages = []
        try:
            while True:
                messages.append((receiver or self.receiver).recv(4096).decode().split("\n"))
        except BlockingIOError:
            return messages

    def manager(self, **environ: str) -> ServiceManager:
        return ServiceManager(self.clock, {"NOTIFY_SOCKET": self.address, **environ})

    def test_states(self) -> None:
        """The daemon says when it is ready, reloads and stops; a long stop is announced."""
        manager = self.manager()
        manager.ready()
        self.assertEqual(self.received(), [["READY=1", f"MAINPID={os.getpid()}"]])
        manager.reloading()
        [[reloading, moment]] = self.received()
        self.assertEqual(reloading, "RELOADING=1")
        self.assertRegex(moment, r"^MONOTONIC_USEC=\d+$")
        manager.stopping(600)
        self.assertEqual(self.received(), [["STOPPING=1", "EXTEND_TIMEOUT_USEC=615000000"]])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_watchdog(self) -> None:
        """The watchdog hears from the daemon twice in each interval, from its start to its end."""
        manager = self.manager(WATCHDOG_USEC="10000000", WATCHDOG_PID=str(os.getpid()))
        manager.ready()
        manager.ready()  # after a reload
        self.clock.pump([5, 5])
        self.assertEqual([message for [*message] in self.received() if "READY=1" not in message], [["WATCHDOG=1"]] * 3)
        manager.close()
        manager.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noWatchdog(self) -> None:
        """A watchdog of another process, or an invalid one, hears nothing."""
        for environ in (
            {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
            {"WATCHDOG_USEC": "-5"},
            {"WATCHDOG_USEC": "soon"},
            {},
        ):
            self.manager(**environ).ready()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_abstract(self) -> None:
        """A name that begins with @ is that of an abstract socket."""
        if sys.platform != "linux":
            raise SkipTest("Linux only")
        name = f"securechat-test-{os.getpid()}"
        receiver = self.listen(f"\0{name}")
        self.manager(NOTIFY_SOCKET=f"@{name}").ready()
        self.assertEqual(len(self.received(receiver)), 1)

    def test_nobodyListens(self) -> None:
        """Without a service manager, or with one that has gone, nothing happens."""
        self.receiver.close()
        for address in (self.address, "", "vsock:2:1234", "/" + "x" * 200):
            self.manager(NOTIFY_SOCKET=address).ready()
        ServiceManager(self.clock, {}).stopping(1)

"""The daemon under a service manager, and what it gives up."""

import os
import re
import resource
import signal
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest

from tests.harness.daemon import STOP_TIMEOUT, Daemon, reactor
from tests.programs.test_daemon import DaemonTestCase


class RootDaemon(Daemon):
    """A daemon that may not run as root."""

    def __init__(self, directory: str, *options: str) -> None:
        super().__init__(directory, *options, twistd=("--euid",))  # without --uid; so --allow-root is not added


class ManagerTests(DaemonTestCase):
    """A daemon with NOTIFY_SOCKET, as in a unit of Type=notify."""

    async def test_states(self) -> None:
        """It says when it is ready, reloads, is ready again, and stops; the watchdog hears from it in between."""
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = str(Path(directory.name) / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(path)
            receiver.setblocking(False)
            seen: list[str] = []

            async def wait(word: str) -> None:
                while word not in seen:
                    try:
                        seen.extend(receiver.recv(4096).decode().split("\n"))
                    except BlockingIOError:
                        await deferLater(reactor, 0.05)

            daemon = self.run_daemon("--robot", "echo", NOTIFY_SOCKET=path, WATCHDOG_USEC="400000")
            await wait("READY=1")
            self.assertIn(f"MAINPID={daemon.process.pid}", seen)
            self.assertIn("host key", daemon.text())
            await wait("WATCHDOG=1")
            seen.clear()
            daemon.hang_up()
            await wait("RELOADING=1")
            await wait("READY=1")
            daemon.process.send_signal(signal.SIGTERM)
            await wait("STOPPING=1")
            self.assertIn("EXTEND_TIMEOUT_USEC=75000000", seen)
        self.assertEqual(daemon.process.wait(STOP_TIMEOUT), 0)
        self.assertNotIn("Traceback", daemon.text())


class HardeningTests(DaemonTestCase):
    """What the daemon gives up."""

    async def test_dumps(self) -> None:
        """There are no core dumps, and no user but root can look into its memory."""
        if sys.platform != "linux":
            raise SkipTest("Linux only")
        daemon = await self.run_daemon("--robot", "echo").started()
        self.assertEqual(resource.prlimit(daemon.process.pid, resource.RLIMIT_CORE), (0, 0))
        self.assertEqual(Path(f"/proc/{daemon.process.pid}/environ").stat().st_uid, 0)

    async def test_root(self) -> None:
        """Without --uid or --allow-root, root may not listen for other machines: one line, and nothing is created."""
        if os.geteuid() != 0:
            raise SkipTest("needs root")
        daemon = RootDaemon(self.mktemp(), "--listen", "tcp:0")
        self.addCleanup(daemon.stop)
        status, output = daemon.failed()
        self.assertEqual((status, output.count("\n")), (1, 0), output)
        self.assertIn(
            "securechat: refusing to run as root on an address that other machines can reach; use twistd", output
        )
        self.assertFalse(daemon.state.exists())

    async def test_localRoot(self) -> None:
        """Where only this machine can reach the daemon, root is warned."""
        if os.geteuid() != 0:
            raise SkipTest("needs root")
        daemon = RootDaemon(self.mktemp())
        self.addCleanup(daemon.stop)
        await daemon.started()
        self.assertIn("running as root", daemon.text())

    async def test_user(self) -> None:
        """With --uid, the daemon drops root after it has bound its port and read its key, and memory stays private."""
        if os.geteuid() != 0 or sys.platform != "linux":
            raise SkipTest("needs root and Linux")
        daemon = await self.run_daemon("--robot", "echo", twistd=("--uid", "65534", "--gid", "65534")).started()
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        self.assertRegex(status, re.compile(r"^Uid:\t65534\t65534\t65534\t65534$", re.MULTILINE))
        self.assertEqual(Path(f"/proc/{daemon.process.pid}/environ").stat().st_uid, 0)
        self.assertNotIn("running as root", daemon.text())

"""What a daemon that was killed has left behind."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.python.usage import Options as Twistd
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat.server.stale_files import remove_stale_pid_file, remove_stale_socket_of
from securechat.server.startup import CheckedEndpoint
from securechat.tap import Options
from tests.harness.daemon import reactor

NO_PROCESS = 2**30  # more than any system gives


class FileTestCase(SynchronousTestCase):
    """A directory of its own, which is near enough for the address of a socket."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(directory)

    def process(self, script: str) -> int:
        """The number of a shell that runs a script until the end of the test."""
        command = ["sh", "-c", f"echo started; read line; {script}"]
        shell = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(shell.communicate)
        assert shell.stdout is not None
        shell.stdout.readline()  # it has its command line now
        return shell.pid


class PidFileTests(FileTestCase):
    """twistd's PID file."""

    def is_removed(self, content: str) -> bool:
        path = Path("twistd.pid")
        path.write_text(content)
        remove_stale_pid_file(path)
        return not path.exists()

    def test_ownNumber(self) -> None:
        """A file with the number of this process is removed: in a container, the daemon has the same each time."""
        self.assertTrue(self.is_removed(f"{os.getpid()}\n"))

    def test_reusedNumber(self) -> None:
        """A file with the number that another program has got is removed, one of a twistd is not."""
        if sys.platform != "linux":
            self.assertFalse(self.is_removed(str(self.process("true"))))
            return
        self.assertTrue(self.is_removed(str(self.process("true"))))
        self.assertFalse(self.is_removed(str(self.process("true twistd securechat"))))

    def test_lost(self) -> None:
        """A file whose content was lost when the machine stopped is removed."""
        for content in ("", "\0\0\0\0"):
            self.assertTrue(self.is_removed(content))

    def test_leftToTwistd(self) -> None:
        """A file that twistd removes, or that is no PID file, is left to it; and so is one that cannot be read."""
        for content in (str(NO_PROCESS), "important", "-1", "0", "12 34"):
            self.assertFalse(self.is_removed(content))
        os.mkfifo("fifo")
        for path in (Path("fifo"), Path("none"), Path("/dev/zero"), Path.cwd()):
            remove_stale_pid_file(path)
        self.assertTrue(Path("fifo").exists())


class OptionsTests(FileTestCase):
    """twistd's own options, as the daemon finds them."""

    def parse(self, **given: object) -> Twistd:
        twistd = Twistd()
        twistd.update({"pidfile": "twistd.pid", "nodaemon": True, **given})
        options = Options()
        options.parent = twistd
        options.parseOptions([])
        return twistd

    def test_pidFile(self) -> None:
        """A PID file that would keep twistd from starting is removed before twistd looks at it."""
        Path("twistd.pid").write_text(str(os.getpid()))
        self.assertEqual(self.parse()["pidfile"], "twistd.pid")
        self.assertFalse(Path("twistd.pid").exists())
        self.assertEqual(self.parse(pidfile="")["pidfile"], "")

    def test_readOnlyDirectory(self) -> None:
        """In the foreground, twistd does without a PID file where it cannot write one."""
        self.patch(os, "access", lambda path, mode: False)
        self.assertEqual(self.parse()["pidfile"], "")
        self.assertEqual(self.parse(nodaemon=False)["pidfile"], "twistd.pid")

    def test_uid(self) -> None:
        """The user of --uid has to exist, because twistd looks up its groups."""
        self.parse(uid=0)
        error = self.assertRaises(UsageError, self.parse, uid=NO_PROCESS)
        self.assertEqual(str(error), f"--uid {NO_PROCESS}: no such user")


class SocketTests(FileTestCase):
    """The UNIX socket of an endpoint."""

    def setUp(self) -> None:
        super().setUp()
        self.path = Path("socket")
        self.lock = Path("socket.lock")
        self.listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listening.close)
        self.listening.bind(str(self.path))
        self.listening.listen(0)
        self.lock.symlink_to(str(os.getpid()))

    def assertLeft(self, *paths: Path) -> None:
        self.assertEqual([path for path in (self.path, self.lock) if os.path.lexists(path)], list(paths))

    def test_killed(self) -> None:
        """A socket on which nobody listens is removed, and so is Twisted's lock, with or without a socket."""
        self.listening.close()
        remove_stale_socket_of("unix:socket:mode=660")
        self.assertLeft()
        self.lock.symlink_to(str(os.getpid()))
        remove_stale_socket_of("haproxy:unix:mode=660:address=sock\\et")
        self.assertLeft()

    def test_running(self) -> None:
        """A socket on which a process listens is left, also if it is too busy to accept connections."""
        for _number in range(3):
            remove_stale_socket_of("unix:socket")
            self.assertLeft(self.path, self.lock)
            busy = socket.socket(socket.AF_UNIX)
            self.addCleanup(busy.close)
            busy.setblocking(False)
            busy.connect_ex(str(self.path))

    def test_notASocket(self) -> None:
        """Other files are left alone, and so are other endpoints."""
        self.listening.close()
        for endpoint in ("tcp:8080", "systemd:domain=UNIX:index=0", "unix:mode=660", "", "unix:" + "x" * 200):
            remove_stale_socket_of(endpoint)
            self.assertLeft(self.path, self.lock)
        self.path.unlink()
        self.path.write_text("important")
        remove_stale_socket_of("unix:socket")
        self.assertEqual(self.path.read_text(), "important")


class EndpointTests(FileTestCase, TestCase):
    """An endpoint on such a socket."""

    async def test_listens(self) -> None:
        """The daemon listens on the socket of a daemon with the same number that was killed."""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
        Path("socket.lock").symlink_to(str(os.getpid()))
        port = await CheckedEndpoint(serverFromString(reactor, "unix:socket"), "unix:socket").listen(Factory())
        self.addCleanup(port.stopListening)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("socket")

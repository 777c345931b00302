"""What a daemon does when something that it needs fails: it says so once, a metric shows it, and it goes on."""

import math
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from shutil import rmtree
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest

from securechat.client.signer import Signer
from securechat.ssh import keys
from tests.harness.daemon import START_TIMEOUT, STOP_TIMEOUT, Daemon, Talk, get_page, reactor
from tests.harness.openai_peer import OpenAIPeer
from tests.harness.pair import USER_KEY
from tests.programs.test_daemon import DaemonTestCase

OTHER_KEY = keys.SigningKey.generate()
LONG = "x" * 60_000  # whose echo takes more than a second


class SteppedDaemon(Daemon):
    """A daemon whose system clock is set back by a year when the file in STEP exists."""

    program = (
        "-c",
        """
import os, time
real, step = time.time, os.environ["STEP"]
time.time = lambda: real() - (31_536_000 if os.path.exists(step) else 0)
from securechat.server import wall_clock
wall_clock.LOOK_INTERVAL = 0.2
from twisted.scripts.twistd import run
run()
""",
    )


class MortalPeer(OpenAIPeer):
    """A model's server that may go down."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(reactor)
        self._connections: list[Any] = []
        self._listening = reactor.listenTCP(port, self, interface="127.0.0.1")
        self.port = self._listening.getHost().port

    def buildProtocol(self, addr: object) -> Any:
        self._connections.append(super().buildProtocol(addr))
        return self._connections[-1]

    async def stop(self) -> None:
        await maybeDeferred(self._listening.stopListening)
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.abortConnection()


class UnprivilegedDaemon(Daemon):
    """A daemon for which the permissions of files count, even if it runs as root."""

    program = (
        "-c",
        """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
if os.geteuid() == 0:
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *sys.argv[1:]])
""",
    )


class FailureTests(DaemonTestCase):
    """A daemon that is observed by its log and its metrics while something fails."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())  # the paths of sockets have to be short
        self.addCleanup(rmtree, self.directory)
        self.observed = ("--metrics", f"unix:{self.directory / 'metrics'}")

    async def wait_for(self, metric: str) -> None:
        """Wait until this line is among the metrics, which may be half a second old."""
        page = ""
        for _attempt in range(int(START_TIMEOUT / 0.1)):
            page = await get_page(self.directory / "metrics", "/metrics")
            if f"\n{metric}\n" in page:
                return
            await deferLater(reactor, 0.1)
        self.fail(f"no {metric!r} in {page}")

    def assertLogged(self, daemon: Daemon, words: str) -> None:
        """The log has these words once, and there is no traceback."""
        self.assertEqual(daemon.text().count(words), 1, daemon.text())
        self.assertNotIn("Traceback", daemon.text())

    async def test_fullDisk(self) -> None:
        """When the disk with the log becomes full, lines are lost and counted, and nothing else happens."""
        if sys.platform != "linux":
            raise SkipTest("needs Linux to limit the size of another process's files")
        daemon = await self.run_daemon("--robot", "echo", *self.observed).started()
        talk = await Talk().start(daemon.port)
        reply = Deferred.fromCoroutine(talk.ask(LONG))
        await daemon.logged("a message of")
        limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (daemon.log_size(), limits[1]))
        port = daemon.port
        for _client in range(3):
            other = await Talk().start(port)
            self.assertEqual(await other.ask("hello"), "hello")
            await other.leave()
        await self.wait_for("securechat_log_lines_lost_total 9.0")
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, limits)
        self.assertEqual(await reply, LONG)
        await talk.leave()
        await daemon.logged("9 lines of the log could not be written")
        problem = f"securechat: log file {daemon.log.absolute()}: File too large\n"
        self.assertEqual(daemon.output.read_text(), problem)

    async def test_readOnlyState(self) -> None:
        """With a read-only state directory, clients are served; usage is not saved, and no host key is made."""
        if os.geteuid() == 0 and sys.platform != "linux":
            raise SkipTest("root can write anywhere")
        first = await self.run_daemon("--robot", "echo").started()
        await first.stop()
        first.log.unlink()
        first.state.chmod(0o500)
        self.addCleanup(first.state.chmod, 0o700)
        daemon = UnprivilegedDaemon(str(first.directory), "--robot", "echo", *self.observed)
        self.addCleanup(daemon.stop)
        await daemon.started()
        talk = await Talk().start(daemon.port)
        self.assertEqual(await talk.ask("hello"), "hello")
        await self.wait_for("securechat_ledger_stale 1.0")
        self.assertEqual(await talk.ask("again"), "again")
        await talk.leave()
        await daemon.stop()
        self.assertEqual(daemon.process.returncode, 0)
        self.assertLogged(daemon, "usage cannot be saved")
        key = (first.state / "other").absolute()
        status, output = UnprivilegedDaemon(str(first.directory), "--host-key", str(key)).failed()
        self.assertEqual((status, output), (1, f"securechat: {key}: Permission denied"))

    async def test_unusableKeys(self) -> None:
        """While the file of authorized keys is missing, its keys stay in force, and a new one is not admitted."""
        path = Path(self.file(keys.public_line(USER_KEY.blob, "alice") + "\n"))
        daemon = await self.run_daemon("--robot", "echo", "--authorized-keys", str(path), *self.observed).started()
        alice, bob = Signer(USER_KEY.blob, USER_KEY.sign), Signer(OTHER_KEY.blob, OTHER_KEY.sign)
        inside = await Talk().start(daemon.port, signer=alice)
        text = path.read_text()
        path.unlink()
        for _client in range(2):
            talk = await Talk().start(daemon.port, signer=alice)
            self.assertEqual(await talk.ask("hello"), "hello")
            await talk.leave()
        await self.assertFailure(Deferred.fromCoroutine(Talk().start(daemon.port, signer=bob)), Exception)
        await self.wait_for("securechat_keys_stale 1.0")
        self.assertLogged(daemon, f"{path}: No such file or directory; keeping the previous keys")
        path.write_text(text + keys.public_line(OTHER_KEY.blob, "bob") + "\n")
        path.chmod(0o600)
        await (await Talk().start(daemon.port, signer=bob)).leave()
        await self.wait_for("securechat_keys_stale 0.0")
        self.assertLogged(daemon, f"reloaded {path}")
        self.assertEqual(await inside.ask("still here"), "still here")
        await inside.leave()

    async def test_deadRobot(self) -> None:
        """When the model's server is down, users are told, the log says it rarely, and it is used when it is back."""
        peer = MortalPeer()
        self.addCleanup(peer.stop)
        options = ("--robot", "openai", "-R", f"url=http://127.0.0.1:{peer.port}", "-R", "model=peer-model")
        daemon = await self.run_daemon(*options, *self.observed).started()
        talk = await Talk().start(daemon.port)
        self.assertEqual((await talk.ask("one")).strip(), "one")
        await peer.stop()
        before = time.monotonic()
        for _message in range(10):
            self.assertEqual(await talk.ask("two"), "[UNREACHABLE]")
        await self.wait_for('securechat_robot_circuit_open{robot="openai"} 1.0')
        lines = daemon.text().count("robot openai: UNREACHABLE")
        # It is tried again after a second, and after pauses that double each time.
        self.assertIn(lines, range(1, 3 + int(math.log2(1 + time.monotonic() - before))))
        peer = MortalPeer(peer.port)
        self.addCleanup(peer.stop)
        while (answer := await talk.ask("three")).strip() != "three":
            self.assertEqual(answer, "[UNREACHABLE]")
            await deferLater(reactor, 0.2)
        await self.wait_for('securechat_robot_circuit_open{robot="openai"} 0.0')
        contents = [message["content"].strip() for message in peer.asked[-1]["messages"]]
        self.assertEqual(contents, ["one", "one", "three"])
        await talk.leave()

    async def test_wrongClock(self) -> None:
        """When the system clock is set, replies go on, the log says it once, and the metrics have the new time."""
        step = self.directory / "step"
        daemon = SteppedDaemon(self.mktemp(), "--robot", "echo", *self.observed, STEP=str(step))
        self.addCleanup(daemon.stop)
        await daemon.started()
        talk = await Talk().start(daemon.port)
        reply = Deferred.fromCoroutine(talk.ask(LONG))
        while not talk.texts:
            await deferLater(reactor, 0.01)
        step.touch()
        self.assertEqual(await reply, LONG)
        self.assertEqual(await talk.ask("hello"), "hello")
        await daemon.logged("the system clock was set back by 31536000 s")
        page = await get_page(self.directory / "metrics", "/metrics")
        found = re.search(r"^securechat_time_seconds (\S+)$", page, re.MULTILINE)
        assert found is not None
        self.assertLess(abs(float(found[1]) - (daemon.log.stat().st_mtime - 31_536_000)), 60)
        daemon.process.terminate()
        await talk.end
        self.assertEqual(daemon.process.wait(STOP_TIMEOUT), 0)
        self.assertLogged(daemon, "the system clock was set")

"""``twistd securechat`` as an operator runs it: a process of its own, real sockets, real files."""

import contextlib
import gc
import json
import os
import re
import resource
import signal
import socket
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase
from twisted.web.server import Site

from securechat.client.signer import Signer
from securechat.errors import AuthenticationError, SecureChatError
from securechat.ssh import keys
from securechat.ssh.private_keys import load_private_key
from securechat.wire.connection import GOODBYE_TIMEOUT
from securechat.wire.events import GoodbyeReceived
from securechat.wire.handshake import ClientHandshake
from securechat.wire.messages import Reason
from securechat.wire.suites import DEFAULT_SUITE, SUITES
from tests.harness.daemon import MANY, START_TIMEOUT, STOP_TIMEOUT, Daemon, Talk, reactor
from tests.harness.pair import USER_KEY
from tests.harness.ssh import make_key, ssh_keygen
from tests.harness.turing_peer import KEY, PATH, TuringPeer

SUITE = DEFAULT_SUITE.decode()
NAME = ("--name", "[chat.example.org]:8080")


HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.1 4444 8080\r\n"


class DaemonTestCase(TestCase):
    """Daemons that end with their test."""

    timeout = 240

    def run_daemon(self, *options: str, twistd: Sequence[str] = (), **environ: str) -> Daemon:
        daemon = Daemon(self.mktemp(), *options, twistd=twistd, **environ)
        self.addCleanup(daemon.stop)
        return daemon

    def file(self, text: str, mode: int = 0o600) -> str:
        path = Path(self.mktemp()).absolute()
        path.write_text(text)
        path.chmod(mode)
        return str(path)


class TalkTests(DaemonTestCase):
    """A daemon that runs."""

    async def test_bothSuites(self) -> None:
        """In both suites, anonymous and with a key that ssh-keygen made, one talks and gets replies."""
        daemon = await self.run_daemon("--robot", "echo").started()
        key = load_private_key(make_key(Path(self.mktemp())))
        for suite in SUITES:
            for signer in (None, Signer(key.blob, key.sign)):
                talk = await Talk().start(daemon.port, suite=suite, signer=signer)
                self.assertEqual(await talk.ask("你好"), "你好")
                assert talk.about is not None
                self.assertEqual(talk.about.robot, "echo")
                self.assertEqual(talk.about.user, keys.fingerprint(key.blob) if signer else "")
                await talk.leave()
        self.assertRegex(daemon.text(), r"client 4 from \[127\.0\.0\.1\]:\d+: admitted as SHA256:")
        self.assertRegex(daemon.text(), r"client 3 from \[127\.0\.0\.1\]:\d+: ended \(leaving\)")
        self.assertNotIn("你好", daemon.text())

    async def test_hostKey(self) -> None:
        """The host key is made at the first start, private, and stays; its fingerprint is ssh-keygen's."""
        daemon = await self.run_daemon("--robot", "echo").started()
        path = daemon.state / "ssh_host_ed25519_key"
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(daemon.state.stat().st_mode), 0o700)
        self.assertEqual(daemon.fingerprint, ssh_keygen("-lf", path).split()[1])
        await daemon.stop()
        again = await self.run_daemon("--robot", "echo", "--host-key", str(path.absolute())).started()
        self.assertEqual(again.fingerprint, daemon.fingerprint)

    async def test_names(self) -> None:
        """localhost, the address that was reached, and nothing else, unless --name says what else."""
        daemon = await self.run_daemon("--robot", "echo").started()
        await (await Talk().start(daemon.port, host="localhost")).leave()
        named = await self.run_daemon("--robot", "echo", "--name", "[chat.example.org]:8080").started()
        with self.assertRaises(AuthenticationError):
            await Talk().start(named.port)
        self.assertIn("aborted (name)", named.text())

    async def test_messages(self) -> None:
        """Messages of 1 MiB come whole, and several at once in order; the sixth of them is refused."""
        daemon = await self.run_daemon("--robot", "echo", *MANY).started()
        talk = await Talk().start(daemon.port)
        long = "长" * (1024 * 1024 // 3)
        self.assertEqual(await talk.ask(long), long)
        asked = [Deferred.fromCoroutine(talk.ask(str(number))) for number in range(6)]
        self.assertEqual(await gatherResults(asked), ["0", "1", "2", "3", "4", "[TOO_MANY_MESSAGES]"])
        await talk.leave()

    async def test_twoHundredAtOnce(self) -> None:
        """200 clients at once all get theirs."""
        daemon = await self.run_daemon("--robot", "echo", *MANY).started()

        async def one(number: int) -> str:
            talk = await Talk().start(daemon.port)
            reply = await talk.ask(f"I am {number}")
            reply += await talk.ask(f", number {number}")
            await talk.leave()
            return reply

        replies = await gatherResults([Deferred.fromCoroutine(one(number)) for number in range(200)])
        self.assertEqual(replies, [f"I am {number}, number {number}" for number in range(200)])

    async def test_theClientForgets(self) -> None:
        """A client that was let in holds its handshake no more, nor does anything that made it."""

        def held() -> int:
            gc.collect()
            return sum(isinstance(thing, ClientHandshake) for thing in gc.get_objects())

        daemon = await self.run_daemon("--robot", "echo").started()
        before = held()
        talk = await Talk().start(daemon.port)
        self.assertEqual(await talk.ask("hello"), "hello")
        self.assertEqual(held(), before)
        await talk.leave()

    async def test_authorizedKeys(self) -> None:
        """Only those in the file may talk, by the name it gives them; who is removed is sent away at SIGHUP."""
        path = self.file(keys.public_line(USER_KEY.blob, "alice") + "\n")
        daemon = await self.run_daemon("--robot", "echo", "--authorized-keys", path).started()
        talk = await Talk().start(daemon.port, signer=Signer(USER_KEY.blob, USER_KEY.sign))
        assert talk.about is not None
        self.assertEqual(talk.about.user, "alice")
        stranger = keys.SigningKey.generate()
        with self.assertRaises(AuthenticationError):
            await Talk().start(daemon.port, signer=Signer(stranger.blob, stranger.sign))
        with self.assertRaises(AuthenticationError):
            await Talk().start(daemon.port)
        Path(path).write_text("nonsense\n")
        daemon.hang_up()
        await daemon.logged("keeping the previous keys")
        self.assertEqual(await talk.ask("still here"), "still here")
        Path(path).write_text("# nobody\n")
        with self.assertRaises(AuthenticationError):  # for which the daemon reads the file
            await Talk().start(daemon.port, signer=Signer(USER_KEY.blob, USER_KEY.sign))
        daemon.hang_up()
        self.assertEqual(await talk.end, GoodbyeReceived(Reason.KEY_WITHDRAWN, 1))

    async def test_revocation(self) -> None:
        """SIGHUP ends the session of a removed key within a second, once the file that lacks it is usable."""
        removed = keys.SigningKey.generate()
        signer = Signer(removed.blob, removed.sign)
        alice = keys.public_line(USER_KEY.blob, "alice") + "\n"
        path = Path(self.file(alice + keys.public_line(removed.blob, "mallory") + "\n"))
        daemon = await self.run_daemon("--robot", "echo", "--authorized-keys", str(path)).started()
        talk = await Talk().start(daemon.port, signer=signer)
        Path(self.file(alice, 0o664)).rename(path)
        daemon.hang_up()
        await daemon.logged("; keeping the previous keys")
        path.chmod(0o600)
        daemon.hang_up()
        sent = reactor.seconds()
        self.assertEqual(await talk.end, GoodbyeReceived(Reason.KEY_WITHDRAWN, 0))
        self.assertLess(reactor.seconds() - sent, 1)
        with self.assertRaises(AuthenticationError):
            await Talk().start(daemon.port, signer=signer)

    async def test_relativePaths(self) -> None:
        """Relative paths are relative to the directory in which twistd was started, whatever its --rundir."""
        path = Path(self.file(keys.public_line(USER_KEY.blob, "alice") + "\n"))
        daemon = await self.run_daemon(
            *("--robot", "echo", "--authorized-keys", str(path.relative_to("/"))),
            twistd=("--rundir", str(path.parent)),
        ).started()
        daemon.hang_up()
        await daemon.logged(f"reloaded {path}")

    async def test_stops(self) -> None:
        """A daemon that is told to stop says goodbye first."""
        daemon = await self.run_daemon("--robot", "echo").started()
        talk = await Talk().start(daemon.port)
        daemon.process.terminate()
        self.assertEqual(await talk.end, GoodbyeReceived(Reason.STOPPING, 0))
        self.assertEqual(daemon.process.wait(STOP_TIMEOUT), 0)
        self.assertIn("received SIGTERM, shutting down", daemon.text())

    async def test_interrupted(self) -> None:
        """Ctrl-C stops it, too, unless the shell that started it has said to ignore that."""
        daemon = await self.run_daemon("--robot", "echo").started()
        daemon.process.send_signal(signal.SIGINT)
        self.assertEqual(daemon.process.wait(STOP_TIMEOUT), 0)
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_IGN))
        ignores = await self.run_daemon("--robot", "echo").started()
        ignores.process.send_signal(signal.SIGINT)
        self.assertEqual(await (await Talk().start(ignores.port)).ask("still here"), "still here")

    async def test_stopsAtOnce(self) -> None:
        """At a second signal it does not wait for clients that do not answer."""
        daemon = await self.run_daemon("--robot", "echo").started()
        talk = await Talk().start(daemon.port)
        talk.client.transport.pauseProducing()
        started = time.monotonic()
        daemon.process.terminate()
        await daemon.logged("received SIGTERM, shutting down")
        daemon.process.terminate()
        self.assertEqual(daemon.process.wait(STOP_TIMEOUT), 0)
        self.assertLess(time.monotonic() - started, GOODBYE_TIMEOUT - 1)
        self.assertIn("received SIGTERM again", daemon.text())
        self.assertNotIn("Traceback", daemon.text())
        talk.client.transport.resumeProducing()
        await talk.end

    async def test_suites(self) -> None:
        """A suite that the operator did not allow is refused."""
        daemon = await self.run_daemon("--robot", "echo", "--suites", "rsa2048-fernet").started()
        with self.assertRaises(Exception) as caught:
            await Talk().start(daemon.port)
        self.assertIn("during the handshake", str(caught.exception))
        talk = await Talk().start(daemon.port, suite=b"rsa2048-fernet")
        self.assertEqual(await talk.ask("hello"), "hello")
        await talk.leave()

    async def test_turing(self) -> None:
        """With the Turing robot: its answers, its faults, and the conversation goes on; the log has no key."""
        peer = TuringPeer(reactor)
        port = reactor.listenTCP(0, Site(peer), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"url=http://127.0.0.1:{port.getHost().port}{PATH}"
        daemon = await self.run_daemon("--robot", "turing", "-R", url, SECURECHAT_ROBOT_KEY=KEY).started()
        talk = await Talk().start(daemon.port)
        self.assertEqual(await talk.ask("你好"), "你好")
        self.assertEqual(await talk.ask("broken"), "[BROKEN_ANSWER]")
        self.assertEqual(await talk.ask("links"), "亲,已帮你找到相关酒店信息\nhttp://m.example/hotels")
        self.assertEqual(await talk.ask("4003"), "[BUSY]")
        self.assertEqual(await talk.ask("hello"), "[BUSY]")  # it is not asked until tomorrow
        await talk.leave()
        self.assertIn("the daily quota is used up", daemon.text())
        self.assertNotIn(KEY, daemon.text())
        self.assertNotIn("你好", daemon.text())

    async def test_chain(self) -> None:
        """When the first robot cannot be reached, the next answers and says so, with options of its own for each."""
        daemon = await self.run_daemon(
            *("--robot", "turing", "-R", "url=http://127.0.0.1:1/", "-R", "city=上海", "--robot", "echo"),
            SECURECHAT_TURING_KEY=KEY,
        ).started()
        talk = await Talk().start(daemon.port)
        self.assertEqual(await talk.ask("你好"), "[turing cannot be reached; echo answers instead]\n你好")
        await talk.leave()
        self.assertIn("robot turing: UNREACHABLE", daemon.text())

    async def test_shaping(self) -> None:
        """Each way of pacing answers; the constant one sends records without being asked."""
        for shaping in ("reply", "constant", "off"):
            daemon = await self.run_daemon("--robot", "echo", "--shaping", shaping, "--tick", "0.01").started()
            talk = await Talk().start(daemon.port)
            connection = talk.client._connection
            if shaping == "constant":
                while connection.records_received < 10:
                    await deferLater(reactor, 0.01)
            else:
                await deferLater(reactor, 0.3)
                self.assertLess(connection.records_received, 10)
            self.assertEqual(await talk.ask("你好"), "你好")
            await talk.leave()
            self.assertIsNone(await talk.end)


class FloodTests(DaemonTestCase):
    """Clients that try to fill the disk with the log."""

    if sys.platform != "linux":
        skip = "needs all of 127.0.0.0/8"

    def flood(self, daemon: Daemon, data: bytes, connections: int, sources: int = 200) -> int:
        """Connect from so many addresses, send `data` and wait for the end; the bytes that are logged meanwhile."""
        port, before = daemon.port, daemon.log_size()
        for number in range(connections):
            source = (f"127.0.0.{number % sources + 1}", 0)
            with (
                contextlib.suppress(ConnectionError),
                socket.create_connection(("127.0.0.1", port), 5, source) as client,
            ):
                client.sendall(data)
                client.recv(1)
        return daemon.log_size() - before

    async def test_clients(self) -> None:
        """Thousands of connections that are refused or aborted log a few kilobytes, and how many were left out."""
        daemon = await self.run_daemon("--robot", "echo", "--handshake-rate", "0.001").started()
        self.assertLess(self.flood(daemon, b"GET / HTTP/1.1\r\n\r\n", 3000), 80_000)
        await daemon.stop()
        for line in ("client … from …: aborted (…)…", "client … from …: refused (…)"):
            self.assertRegex(daemon.text(), f'… and [0-9]+ more like "{re.escape(line)}" in the last [0-9]+ s')
        self.assertNotIn("Traceback", daemon.text())

    async def test_haproxy(self) -> None:
        """Behind `haproxy:`, thousands of clients that are refused and of invalid headers log a few kilobytes."""
        options = (
            "--listen",
            "haproxy:tcp:0:interface=127.0.0.1",
            "--max-handshakes-per-source",
            "1",
            "--hello-timeout",
            "60",
        )
        daemon = await self.run_daemon("--robot", "echo", *options).started()
        self.assertLess(self.flood(daemon, HEADER + b"GET / HTTP/1.1\r\n\r\n", 1000, sources=1), 80_000)
        await daemon.logged("client 1 from [192.0.2.7]:4444: aborted (framing)")
        self.assertLess(self.flood(daemon, b"PROXY TCP4 a b c d\r\n", 1000), 80_000)
        self.assertNotIn("Traceback", daemon.text())


class LogTests(DaemonTestCase):
    """Where the log goes, and what its lines look like."""

    TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}"

    async def talk(self, daemon: Daemon) -> None:
        talk = await Talk().start(daemon.port)
        await talk.ask("hello")
        await talk.leave()
        await daemon.logged(": ended (leaving)")

    def assertLines(self, text: str, first: int) -> None:
        """`text` is what one client causes, each line once."""
        expected = [
            rf"connection_log#info\] client \d from \[127\.0\.0\.1\]:\d+: admitted as anonymous, suite {SUITE}",
            r"message_log#info\] client \d: a message of 5 characters",
            r"connection_log#info\] client \d from \[127\.0\.0\.1\]:\d+: ended \(leaving\) as anonymous, "
            rf"suite {SUITE}, \d+\.\d s, messages 1, records received \d+, sent \d+",
        ]
        lines = text.splitlines()[first:]
        self.assertEqual(len(lines), len(expected), lines)
        for line, pattern in zip(lines, expected, strict=True):
            self.assertRegex(line, rf"^{self.TIME} \[securechat\.server\.{pattern}$")

    async def test_movedAway(self) -> None:
        """A log that was moved away is replaced at SIGUSR1 or within a second; no line is lost or doubled."""
        daemon = await self.run_daemon("--robot", "echo").started()
        before = len(daemon.text().splitlines())
        await self.talk(daemon)
        self.assertLines(daemon.text(), before)
        port, first, log = daemon.port, daemon.text(), daemon.log
        for number in (1, 2):
            old = Path(f"{log}.old{number}")
            log.rename(old)
            if number == 1:
                daemon.process.send_signal(signal.SIGUSR1)
            else:
                await deferLater(reactor, 1.1)
                await (await Talk().start(port)).leave()
            while not log.exists():
                await deferLater(reactor, 0.01)
            await (await Talk().start(port)).leave()
            while log.read_text().count("ended (leaving)") < number:
                await deferLater(reactor, 0.01)
        self.assertEqual(Path(f"{log}.old1").read_text(), first)
        self.assertEqual(Path(f"{log}.old2").read_text().count("\n"), 2)
        self.assertEqual(stat.S_IMODE(log.stat().st_mode), 0o600)

    async def test_fullDisk(self) -> None:
        """A log on a full disk is reported once on standard error, and the daemon serves its clients."""
        if not Path("/dev/full").exists():
            raise SkipTest("no /dev/full")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        listen = ("--listen", f"tcp:{port}:interface=127.0.0.1")
        daemon = self.run_daemon("--robot", "echo", *listen, twistd=("--logfile", "/dev/full"))
        end = time.monotonic() + START_TIMEOUT
        talk = None
        while talk is None:
            self.assertLess(time.monotonic(), end, daemon.output.read_text())
            await deferLater(reactor, 0.05)
            with contextlib.suppress(SecureChatError, ConnectError):
                talk = await Talk().start(port)
        self.assertEqual(await talk.ask("hello"), "hello")
        await talk.leave()
        await daemon.stop()
        self.assertEqual(daemon.process.returncode, 0)
        self.assertEqual(daemon.output.read_text(), "securechat: log file /dev/full: No space left on device\n")

    async def test_json(self) -> None:
        """With `--log-format json`, every line is an object; those of a connection have all that is known of it."""
        path = self.file(keys.public_line(USER_KEY.blob, "alice") + "\n")
        daemon = self.run_daemon(
            *("--robot", "echo", "--log-format", "json", "--authorized-keys", path), LC_ALL="C.UTF-8", LANGUAGE="zh_CN"
        )
        while "host key" not in daemon.text():
            await deferLater(reactor, 0.05)
        talk = await Talk().start(daemon.port, signer=Signer(USER_KEY.blob, USER_KEY.sign))
        await talk.ask("s3cret")
        await talk.leave()
        await daemon.logged("ended (leaving)")
        lines = [json.loads(line) for line in daemon.text().splitlines()]
        self.assertNotIn("s3cret", daemon.text())
        ended = {line["event"]: line for line in lines if "event" in line}["ended"]
        self.assertEqual((ended["user"], ended["key"]), ("alice", keys.fingerprint(USER_KEY.blob)))
        self.assertEqual((ended["address"], ended["suite"], ended["reason"]), ("127.0.0.1", SUITE, "leaving"))
        self.assertEqual((ended["messages"], ended["category"]), (1, None))
        self.assertGreater(ended["records_sent"], ended["messages"])

    async def test_english(self) -> None:
        """The log is in English, whatever the language of the system; errors at startup are not."""
        path = Path(self.file(keys.public_line(USER_KEY.blob, "alice") + "\n"))
        chinese = {"LC_ALL": "C.UTF-8", "LANGUAGE": "zh_CN"}
        daemon = self.run_daemon("--robot", "echo", "--authorized-keys", str(path), **chinese)
        await daemon.started()
        path.write_text("nonsense\n")
        daemon.hang_up()
        await daemon.logged("keeping the previous keys")
        with socket.create_connection(("127.0.0.1", daemon.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await daemon.logged("aborted (framing)")
        await daemon.stop()
        self.assertTrue(daemon.text().isascii(), daemon.text())
        refused = self.run_daemon("--authorized-keys", str(path), **chinese)
        self.assertFalse(refused.failed()[1].isascii())

    async def test_standardOutput(self) -> None:
        """With `--logfile -`, the same lines go to standard output."""
        daemon = self.run_daemon("--robot", "echo", twistd=("--logfile", "-"))
        daemon.log = daemon.output
        await daemon.started()
        before = len(daemon.text().splitlines())
        await self.talk(daemon)
        self.assertLines(daemon.text(), before)

    async def test_logger(self) -> None:
        """A logger that the operator chose gets the events themselves, each once."""
        daemon = self.run_daemon("--robot", "echo", twistd=("--logger", "tests.harness.json_log.observer"))
        daemon.log = daemon.output
        while "host key" not in daemon.text():
            await deferLater(reactor, 0.05)
        events = [json.loads(line) for line in daemon.text().splitlines()]
        (port,) = (
            re.search(r"starting on (\d+)", event.get("log_text", "")) for event in events if "log_text" in event
        )
        assert port is not None
        await (await Talk().start(int(port[1]))).leave()
        await daemon.logged('"reason": "leaving"')
        formats = [json.loads(line)["log_format"] for line in daemon.text().splitlines()[len(events) :]]
        self.assertEqual(
            formats,
            [
                "client {client} from {peer}: admitted as {name}{details}",
                "client {client} from {peer}: ended ({why}) as {name}{details}",
            ],
        )

    async def test_haproxy(self) -> None:
        """Behind `haproxy:`, lines have the client's address."""
        daemon = await self.run_daemon(
            "--robot", "echo", "--listen", "haproxy:tcp:0:interface=127.0.0.1", "--anyone"
        ).started()
        with socket.create_connection(("127.0.0.1", daemon.port)) as client:
            client.sendall(HEADER + b"GET / HTTP/1.1\r\n\r\n")
            await daemon.logged("client 1 from [192.0.2.7]:4444: aborted (framing)")


class StartupTests(DaemonTestCase):
    """What a daemon does and says before it has clients."""

    async def test_warnings(self) -> None:
        """The log warns of root and of too few descriptors, in a line each."""
        daemon = await self.run_daemon("--max-sessions", "900000000").started()
        lines = [line for line in daemon.text().splitlines() if "#warn" in line]
        words = ["running as root"] if os.geteuid() == 0 else []
        words.append("--max-sessions 900000000 needs 900000564")
        for line, expected in zip(lines, words, strict=True):
            self.assertIn(expected, line)

    async def test_noWarnings(self) -> None:
        """The daemon raises the limit on open files if it can."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 1564:
            raise SkipTest("the hard limit is too low")
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        daemon = await self.run_daemon().started()
        lines = [line for line in daemon.text().splitlines() if "#warn" in line and "root" not in line]
        self.assertEqual(lines, [])
        if sys.platform == "linux":
            self.assertEqual(resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE), (1564, hard))

    async def test_privateLog(self) -> None:
        """The log that the daemon creates is not readable by others."""
        daemon = await self.run_daemon().started()
        self.assertEqual(stat.S_IMODE(daemon.log.stat().st_mode), 0o600)


class RefusalTests(DaemonTestCase):
    """A daemon that cannot start says why in one line, and with its status."""

    def assertRefused(self, words: str, *options: str, twistd: Sequence[str] = (), **environ: str) -> None:
        daemon = self.run_daemon(*options, twistd=twistd, **environ)
        status, output = daemon.failed()
        self.assertEqual(status, 1, output)
        last = output.splitlines()[-1]
        self.assertIn(words, last)
        self.assertNotIn("Traceback", output + daemon.text())

    def test_endpoints(self) -> None:
        """An endpoint that is none, and a UNIX socket without a name."""
        self.assertRefused("--listen nonsense:1", "--listen", "nonsense:1")
        self.assertRefused("--listen tcp:x", "--listen", "tcp:x")
        self.assertRefused("use --name [HOST]:PORT", "--listen", "unix:/tmp/socket")
        self.assertRefused("use --name [HOST]:PORT", "--listen", "systemd:domain=UNIX:index=0")
        self.assertRefused("systemd passed no such socket", "--listen", "systemd:domain=INET:index=0")

    def test_portInUse(self) -> None:
        """A port that is taken."""
        port = reactor.listenTCP(0, Site(TuringPeer(reactor)), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        endpoint = f"tcp:{port.getHost().port}:interface=127.0.0.1"
        self.assertRefused(f"--listen {endpoint}: Address already in use", "--listen", endpoint)

    def test_addresses(self) -> None:
        """An address that does not exist, or that the system does not give, is named in words."""
        unix = ("--name", "[chat.example.org]:8080", "--listen")
        for problem, *options in (
            ("unix:/nonexistent/chat: No such file or directory", *unix),
            ("tcp:0:interface=192.0.2.1: Cannot assign requested address", "--anyone", "--listen"),
            ("tcp:99999: bind(): port must be 0-65535.", "--anyone", "--listen"),
            ("tcp6:0:interface=fe80\\:\\:1%nonexistent: Name or service not known", "--anyone", "--listen"),
            ("ssl:0:privateKey=/nonexistent: No such file or directory", "--listen"),
            ("tcp6:0:interface=fe80::1%eth0: too many, too few or unknown parts", "--listen"),
        ):
            self.assertRefused(f"--listen {problem}", *options, problem.partition(": ")[0])

    def test_files(self) -> None:
        """A host key that others can read, one that is none, and authorized keys with a bad line."""
        self.assertRefused("chmod 600", "--host-key", self.file("x", 0o644))
        self.assertRefused("not an Ed25519 private key", "--host-key", self.file("x"))
        path = self.file("# team\nssh-ed25519 nonsense\n")
        self.assertRefused(f"{path}:2: ", "--authorized-keys", path)
        self.assertRefused("No such file", "--authorized-keys", "/nonexistent")

    def test_log(self) -> None:
        """A log that cannot be created, or that would be written in a format that another observer does not know."""
        problem = "--logfile /nonexistent/log: No such file or directory"
        self.assertRefused(problem, twistd=("--logfile", "/nonexistent/log"))
        logger = ("--logger", "tests.harness.json_log.observer")
        problem = "--log-format json cannot be used with twistd's --logger and --syslog"
        self.assertRefused(problem, "--log-format", "json", twistd=logger)

    def test_privileges(self) -> None:
        """Authorized keys that cannot be read after twistd has dropped privileges."""
        if os.geteuid() != 0:
            raise SkipTest("only root can drop privileges")
        path = self.file(keys.public_line(USER_KEY.blob, "alice") + "\n")
        self.assertRefused(f"{path}: Permission denied", "--authorized-keys", path, twistd=("--uid", "65534"))

    def test_robots(self) -> None:
        """A robot or option that does not exist, a key that is missing or in the wrong place."""
        self.assertRefused("unknown robot marvin; expected one of", "--robot", "marvin")
        self.assertRefused("no option colour", "--robot", "turing", "-R", "colour=red")
        self.assertRefused("needs an API key", "--robot", "turing")
        self.assertRefused("key-file=FILE", "--robot", "turing", "-R", "key=0123")

    def test_options(self) -> None:
        """A value that does not fit."""
        self.assertRefused("--name x: expected [HOST]:PORT", "--name", "x")
        self.assertRefused("--suites rot13: expected ", "--suites", "rot13")
        self.assertRefused("--tick 5: expected a number from 0.01 to 0.25", "--tick", "5")


class KilledDaemon(Daemon):
    """A daemon that finds what one with the same number left behind that was killed, in its current directory."""

    program = (
        "-c",
        """
import os, socket, sys
os.chdir(os.path.dirname(sys.argv[sys.argv.index("--logfile") + 1]))
with open("pid", "w") as file:
    file.write(str(os.getpid()))
socket.socket(socket.AF_UNIX).bind("socket")
os.symlink(str(os.getpid()), "socket.lock")
from twisted.scripts.twistd import run
run()
""",
    )


class AdoptingDaemon(Daemon):
    """A daemon with a UNIX socket that it has got from systemd."""

    program = (
        "-c",
        """
import os, socket, sys
os.chdir(os.path.dirname(sys.argv[sys.argv.index("--logfile") + 1]))
listening = socket.socket(socket.AF_UNIX)
listening.bind("socket")
listening.listen()
os.dup2(listening.fileno(), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="chat", LISTEN_PID=str(os.getpid()))
from twisted.scripts.twistd import run
run()
""",
    )


class ServiceTests(DaemonTestCase):
    """A daemon in a container, or started by a service manager."""

    name = ("--robot", "echo", *NAME)

    def connect(self, path: Path) -> None:
        """Connect to a UNIX socket of a daemon, whose path may be too long for an address."""
        with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as client:
            client.connect(path.name)

    async def test_killed(self) -> None:
        """A daemon that was killed starts again, although it has the same number as before, as PID 1 of a container."""
        daemon = KilledDaemon(self.mktemp(), *self.name, "--listen", "unix:socket", twistd=("--pidfile", "pid"))
        self.addCleanup(daemon.stop)
        await daemon.started()
        self.assertEqual((daemon.directory / "pid").read_text(), str(daemon.process.pid))
        self.connect(daemon.directory.absolute() / "socket")
        await daemon.logged("client 1 from")
        await daemon.stop()
        self.assertEqual({path.name for path in daemon.directory.iterdir()}, {"log", "output", "state"})

    async def test_running(self) -> None:
        """A PID file of a daemon that runs is respected."""
        path = self.mktemp()
        twistd = ("--pidfile", str(Path(path).absolute()))
        await self.run_daemon(twistd=twistd).started()
        status, output = self.run_daemon(twistd=twistd).failed()
        self.assertEqual(status, 1)
        self.assertIn("Another twistd server is running", output)

    async def test_systemd(self) -> None:
        """A daemon that gets a UNIX socket from systemd accepts its clients."""
        daemon = AdoptingDaemon(self.mktemp(), *self.name, "--listen", "systemd:domain=UNIX:index=0")
        self.addCleanup(daemon.stop)
        await daemon.started()
        self.connect(daemon.directory.absolute() / "socket")
        await daemon.logged("client 1 from")

    async def test_keyOfAnotherUser(self) -> None:
        """A host key and authorized keys of another user are accepted if they can be read, as in a container."""
        if os.geteuid() != 0:
            raise SkipTest("only root can give files to another user")
        key = make_key(Path(self.mktemp()))
        users = self.file(keys.public_line(USER_KEY.blob, "alice") + "\n", 0o664)
        for path in (str(key), users):
            os.chown(path, 65534, -1)
        key.chmod(0o440)
        daemon = await self.run_daemon("--host-key", str(key.absolute()), "--authorized-keys", users).started()
        self.assertEqual(daemon.fingerprint, ssh_keygen("-lf", key.with_suffix(".pub")).split()[1])

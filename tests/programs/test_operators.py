"""The metrics and the control socket of a real daemon, and securechat-ctl as a program of its own."""

import json
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from shutil import rmtree

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from securechat.client.signer import Signer
from securechat.errors import SecureChatError
from securechat.ssh import keys
from securechat.wire.events import GoodbyeReceived
from securechat.wire.messages import Reason
from tests.harness.daemon import ENVIRON, STOP_TIMEOUT, Talk, reactor
from tests.harness.pair import USER_KEY
from tests.programs.test_daemon import DaemonTestCase


class OperatorTests(DaemonTestCase):
    """What an operator sees of a daemon, and can do."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())  # the paths of sockets have to be short
        self.addCleanup(rmtree, self.directory)
        self.metrics = self.directory / "metrics"
        self.control = self.directory / "a:b"  # a colon has a meaning for Twisted

    async def get(self, path: str) -> str:
        """What the daemon answers to a request for a page."""

        def ask() -> str:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(60)
                connection.connect(str(self.metrics))
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                with connection.makefile("r") as response:
                    return response.read()

        answer: str = await deferToThread(ask)
        return answer

    async def ctl(self, *arguments: str) -> tuple[int, str, str]:
        """Run securechat-ctl: its exit status and what it printed."""
        command = [sys.executable, "-m", "securechat.control", "--socket", str(self.control), *arguments]
        done: subprocess.CompletedProcess[str] = await deferToThread(
            subprocess.run, command, env=ENVIRON, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout, done.stderr

    async def test_daemon(self) -> None:
        """It is measured, listed, reloaded and told to end a session; bad input does not harm it."""
        path = self.file(keys.public_line(USER_KEY.blob, "alice") + "\n")
        daemon = await self.run_daemon(
            *("--robot", "echo", "--authorized-keys", path, "--metrics-users"),
            *("--metrics", f"unix:{self.metrics}", "--control", str(self.control)),
        ).started()
        self.assertEqual(stat.S_IMODE(self.control.stat().st_mode), 0o600)
        talk = await Talk().start(daemon.port, signer=Signer(USER_KEY.blob, USER_KEY.sign))
        self.assertEqual(await talk.ask("hello"), "hello")

        self.assertIn("200 OK", await self.get("/readyz"))
        metrics = await self.get("/metrics")
        self.assertIn('securechat_replies_total{outcome="ok",to="message"} 1.0', metrics)
        self.assertIn('securechat_user_messages_total{user="alice"} 1.0', metrics)
        self.assertRegex(metrics, r"\nsecurechat_tick_lateness_seconds_count [1-9]")
        self.assertRegex(metrics, r"\nprocess_open_fds [1-9]")

        status, output, _errors = await self.ctl("sessions")
        self.assertEqual(status, 0)
        self.assertRegex(
            output, r"(?m)^session .*\n1 +alice +SHA256:\S+ +yes +\[127\.0\.0\.1\]:\d+ +mlkem768x25519-\S+ "
        )
        status, output, _errors = await self.ctl("--json", "users")
        self.assertEqual(json.loads(output)["sessions"], 1)

        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.control))
            connection.sendall(b"\xff" * 10_000)
            self.assertIn(b'"error"', await deferToThread(connection.recv, 1000))

        Path(path).write_text("nonsense\n")
        status, output, errors = await self.ctl("reload")
        self.assertEqual((status, output), (1, ""))
        self.assertRegex(errors, rf"^securechat-ctl: {path}:1: .*\n$")
        while "securechat_keys_stale 1.0" not in await self.get("/metrics"):
            await deferLater(reactor, 0.1)  # metrics are served again for half a second
        Path(path).write_text(keys.public_line(USER_KEY.blob, "alice") + "\n")
        self.assertEqual(await self.ctl("reload"), (0, "", ""))

        self.assertEqual((await self.ctl("kick", "9"))[::2], (1, "securechat-ctl: no session 9\n"))
        self.assertEqual(await self.ctl("kick", "1"), (0, "", ""))
        goodbye = await talk.end
        assert isinstance(goodbye, GoodbyeReceived)
        self.assertIs(goodbye.reason, Reason.REMOVED)
        status, output, _errors = await self.ctl("--json", "stats")
        self.assertEqual((json.loads(output)["sessions"], json.loads(output)["messages"]), (0, 1))

        await daemon.stop()
        self.assertFalse(self.control.exists())
        self.assertNotIn("Traceback", daemon.text())
        status, _output, errors = await self.ctl("stats")
        self.assertEqual((status, errors), (1, f"securechat-ctl: {self.control}: No such file or directory\n"))

    async def test_usage(self) -> None:
        """What users have used until now is shown; a ledger that cannot be used is an error and shows in a metric."""
        path = self.file(keys.public_line(USER_KEY.blob, "alice") + "\n")
        daemon = await self.run_daemon(
            *("--robot", "echo", "--authorized-keys", path),
            *("--metrics", f"unix:{self.metrics}", "--control", str(self.control)),
        ).started()
        self.assertEqual(await self.ctl("usage"), (0, "", ""))
        talk = await Talk().start(daemon.port, signer=Signer(USER_KEY.blob, USER_KEY.sign))
        self.assertEqual(await talk.ask("hello"), "hello")
        status, output, _errors = await self.ctl("usage", "--since", "2026-01-01")
        self.assertEqual(status, 0)
        self.assertRegex(output, r"^day +user +messages .*\n\d{4}-\d\d-\d\d +alice +1 +0 +2 +2 +4\n$")
        self.assertEqual(await self.ctl("usage", "--since", "9999-12-31"), (0, "", ""))
        with closing(sqlite3.connect(daemon.state / "usage.sqlite")) as other:
            other.execute("BEGIN IMMEDIATE")
            self.assertEqual(await talk.ask("hello"), "hello")
            status, output, errors = await self.ctl("--json", "usage")
            self.assertEqual((status, json.loads(output)["messages"]), (1, 1))
            self.assertRegex(errors, r"^securechat-ctl: the latest usage is not saved: .*: database is locked\n$")
            self.assertIn("securechat_ledger_stale 1.0", await self.get("/metrics"))
            other.rollback()
        status, output, _errors = await self.ctl("usage", "--json")
        self.assertEqual((status, json.loads(output)["messages"]), (0, 2))
        while "securechat_ledger_stale 0.0" not in await self.get("/metrics"):
            await deferLater(reactor, 0.1)
        await talk.leave()

    async def test_drain(self) -> None:
        """A reply in progress is finished, a second `drain` changes nothing, and the daemon ends with status 0."""
        options = ("--robot", "echo", "--tick", "0.02", "--control", str(self.control))
        daemon = await self.run_daemon(*options).started()
        talk = await Talk().start(daemon.port)
        reply = Deferred.fromCoroutine(talk.ask("x" * 30_000))
        while not talk.texts:
            await deferLater(reactor, 0.01)
        for _ in range(2):
            self.assertEqual(await self.ctl("drain"), (0, "", ""))
        self.assertIn("received the drain command, shutting down", daemon.text())
        self.assertEqual(json.loads((await self.ctl("--json", "stats"))[1])["ready"], False)
        self.assertEqual(await reply, "x" * 30_000)
        self.assertEqual(await talk.end, GoodbyeReceived(Reason.STOPPING, 1))
        self.assertEqual(await deferToThread(daemon.process.wait, STOP_TIMEOUT), 0)
        self.assertEqual(daemon.text().count("shutting down"), 1)

    async def test_drainAndSignal(self) -> None:
        """A SIGTERM after `drain` closes all connections at once."""
        options = ("--robot", "echo", "--tick", "0.25", "--control", str(self.control))
        daemon = await self.run_daemon(*options).started()
        talk = await Talk().start(daemon.port)
        reply = Deferred.fromCoroutine(talk.ask("x" * 60_000))
        while not talk.texts:
            await deferLater(reactor, 0.01)
        self.assertEqual(await self.ctl("drain"), (0, "", ""))
        await daemon.stop()
        self.assertIsInstance(await talk.end, SecureChatError)
        self.assertFalse(reply.called)
        self.assertEqual(daemon.process.returncode, 0)

    async def test_drainUnused(self) -> None:
        """A daemon without sessions ends at once, but not before it has answered."""
        daemon = await self.run_daemon("--robot", "echo", "--control", str(self.control)).started()
        self.assertEqual(await self.ctl("drain"), (0, "", ""))
        self.assertEqual(await deferToThread(daemon.process.wait, STOP_TIMEOUT), 0)

    async def test_configuration(self) -> None:
        """A configuration file that cannot be used is an error of `reload`, and seen until it is corrected."""
        path = self.file("message-rate = 5.0\n")
        daemon = self.run_daemon("--config", path, "--metrics", f"unix:{self.metrics}", "--control", str(self.control))
        await daemon.started()
        self.assertEqual(await self.ctl("reload"), (0, "", ""))
        Path(path).write_text("message-rate = 0\n")
        status, output, errors = await self.ctl("reload")
        self.assertEqual((status, output), (1, ""))
        self.assertRegex(errors, rf"^securechat-ctl: {path}:1: message-rate\b.*\n$")
        self.assertIn("securechat_configuration_stale 1.0", await self.get("/metrics"))
        Path(path).write_text("message-rate = 7.0\n")
        self.assertEqual(await self.ctl("reload"), (0, "", ""))
        self.assertEqual(daemon.process.poll(), None)

    def test_public(self) -> None:
        """Metrics that other machines could read are refused unless that is asked for."""
        for endpoint in ("tcp:0", "tcp6:0"):
            daemon = self.run_daemon("--metrics", endpoint)
            status, output = daemon.failed()
            self.assertEqual(status, 1)
            self.assertRegex(output, f"^securechat: --metrics {endpoint}: other machines can reach it; .*$")

    async def test_allowed(self) -> None:
        """Addresses of this machine need no permission, and others are used with it."""
        for options in (("tcp:0:interface=127.0.0.1",), ("tcp6:0:interface=\\:\\:1",), ("tcp:0", "--metrics-public")):
            daemon = await self.run_daemon("--metrics", *options).started()
            await daemon.stop()

    def test_refused(self) -> None:
        """A socket that cannot be used stops the daemon with a line that names its option."""
        for options, problem in (
            (("--metrics", "unix:/nowhere/metrics"), "No such file or directory"),
            (("--metrics", "nonsense:x"), "Unknown endpoint type: 'nonsense'"),
            (("--control", "/nowhere/control"), "No such file or directory"),
            (("--control", "/tmp/" + "x" * 120), "AF_UNIX path too long"),
        ):
            status, output = self.run_daemon(*options).failed()
            self.assertEqual(status, 1)
            self.assertEqual(output, f"securechat: {options[0]} {options[1]}: {problem}")

"""The local API with real programs: a daemon, ``securechat --serve``, and an HTTP client."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.harness.daemon import ENVIRON, MANY, Daemon
from tests.harness.terminal import Terminal

LIMIT = 60  # seconds
CLIENT = (sys.executable, "-m", "securechat.client")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServingClient:
    """``securechat --serve`` as a process. The methods block: call them in a thread."""

    def __init__(self, directory: Path, daemon_port: int) -> None:
        self.port = free_port()
        self.errors = directory / "errors"
        self.output = directory / "output"
        self.environ = {**ENVIRON, "XDG_STATE_HOME": str(directory), "HOME": str(directory)}
        self.command = (
            *(*CLIENT, f"127.0.0.1:{daemon_port}", "--accept-new", "--serve", str(self.port)),
            *("--known-hosts", str(directory / "known_hosts")),
        )
        with self.errors.open("wb") as errors, self.output.open("wb") as output:
            status = os.fstat(errors.fileno())
            self.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"  # as if it were systemd's journal
            self.process = subprocess.Popen(self.command, env=self.environ, stdout=output, stderr=errors)

    def wait_for(self, words: str) -> None:
        end = time.monotonic() + LIMIT
        while words not in self.errors.read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no {words!r} in {self.errors.read_text()}")
            time.sleep(0.05)

    def key(self) -> str:
        """The key, as programs find it."""
        done = subprocess.run([*self.command, "--print-env"], env=self.environ, capture_output=True, check=True)
        found = re.search(r"^export OPENAI_API_KEY=(\S+)$", done.stdout.decode(), re.MULTILINE)
        assert found is not None
        return found[1]

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        try:
            headers = {"Authorization": f"Bearer {self.key()}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class ServeTests(TestCase):
    """A daemon whose robot is asked through HTTP."""

    timeout = 240

    async def start(self, *options: str) -> ServingClient:
        self.daemon = Daemon(self.mktemp(), "--robot", "echo", "--api", *MANY, *options)
        self.addCleanup(self.daemon.stop)
        await self.daemon.started()
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        client = ServingClient(directory, self.daemon.port)
        self.addCleanup(deferToThread, client.stop)
        await deferToThread(client.wait_for, "serving the API of")
        return client

    async def test_conversation(self) -> None:
        """A program gets the list of models, a reply in one piece, and one as a stream of events."""
        client = await self.start()
        status, body = await deferToThread(client.ask, "GET", "/v1/models")
        self.assertEqual((status, [model["id"] for model in json.loads(body)["data"]]), (200, ["echo"]))
        request: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": "你好"}]}
        status, body = await deferToThread(client.ask, "POST", "/v1/chat/completions", request)
        self.assertEqual((status, json.loads(body)["choices"][0]["message"]["content"]), (200, "你好"))
        request["stream"] = True
        status, body = await deferToThread(client.ask, "POST", "/v1/chat/completions", request)
        *events, done, end = body.decode().split("\n\n")
        self.assertEqual((status, done, end), (200, "data: [DONE]", ""))
        deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events]
        self.assertEqual("".join(delta.get("content", "") for delta in deltas), "你好")
        for line in client.errors.read_text().splitlines():
            self.assertNotIn("你好", line)
        self.assertNotIn(client.key(), client.output.read_text() + client.errors.read_text())

    async def test_restart(self) -> None:
        """Requests fail while the daemon is away, and succeed when it is back."""
        client = await self.start("--shaping", "off")
        self.daemon.process.terminate()
        await deferToThread(client.wait_for, "no connection to the server")
        status, _body = await deferToThread(client.ask, "GET", "/v1/models")
        self.assertEqual(status, 503)
        port = self.daemon.port
        await self.daemon.stop()
        listen = f"tcp:{port}:interface=127.0.0.1"
        again = Daemon(str(self.daemon.directory), "--robot", "echo", "--api", "--listen", listen)
        self.addCleanup(again.stop)
        await deferToThread(client.wait_for, "connected to the server again")
        status, _body = await deferToThread(client.ask, "GET", "/v1/models")
        self.assertEqual(status, 200)

    async def test_stops(self) -> None:
        """SIGTERM ends the client in order: its exit status is 0, and the server gets GOODBYE."""
        client = await self.start("--shaping", "off")
        await deferToThread(client.ask, "GET", "/v1/models")
        client.process.send_signal(signal.SIGTERM)
        self.assertEqual(await deferToThread(client.process.wait, LIMIT), 0)
        await self.daemon.logged("client 1 from")
        await self.daemon.logged(": left")

    async def test_withoutApi(self) -> None:
        """A daemon without --api ends the client with exit status 6."""
        daemon = Daemon(self.mktemp(), "--robot", "echo", *MANY)
        self.addCleanup(daemon.stop)
        await daemon.started()
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        client = ServingClient(directory, daemon.port)
        self.addCleanup(deferToThread, client.stop)
        self.assertEqual(await deferToThread(client.process.wait, LIMIT), 6)
        last = client.errors.read_text().splitlines()[-1]
        self.assertEqual(last, "securechat: the server does not offer its API to you; its operator can, with --api")

    async def test_terminal(self) -> None:
        """On a terminal the commands contain the key, one line shows the state, and Ctrl-C ends the client."""
        client = await self.start("--shaping", "off")
        key = await deferToThread(client.key)
        client.process.terminate()
        await deferToThread(client.process.wait, LIMIT)
        screen, status = await deferToThread(self.use_terminal, client)
        self.assertIn(f"export OPENAI_API_KEY={key}\r\n", screen)
        self.assertEqual(status, 0)

    def use_terminal(self, client: ServingClient) -> tuple[str, int]:
        terminal = Terminal(list(client.command), {**client.environ, "TERM": "xterm"}, LIMIT)
        try:
            terminal.wait_for("requests: 0 running, 0 done; sessions: 1/4")
            client.ask("GET", "/v1/models")
            terminal.wait_for("requests: 0 running, 1 done; sessions: 1/4")
            terminal.signal(signal.SIGINT)
        finally:
            status = terminal.close()
        return terminal.screen, status

"""The local API with real programs: a daemon, ``securechat --serve``, and an HTTP client."""

import json
import signal
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.harness.daemon import MANY, Daemon
from tests.harness.serving_client import LIMIT, ServingClient
from tests.harness.terminal import Terminal


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
        await self.daemon.logged(": ended (leaving)")

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

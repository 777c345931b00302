"""The frontend that serves the API, from its options to HTTP, with a server in this process."""

import io
import os
import socket
import stat
import sys
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace
from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from securechat.client import backoff, connecting
from securechat.client.api import serve as serve_module
from securechat.client.api.address import ServeAddress
from securechat.client.destination import Destination
from securechat.client.exit_codes import ExitCode
from securechat.client.output import Output
from securechat.client.run import run
from securechat.client.settings import ClientSettings
from securechat.ssh import keys
from securechat.wire.items import Head, ServerEvent
from securechat.wire.messages import Reason
from tests.harness.call_server import CallServer
from tests.harness.ssh import make_key

reactor: Any = installed
KEY = "sc-secret"
LIMIT = 10  # seconds for anything that takes milliseconds
PATH = "/v1/chat/completions"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class UnixConnection(HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT)
        self.sock.connect(str(self._path))


class HeldOutput(Output):
    """Standard output and error, of which a test says whether they are read."""

    def __init__(self) -> None:
        super().__init__()
        self.holds: list[Callable[[bool], object]] = []

    def hold(self, hold: Callable[[bool], object]) -> None:
        self.holds.append(hold)


class ServeTestCase(TestCase):
    """A client that serves the API of a server."""

    timeout = 2.0 * LIMIT
    connection: HTTPConnection  # the last one to the API

    def setUp(self) -> None:
        self.output, self.errors = io.StringIO(), io.StringIO()
        self.standard_output = HeldOutput()
        self.patch(sys, "stdout", self.output)
        self.patch(sys, "stderr", self.errors)
        self.patch(connecting, "can_ask", lambda: False)
        self.server = self.make_server()
        self.key_file = Path(self.mktemp()).absolute()
        self.key_file.write_text(KEY)
        self.key_file.chmod(0o600)
        self.known_hosts = Path(self.mktemp())
        self.address = ServeAddress("127.0.0.1", free_port())
        self.settings = ClientSettings(
            destination=Destination("127.0.0.1", self.server.number),
            known_hosts=self.known_hosts,
            accept_new=True,
            serve=self.address,
            serve_key_file=self.key_file,
        )

    def make_server(self, **options: Any) -> CallServer:
        server = CallServer(**options)
        self.addCleanup(lambda: Deferred.fromCoroutine(server.stop()))
        return server

    def run_client(self, **options: object) -> "Deferred[ExitCode]":
        done = Deferred.fromCoroutine(run(reactor, replace(self.settings, **options), os.environ, self.standard_output))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.end(done)))
        return done

    async def start(self, **options: object) -> "Deferred[ExitCode]":
        """Run the client; it serves then."""
        done = self.run_client(**options)
        while "serving the API" not in self.errors.getvalue():
            self.assertFalse(done.called, self.errors.getvalue())
            await self.wait()
        return done

    async def end(self, done: "Deferred[ExitCode]") -> None:
        """End the client if the test has not, and wait until its sessions have gone."""
        done.addErrback(lambda failure: failure.trap(CancelledError))
        done.cancel()
        done.cancel()
        while self.server.sessions:
            await self.wait()
        await self.wait()

    async def wait(self, seconds: float = 0.01) -> None:
        await deferLater(reactor, seconds)

    def connect(self) -> HTTPConnection:
        if self.address.path is not None:
            self.connection = UnixConnection(self.address.path)
        else:
            self.connection = HTTPConnection(self.address.host, self.address.port, timeout=LIMIT)
        self.addCleanup(self.connection.close)
        return self.connection

    def send(self, body: str = '{"model":"m"}', path: str = PATH) -> "Deferred[HTTPResponse]":
        """The response of the API, when its head has arrived."""

        def ask() -> HTTPResponse:
            connection = self.connect()
            headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
            connection.request("POST", path, body, headers)
            return connection.getresponse()

        return cast("Deferred[HTTPResponse]", deferToThread(ask))

    async def read(self, response: HTTPResponse) -> bytes:
        data = await deferToThread(response.read)
        response.close()
        return data

    async def ask(self, text: bytes = b"{}") -> int:
        """Send a request, and have it answered; the status."""
        asked = self.send()
        call = await self.server.next_call()
        call.answer(text)
        response = await asked
        self.assertEqual(await self.read(response), text)
        return response.status


class RequestTests(ServeTestCase):
    """Requests of programs."""

    async def test_answers(self) -> None:
        """A request goes to the server as it came, and its response to the program."""
        await self.start()
        asked = self.send('{"model": "m", "x": [1]}')
        call = await self.server.next_call()
        self.assertEqual((call.path, call.body), ("chat/completions", b'{"model": "m", "x": [1]}'))
        call.answer(b'{"y": 2}')
        response = await asked
        self.assertEqual((response.status, await self.read(response)), (200, b'{"y": 2}'))

    async def test_streams(self) -> None:
        """The events of a stream arrive one by one."""
        await self.start()
        asked = self.send()
        call = await self.server.next_call()
        call.send(Head(200, "text/event-stream"), ServerEvent("", b"1"))
        response = await asked
        self.assertEqual(await deferToThread(response.readline), b"data: 1\n")
        call.send(ServerEvent("", b"[DONE]"), last=True)
        self.assertEqual(await self.read(response), b"\ndata: [DONE]\n\n")

    async def test_sideBySide(self) -> None:
        """A short request does not wait for a long one, and uses the session again that another one has opened."""
        await self.start()
        long = self.send()
        first = await self.server.next_call()
        for _request in range(3):
            self.assertEqual(await self.ask(), 200)
        self.assertEqual((len(self.server.sessions), self.server.dialled), (2, 2))
        first.answer()
        await self.read(await long)

    async def test_disconnects(self) -> None:
        """A program that disconnects cancels its request."""
        await self.start()
        asked = self.send()
        call = await self.server.next_call()
        call.send(Head(200, "text/event-stream"), ServerEvent("", b"1"))
        (await asked).close()
        self.connection.close()
        while not call.session.cancelled:
            await self.wait()
        self.assertEqual(call.session.cancelled, [call.id])

    async def test_log(self) -> None:
        """Each request has a line in the log, without content; with -q it has none."""
        done = await self.start()
        await self.ask(b'{"answer": 1}')
        self.assertRegex(self.errors.getvalue(), rf"\n\S+ \S+ POST {PATH} 200 ok \d+\.\d s, 0 events\n")
        self.assertNotIn("answer", self.errors.getvalue())
        done.cancel()
        await done
        self.errors.truncate(0)
        await self.start(quiet=True)
        await self.ask()
        self.assertNotIn("POST", self.errors.getvalue())

    async def test_slowLog(self) -> None:
        """Requests are not logged while the log cannot be written fast enough."""
        await self.start()
        self.standard_output.holds[-1](True)
        await self.ask()
        self.assertNotIn("POST", self.errors.getvalue())

    async def test_key(self) -> None:
        """The key is required, and printed for the user to copy, but not where requests are logged."""
        await self.start()
        self.assertEqual(
            self.output.getvalue(),
            f"export OPENAI_BASE_URL=http://127.0.0.1:{self.address.port}/v1\nexport OPENAI_API_KEY={KEY}\n",
        )
        self.assertNotIn(KEY, self.errors.getvalue())
        self.key_file.write_text("another")
        self.assertEqual(await self.ask(), 200)
        response = await deferToThread(self.ask_without_key)
        self.assertEqual(response.status, 401)
        response.close()

    def ask_without_key(self) -> HTTPResponse:
        connection = self.connect()
        connection.request("GET", "/v1/models")
        return connection.getresponse()


class SocketTests(ServeTestCase):
    """The socket that the API is on."""

    async def test_unix(self) -> None:
        """A UNIX socket is for its owner only, in a directory that is made if needed, and removed in the end."""
        before: list[int] = []
        chmod = os.chmod

        def change_mode(path: str, mode: int) -> None:
            before.append(stat.S_IMODE(os.stat(path).st_mode))
            chmod(path, mode)

        self.patch(os, "chmod", change_mode)
        path = Path(self.mktemp()).absolute() / "new" / "api"
        self.address = ServeAddress(path=Path(os.path.relpath(path)))  # trial's directories may be too long
        done = await self.start(serve=self.address)
        self.assertEqual((stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)), (0o600, 0o700))
        self.assertEqual(before, [0o600])
        self.assertEqual(await self.ask(), 200)
        done.cancel()
        self.assertEqual(await done, ExitCode.ANSWERED)
        self.assertEqual(list(path.parent.iterdir()), [])

    async def test_stale(self) -> None:
        """A socket that no process listens on any more is replaced."""
        path = Path(self.mktemp())
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
        self.address = ServeAddress(path=path)
        await self.start(serve=self.address)
        self.assertEqual(await self.ask(), 200)

    async def test_twice(self) -> None:
        """A UNIX socket on which another process listens is left to it."""
        path = Path(self.mktemp())
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            self.assertEqual(await self.run_client(serve=ServeAddress(path=path)), ExitCode.USAGE)
        self.assertIn("the address is in use", self.errors.getvalue())
        self.assertTrue(path.exists())

    async def test_taken(self) -> None:
        """If the address is in use, or a file is in the way, the program ends with the reason."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", self.address.port))
            other.listen()
            self.assertEqual(await self.run_client(), ExitCode.USAGE)
        words = (
            f"securechat: --serve 127.0.0.1:{self.address.port}: the address is in use; is another securechat running?"
        )
        self.assertEqual(self.errors.getvalue().splitlines()[-1], words)
        path = Path(self.mktemp())
        path.write_text("important")
        self.assertEqual(await self.run_client(serve=ServeAddress(path=path)), ExitCode.USAGE)
        self.assertEqual((path.read_text(), Path(f"{path}.lock").is_symlink()), ("important", False))
        self.assertEqual(self.server.sessions, [])

    async def test_notOurs(self) -> None:
        """An address that this machine does not have is reported."""
        address = ServeAddress("192.0.2.1", 80)
        self.assertEqual(await self.run_client(serve=address, serve_any_address=True), ExitCode.USAGE)
        self.assertIn("--serve 192.0.2.1:80: Cannot assign requested address", self.errors.getvalue())


class StartTests(ServeTestCase):
    """What can be wrong at the start."""

    async def assertFails(self, code: ExitCode, words: str, **options: object) -> None:
        self.assertEqual(await self.run_client(**options), code)
        last = self.errors.getvalue().splitlines()[-1]
        self.assertTrue(last.startswith("securechat: "), last)
        self.assertIn(words, last)
        self.assertEqual(self.output.getvalue(), "")

    async def test_noApi(self) -> None:
        """A server that does not offer its API ends the program."""
        self.server.about = replace(self.server.about, api=False)
        await self.assertFails(
            ExitCode.NO_API, "the server does not offer its API to you; its operator can, with --api"
        )

    async def test_denied(self) -> None:
        """A key that the server does not accept ends the program."""
        key = make_key(Path(self.mktemp()).absolute())
        server = self.make_server(is_authorized=lambda blob, certificate: False)
        destination = Destination("127.0.0.1", server.number)
        await self.assertFails(ExitCode.NOT_TRUSTED, "Permission denied", destination=destination, identity=key)

    async def test_unknownHost(self) -> None:
        """A host key that the user does not accept ends the program; one that is accepted is asked for once."""
        answers = [False, True]
        self.patch(connecting, "can_ask", lambda: True)
        self.patch(connecting, "confirm_host_key", lambda name, blob: answers.pop(0))
        await self.assertFails(ExitCode.NOT_TRUSTED, "Host key verification failed.", accept_new=False)
        await self.start(accept_new=False)
        asked = self.send()
        call = await self.server.next_call()
        self.assertEqual(await self.ask(), 200)
        call.answer()
        await self.read(await asked)
        self.assertEqual((answers, self.server.dialled), ([], 4))

    async def test_changedHost(self) -> None:
        """A host key that has changed ends the program."""
        other = keys.public_line(keys.SigningKey.generate().blob)
        self.known_hosts.write_text(f"[127.0.0.1]:{self.server.number} {other}\n")
        await self.assertFails(ExitCode.NOT_TRUSTED, "REMOTE HOST IDENTIFICATION HAS CHANGED")

    async def test_refused(self) -> None:
        """A server that cannot be reached ends the program."""
        await self.assertFails(
            ExitCode.NOT_CONNECTED, "connection refused", destination=Destination("127.0.0.1", free_port())
        )

    async def test_key(self) -> None:
        """A key file that others can read ends the program before it connects."""
        self.key_file.chmod(0o644)
        await self.assertFails(ExitCode.USAGE, "permissions 0644 are too open")
        self.assertEqual(self.server.dialled, 0)

    async def test_printsEnvironment(self) -> None:
        """--print-env prints the commands, with the key, and nothing else; it does not connect."""
        self.assertEqual(await self.run_client(print_env=True), ExitCode.ANSWERED)
        self.assertEqual(
            (self.output.getvalue(), self.errors.getvalue(), self.server.dialled),
            (
                f"export OPENAI_BASE_URL=http://127.0.0.1:{self.address.port}/v1\nexport OPENAI_API_KEY={KEY}\n",
                "",
                0,
            ),
        )

    async def test_interrupted(self) -> None:
        """A signal before the first session ends the program."""
        done = self.run_client()
        while not self.server.sessions:
            await self.wait(0)
        done.cancel()
        await self.assertFailure(done, CancelledError)
        while self.server.sessions:
            await self.wait()


class LineTests(ServeTestCase):
    """Sessions that end while the API is served."""

    async def test_reconnects(self) -> None:
        """While there is no connection, requests are refused; one line says so, and one that there is one again."""
        self.patch(backoff, "FIRST_DELAY", 0.1)
        await self.start()
        steps = self.errors.getvalue()
        running = self.send()
        await self.server.next_call()
        self.server.is_closed = True
        self.server.drop()
        for asked in (running, self.send()):
            response = await asked
            self.assertEqual(response.status, 503)
            await self.read(response)
        self.assertIsNotNone(response.getheader("Retry-After"))
        self.server.is_closed = False
        while "connected to the server again" not in self.errors.getvalue():
            await self.wait()
        self.assertEqual(await self.ask(), 200)
        lines = [line for line in self.errors.getvalue()[len(steps) :].splitlines() if "POST" not in line]
        self.assertEqual(lines[0], "securechat: no connection to the server: the connection was closed unexpectedly")
        self.assertEqual(lines[-1], "connected to the server again")
        self.assertLessEqual(len(lines), 3)

    async def test_idle(self) -> None:
        """A session that the server ends because it is idle is made anew without a word."""
        await self.start()
        before = self.errors.getvalue()
        self.server.sessions[0].say_goodbye(Reason.IDLE)
        while self.server.sessions:
            await self.wait()
        self.assertEqual(self.errors.getvalue(), before)
        self.assertEqual(await self.ask(), 200)

    async def test_cut(self) -> None:
        """A program whose response is cut does not take it for complete."""
        await self.start()
        asked = self.send()
        call = await self.server.next_call()
        call.send(Head(200, "text/event-stream"), ServerEvent("", b"1"))
        response = await asked
        self.server.drop()
        await self.assertFailure(Deferred.fromCoroutine(self.read(response)), HTTPException, OSError)


class StopTests(ServeTestCase):
    """Signals, which cancel the run."""

    async def test_idle(self) -> None:
        """Without requests the program ends at once, and the server gets GOODBYE."""
        done = await self.start()
        done.cancel()
        self.assertEqual(await done, ExitCode.ANSWERED)
        self.assertEqual(self.server.sessions, [])

    async def test_running(self) -> None:
        """A request that is running ends first; no further ones are accepted."""
        done = await self.start()
        asked = self.send()
        call = await self.server.next_call()
        done.cancel()
        await self.wait(0.05)
        self.assertFalse(done.called and not isinstance(done.result, Deferred))
        await self.assertFailure(self.send(), OSError)
        call.answer(b"[1]")
        self.assertEqual(await self.read(await asked), b"[1]")
        self.assertEqual(await done, ExitCode.ANSWERED)
        self.assertIn("waiting for the running requests", self.errors.getvalue())

    async def test_tooLong(self) -> None:
        """A request that does not end in time is cancelled, and its connection reset."""
        self.patch(serve_module, "STOP_TIME", 0.05)
        self.patch(serve_module, "LEAVE_TIME", 0.05)
        done = await self.start()
        asked = self.send()
        call = await self.server.next_call()
        call.send(Head(200, "text/event-stream"), ServerEvent("", b"1"))
        response = await asked
        done.cancel()
        self.assertEqual(await done, ExitCode.ANSWERED)
        await self.assertFailure(Deferred.fromCoroutine(self.read(response)), HTTPException, OSError)

    async def test_twice(self) -> None:
        """A second signal ends the program at once."""
        done = await self.start()
        asked = self.send()
        await self.server.next_call()
        done.cancel()
        await self.wait(0.05)
        done.cancel()
        await self.assertFailure(done, CancelledError)
        response = await asked
        self.assertEqual(response.status, 503)
        response.close()

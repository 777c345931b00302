"""The local API on real sockets."""

import http.client
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from securechat.client.api.door import DoorSettings
from securechat.client.api.site import make_site
from securechat.wire.items import Head, Piece, ServerEvent
from tests.harness.http import turns_until, until
from tests.harness.local_api import JSON_HEADERS, KEY, FakeCall, FakeCalls, FakeLog, get_bytes, request_bytes

reactor: Any = installed

STREAM = Head(200, "text/event-stream")
EVENT = ServerEvent("", b'{"choices": []}')
MANY = 64 * 1024 * 1024  # bytes, more than all buffers of a connection


class SocketTestCase(TestCase):
    """A server on a port of the loopback interface, and a tool with a blocking socket in a thread."""

    def setUp(self) -> None:
        self.calls = FakeCalls()
        self.log = FakeLog()
        self.site = make_site(self.calls, DoorSettings(KEY), self.log, reactor)
        self.sockets: list[socket.socket] = []
        self.port = self.listen()

    async def tearDown(self) -> None:  # type: ignore[override] # trial waits for it
        """The server notices that its tools have gone."""
        for connected in self.sockets:
            connected.close()
        await until(lambda: not self.site.connections)
        await maybeDeferred(self.port.stopListening)

    def listen(self) -> Any:
        return reactor.listenTCP(0, self.site, interface="127.0.0.1")

    def connect(self) -> socket.socket:
        """A connection of a tool."""
        connected = socket.create_connection(("127.0.0.1", self.port.getHost().port), timeout=20)
        self.sockets.append(connected)
        return connected

    def tool(self, do: Callable[[socket.socket], bytes]) -> "Deferred[bytes]":
        """What a tool makes of a connection, in a thread."""
        return deferToThread(lambda: do(self.connect()))

    async def call(self) -> FakeCall:
        """The first call, when it has been started."""
        await until(lambda: self.calls.started)
        return self.calls.started[0]


def read_all(connected: socket.socket) -> bytes:
    """All that comes until the end; a reset is an exception."""
    parts = []
    while part := connected.recv(65_536):
        parts.append(part)
    return b"".join(parts)


class SocketTests(SocketTestCase):
    """What a tool's socket shows."""

    async def test_errorsAreRead(self) -> None:
        """A tool that is still sending when its request is refused can read why."""

        def send(connected: socket.socket) -> bytes:
            connected.sendall(request_bytes(headers=f"{JSON_HEADERS}Content-Length: {MANY}\r\n", body=b""))
            part = b" " * 65_536
            for _part in range(MANY // len(part)):
                connected.sendall(part)
            return read_all(connected)

        response = await self.tool(send)
        self.assertTrue(response.startswith(b"HTTP/1.1 413 "), response)
        self.assertIn(b'{"error":', response)
        self.assertEqual(self.calls.started, [])

    async def test_reset(self) -> None:
        """When the session ends, the tool's connection is reset, whatever has been written."""
        resets = []

        def stream(connected: socket.socket) -> bytes:
            connected.sendall(request_bytes())
            try:
                return read_all(connected)
            except ConnectionResetError:
                resets.append(True)
                return b""

        result = self.tool(stream)
        call = await self.call()
        call.receiver.itemsReceived([STREAM, EVENT])
        call.receiver.broken()
        await result
        self.assertEqual(resets, [True])

    async def test_disconnection(self) -> None:
        """A tool that disconnects cancels its call within 200 ms."""
        both: list[Head | Piece | ServerEvent] = [STREAM, EVENT]
        for items in (both[:0], both):
            connected = self.connect()
            await deferToThread(connected.sendall, request_bytes())
            await until(lambda: self.calls.started)
            call = self.calls.started.pop()
            if items:
                call.receiver.itemsReceived(items)
            connected.close()
            self.assertLess(await turns_until(lambda call=call: call.is_cancelled), 20)  # type: ignore[misc]

    async def test_slowReader(self) -> None:
        """A tool that does not read holds back its call; nothing is lost when it does."""
        connected = self.connect()
        await deferToThread(connected.sendall, get_bytes(headers="Connection: close\r\n"))
        call = await self.call()
        part = b"x" * 65_536
        call.receiver.itemsReceived([Head(200, "application/json")])
        sent = 0
        while not call.is_paused:
            call.receiver.itemsReceived([Piece(part)])
            sent += len(part)
            self.assertLess(sent, MANY)
            if sent % (1 << 20) == 0:
                await until(lambda: True)
        reading = deferToThread(read_all, connected)
        await until(lambda: not call.is_paused)
        call.receiver.ended()
        body = (await reading).partition(b"\r\n\r\n")[2]
        self.assertTrue(body.endswith(b"\r\n0\r\n\r\n"))
        self.assertEqual(body.count(b"x"), sent)

    async def test_largeBody(self) -> None:
        """A body of 16 MiB arrives, with and without a length."""
        body = b'"' + b"a" * (2**24 - 2) + b'"'
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        for headers, sent in [(f"Content-Length: {len(body)}\r\n", body), ("Transfer-Encoding: chunked\r\n", chunks)]:
            connected = self.connect()
            await deferToThread(connected.sendall, request_bytes(headers=JSON_HEADERS + headers, body=sent))
            await until(lambda: self.calls.started)
            self.assertEqual(self.calls.started.pop().body, body)
            connected.close()

    async def test_connectionsEnd(self) -> None:
        """Connections that have ended do not count."""

        def connect_all() -> list[bytes]:
            tools = [self.connect() for _tool in range(64)]
            for tool in tools:
                tool.sendall(get_bytes("/", key=None))
            responses = [tool.recv(500) for tool in tools]
            for tool in tools:
                tool.close()
            return responses

        for _round in range(3):
            responses = await deferToThread(connect_all)
            self.assertEqual({response[:12] for response in responses}, {b"HTTP/1.1 200"})
            await until(lambda: not self.site.connections)

    async def test_standardLibrary(self) -> None:
        """A client of Python's standard library makes several requests on one connection."""

        def ask() -> list[tuple[int, bytes]]:
            client = http.client.HTTPConnection("localhost", self.port.getHost().port, timeout=20)
            results = []
            for body in ('{"a": 1}', iter([b'{"a"', b": 1}"])):
                headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
                client.request("POST", "/v1/embeddings", body, headers, encode_chunked=not isinstance(body, str))
                response = client.getresponse()
                results.append((response.status, response.read()))
            client.close()
            return results

        result = deferToThread(ask)
        for number in range(2):
            await until(lambda number=number: len(self.calls.started) > number)  # type: ignore[misc]
            call = self.calls.started[number]
            self.assertEqual(json.loads(call.body), {"a": 1})
            call.receiver.itemsReceived([Head(200, "application/json"), Piece(b"%d" % number)])
            call.receiver.ended()
        self.assertEqual(await result, [(200, b"0"), (200, b"1")])


class UnixSocketTests(SocketTestCase):
    """A server on a UNIX socket."""

    def listen(self) -> Any:
        self.path = str(Path(self.mktemp()).absolute().with_name("s"))
        return reactor.listenUNIX(self.path, self.site)

    def connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        self.sockets.append(connected)
        connected.settimeout(20)
        connected.connect(self.path)
        return connected

    async def test_stream(self) -> None:
        """Requests, errors and broken streams are as on a port."""

        def stream(connected: socket.socket) -> bytes:
            connected.sendall(request_bytes())
            return read_all(connected)

        result = self.tool(stream)
        call = await self.call()
        call.receiver.itemsReceived([STREAM, EVENT])
        await deferToThread(time.sleep, 0.05)
        call.receiver.broken()
        response = await result
        self.assertTrue(response.endswith(b'data: {"choices": []}\n\n\r\n'), response)

        def send_nonsense(connected: socket.socket) -> bytes:
            connected.sendall(b"x\r\n\r\n")
            return read_all(connected)

        refusal = await self.tool(send_nonsense)
        self.assertTrue(refusal.startswith(b"HTTP/1.1 400 "), refusal)

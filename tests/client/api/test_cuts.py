"""Connections to the server that are lost at any point of a response."""

import json
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.threads import deferToThread

from securechat.client import backoff
from securechat.wire.connection import MAX_CHUNK
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.messages import encode
from tests.client.api.test_serve import KEY, LIMIT, PATH, ServeTestCase
from tests.harness.call_server import ServedCall
from tests.harness.local_api import request_bytes

POINTS = 50
Items = Callable[[random.Random], list[Head | Piece | ServerEvent]]
MESSAGES = [{"role": "user", "content": "hi"}]


def chunk(text: str, reason: str | None = None) -> ServerEvent:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return ServerEvent("", json.dumps({"choices": [choice]}).encode())


def stream(drawn: random.Random) -> list[Head | Piece | ServerEvent]:
    """A streamed reply, whose words have many lengths."""
    words = [chunk("x" * drawn.choice([1, 5, 300])) for _word in range(12)]
    return [Head(200, "text/event-stream"), *words, chunk("", "stop"), ServerEvent("", b"[DONE]")]


def whole(drawn: random.Random) -> list[Head | Piece | ServerEvent]:
    """A reply in one piece."""
    message = {"role": "assistant", "content": "x" * drawn.randrange(4000, 6000)}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    return [Head(200, "application/json"), *(Piece(body[at : at + 1000]) for at in range(0, len(body), 1000))]


@dataclass(frozen=True)
class Received:
    """What a tool has received until its connection ended."""

    data: bytes
    was_reset: bool

    @property
    def status(self) -> int:
        """0 if the connection was reset before the response began."""
        if not self.data and self.was_reset:
            return 0
        return int(self.data.split()[1])

    @property
    def body(self) -> bytes:
        """What has come of the body."""
        return self._parse()[0]

    @property
    def looks_whole(self) -> bool:
        """Whether a tool takes it for a complete response."""
        return self._parse()[1]

    def _parse(self) -> tuple[bytes, bool]:
        head, _blank, rest = self.data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if b"content-length" in fields:
            return rest, len(rest) == int(fields[b"content-length"])
        if fields.get(b"transfer-encoding") != b"chunked":
            return rest, not self.was_reset
        body = b""
        while rest:
            size, end, rest = rest.partition(b"\r\n")
            if not end:
                break
            if int(size, 16) == 0:
                return body, rest == b"\r\n"
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return body, False


class CutTests(ServeTestCase):
    """A tool never takes a part of a response for the whole."""

    timeout = 120

    async def respond(
        self,
        request: bytes,
        items: list[Head | Piece | ServerEvent],
        cut: random.Random | None = None,
    ) -> Received:
        """What a tool receives; the connection to the server is cut somewhere in the response, or not at all."""
        reading = deferToThread(self.send_raw, request)
        call: ServedCall = await self.server.next_call()
        connection, data = call.session.connection, b"".join(map(encode, items))
        for start in range(0, len(data), MAX_CHUNK):
            connection.result(call.id, data[start : start + MAX_CHUNK], start + MAX_CHUNK >= len(data))
        records = connection.data_to_send()
        if cut is None:
            call.session.transport.write(records)
        else:
            call.session.transport.write(records[: cut.randrange(len(records))])
            for _turn in range(cut.randrange(8)):  # of the reactor, in which the tool gets what has come
                await self.wait(0)
            call.session.transport.loseConnection()
        return await reading

    def send_raw(self, request: bytes) -> Received:
        received, was_reset = b"", False
        with socket.create_connection((self.address.host, self.address.port), LIMIT) as tool:
            tool.sendall(request)
            try:
                while data := tool.recv(65_536):
                    received += data
            except ConnectionResetError:
                was_reset = True
        return Received(received, was_reset)

    async def cut(self, items: Items, path: str, *, version: str = "1.1", **fields: object) -> int:
        """Cut the connection at a random point of each of 50 responses; of how many a part of the body arrived."""
        self.patch(backoff, "FIRST_DELAY", 0.01)
        await self.start()
        body = json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode()
        request = request_bytes(
            f"POST {path} HTTP/{version}",
            f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n",
            body,
            key=KEY,
        )
        complete = await self.respond(request, items(random.Random(0)))
        self.assertEqual((complete.status, complete.looks_whole, complete.was_reset), (200, True, False))
        begun = 0
        for point in range(POINTS):
            drawn = random.Random(point)
            received = await self.respond(request, items(random.Random(0)), drawn)
            if received.status == 200:
                begun += bool(received.body)
                self.assertFalse(received.looks_whole, (point, received))
                self.assertTrue(received.was_reset, point)
                self.assertNotIn(b'"done":true', received.body, point)
                self.assert_begins(complete.body, received.body)
            elif received.status:
                self.assertEqual((received.status, received.looks_whole), (503, True), (point, received))
                self.assertEqual(list(json.loads(received.body)), ["error"])
            while self.errors.getvalue().count("connected to the server again") <= point:
                await self.wait()
        return begun

    def assert_begins(self, whole: bytes, part: bytes) -> None:
        """A part is the beginning of the whole, apart from the times in Ollama's lines."""
        if b"created_at" not in part:
            self.assertEqual(part, whole[: len(part)])

    async def test_events(self) -> None:
        """Server-sent events are followed by a reset instead of the end of the body."""
        self.assertGreater(await self.cut(stream, PATH, stream=True), POINTS // 4)

    async def test_json(self) -> None:
        """So is JSON that is passed on in pieces."""
        self.assertGreater(await self.cut(whole, PATH), POINTS // 4)

    async def test_ollamaStream(self) -> None:
        """So are the lines of Ollama's interface, and none of them is the last one."""
        self.assertGreater(await self.cut(stream, "/api/chat"), POINTS // 4)

    async def test_ollamaObject(self) -> None:
        """A response of Ollama's interface in one piece does not begin before it is complete."""
        self.assertEqual(await self.cut(whole, "/api/chat", stream=False), 0)

    async def test_http10(self) -> None:
        """In HTTP/1.0 a body ends with the connection, so only the reset shows that it is incomplete."""
        self.assertGreater(await self.cut(stream, PATH, version="1.0", stream=True), POINTS // 4)

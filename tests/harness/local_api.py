"""For tests of the local API: fake calls, a tool's connection in memory, and parsed responses."""

import json
from dataclasses import dataclass
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from securechat.client.api.calls import Receiver, Unavailable
from securechat.client.api.channel import Channel
from securechat.client.api.door import DoorSettings
from securechat.client.api.interface import Interface
from securechat.client.api.site import Site, make_site

KEY = "sc-0123456789"
JSON_HEADERS = "Content-Type: application/json\r\n"


class FakeCall:
    """A call, and what was done to it."""

    def __init__(self, path: str, body: bytes, receiver: Receiver) -> None:
        self.path = path
        self.body = body
        self.receiver = receiver
        self.is_cancelled = False
        self.is_paused = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def pause(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume(self) -> None:
        assert self.is_paused
        self.is_paused = False


class FakeCalls:
    """Keeps the calls for the test to respond to."""

    def __init__(self) -> None:
        self.max_body = 2**24
        self.started: list[FakeCall] = []
        self.problem: Unavailable | None = None

    def start(self, path: str, body: bytes, receiver: Receiver) -> FakeCall:
        if self.problem is not None:
            raise self.problem
        self.started.append(FakeCall(path, body, receiver))
        return self.started[-1]


class FakeRecord:
    """What was logged of a call."""

    def __init__(self, request: str) -> None:
        self.request = request
        self.events = 0
        self.end: tuple[int, str] | None = None

    def ended(self, status: int, outcome: str) -> None:
        assert self.end is None
        self.end = status, outcome


class FakeLog:
    """The records of all calls."""

    def __init__(self) -> None:
        self.records: list[FakeRecord] = []

    def began(self, method: str, path: str) -> FakeRecord:
        self.records.append(FakeRecord(f"{method} {path}"))
        return self.records[-1]


class ToolTransport(StringTransport):
    """A tool's connection. The server's half may be closed, and the connection be reset."""

    is_half_closed = False
    is_reset = False

    def loseWriteConnection(self) -> None:
        self.is_half_closed = True

    def abortConnection(self) -> None:
        self.is_reset = True


@dataclass
class Response:
    """A response as a tool reads it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> Any:
        """The error in OpenAI's format; AssertionError if the body is something else."""
        assert self.headers["content-type"] == "application/json"
        error = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


def parse_responses(data: bytes, *, is_head: bool = False) -> list[Response]:
    """All complete responses; AssertionError if something else is there. 100 Continue is a response, too."""
    responses = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, head
        first, *lines = head.decode().split("\r\n")
        headers = {}
        for line in lines:
            name, _colon, value = line.partition(": ")
            assert name.lower() not in headers, name
            headers[name.lower()] = value
        status = int(first.split()[1])
        body = b""
        if is_head or status in (100, 204):
            pass
        elif "transfer-encoding" in headers:
            while size := int(data.partition(b"\r\n")[0], 16):
                chunk = data.partition(b"\r\n")[2]
                body += chunk[:size]
                assert chunk[size : size + 2] == b"\r\n"
                data = chunk[size + 2 :]
            assert data.startswith(b"0\r\n\r\n")
            data = data[5:]
        else:
            size = int(headers["content-length"])
            body, data = data[:size], data[size:]
            assert len(body) == size
        responses.append(Response(status, headers, body))
    return responses


def request_bytes(
    line: str = "POST /v1/chat/completions HTTP/1.1",
    headers: str | None = None,
    body: bytes = b'{"model": "m"}',
    host: str = "Host: localhost:11435\r\n",
    key: str | None = KEY,
) -> bytes:
    """A request; by default one that is let in. `headers` are those beside Host and the key."""
    if headers is None:
        headers = f"{JSON_HEADERS}Content-Length: {len(body)}\r\n"
    authorization = "" if key is None else f"Authorization: Bearer {key}\r\n"
    return f"{line}\r\n{host}{authorization}{headers}\r\n".encode() + body


def get_bytes(path: str = "/v1/models", headers: str = "", method: str = "GET", **others: Any) -> bytes:
    """A request without a body."""
    return request_bytes(f"{method} {path} HTTP/1.1", headers, b"", **others)


class Tool:
    """A connection to the local API in memory, and all that belongs to it."""

    def __init__(self, settings: DoorSettings | None = None, interfaces: dict[str, Interface] | None = None) -> None:
        self.clock = Clock()
        self.calls = FakeCalls()
        self.log = FakeLog()
        self.site: Site = make_site(self.calls, settings or DoorSettings(KEY), self.log, self.clock, interfaces)
        self.connect()

    def connect(self) -> None:
        """Open a connection; the others stay open, but are forgotten here."""
        channel = self.site.buildProtocol(None)
        assert channel is not None
        self.channel: Channel = channel
        self.transport = ToolTransport()
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Send bytes, in one piece."""
        self.channel.dataReceived(data)

    @property
    def received(self) -> bytes:
        """All bytes that have come back."""
        received: bytes = self.transport.value()
        return received

    @property
    def call(self) -> FakeCall:
        """The only call; AssertionError if there is another number of them."""
        (call,) = self.calls.started
        return call

    @property
    def response(self) -> Response:
        """The only response; AssertionError if it is not complete or not alone."""
        (response,) = parse_responses(self.received)
        return response

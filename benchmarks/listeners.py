"""Clients of streamed replies: some open what they receive and measure it, the others only count bytes."""

import json
import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from benchmarks.loads import connect, secure_client
from benchmarks.servers import API_KEY
from benchmarks.stamps import SIZE, age, belongs
from securechat.wire.events import FaultReceived, GoodbyeReceived, ReplyReceived
from sidechannel.traces import receive, timestamp


class Listener(Protocol):
    """A connected client of one conversation."""

    socket: socket.socket

    def ask(self, question: str) -> None:
        """Send a message."""

    def open(self, data: bytes) -> str:
        """The text of a reply in received bytes."""


class SecureListener:
    """A client of securechat."""

    def __init__(self, port: int) -> None:
        self._client = secure_client(port)
        self.socket = self._client.socket

    def ask(self, question: str) -> None:
        self._client.send(1, question)

    def open(self, data: bytes) -> str:
        text = ""
        for event in self._client.connection.receive_data(data):
            if isinstance(event, FaultReceived):
                raise ConnectionError(f"a reply ended in {event.fault.name}")
            if isinstance(event, ReplyReceived):
                text += event.text
            if isinstance(event, GoodbyeReceived):
                self._client.say_goodbye()
        return text


def chat_request(question: str, **fields: object) -> bytes:
    """A request for a streamed reply, with an API key; `fields` are those of its body beside the usual ones."""
    messages = [{"role": "user", "content": question}]
    body = json.dumps({"model": "model", "stream": True, "messages": messages, **fields})
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {API_KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


class HttpListener:
    """A client of the model's API: of its server, or of `securechat --serve`."""

    _content: Final = re.compile(rb'"content":"([^"]*)"')

    def __init__(self, port: int) -> None:
        self.socket = connect(port)
        self._unread = b""

    @property
    def is_complete(self) -> bool:
        """Whether the response has ended."""
        return self._unread.endswith(b"\r\n0\r\n\r\n")

    def ask(self, question: str, **fields: object) -> None:
        self._unread = b""
        self._send(chat_request(question, **fields))

    def _send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def open(self, data: bytes) -> str:
        self._unread += data
        if self._unread.startswith(b"HTTP/1.1 ") and not self._unread.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(self._unread[:500].decode(errors="replace"))
        text, end = b"", 0
        for found in self._content.finditer(self._unread):
            text, end = text + found[1], found.end()
        self._unread = self._unread[end:]
        return text.decode()


class HttpsListener(HttpListener):
    """The same over TLS 1.3."""

    _context: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _context.check_hostname = False
    _context.verify_mode = ssl.CERT_NONE
    _context.minimum_version = ssl.TLSVersion.TLSv1_3

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._context.wrap_bio(self._incoming, self._outgoing)
        while not self._try(self._tls.do_handshake):
            self._incoming.write(self.socket.recv(65536))

    def _try(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except ssl.SSLWantReadError:
            return False
        finally:
            if data := self._outgoing.read():
                self.socket.sendall(data)
        return True

    def _send(self, data: bytes) -> None:
        self._tls.write(data)
        self.socket.sendall(self._outgoing.read())

    def open(self, data: bytes) -> str:
        self._incoming.write(data)
        opened = b""
        try:
            while data := self._tls.read(65536):
                opened += data
        except ssl.SSLWantReadError:
            pass
        return super().open(opened)


@dataclass
class Measured:
    """A conversation whose reply is opened. Moments are those at which the kernel had the bytes."""

    number: int
    listener: Listener
    position: int = 0  # tokens so far
    received: int = 0  # bytes so far
    text: str = ""
    ages: list[float] = field(default_factory=list)  # of the tokens in the window, in seconds
    arrivals: list[tuple[float, int]] = field(default_factory=list)  # the moment, and all bytes until then
    early: int = 0  # arrivals before the window

    def begin_window(self) -> None:
        """What is read from now on counts."""
        self.early = len(self.arrivals)
        self.ages.clear()

    def read(self) -> int:
        """Read what is there; its length. ConnectionError if a token is lost or belongs to another conversation."""
        data, moment = receive(self.listener.socket)
        self.received += len(data)
        self.text += self.listener.open(data)
        while len(self.text) >= SIZE:
            token, self.text = self.text[:SIZE], self.text[SIZE:]
            if not belongs(token, self.number, self.position):
                raise ConnectionError(f"token {self.position} of conversation {self.number} is wrong")
            self.position += 1
            self.ages.append(age(token, moment))
        self.arrivals.append((moment, self.received))
        return len(data)


class Audience:
    """All clients; every `nth` one is measured."""

    def __init__(self, listeners: Sequence[Listener], nth: int) -> None:
        self._listeners = listeners
        self._poll = select.epoll()
        self._sockets = {listener.socket.fileno(): listener.socket for listener in listeners}
        self.measured: Mapping[int, Measured] = {
            listener.socket.fileno(): Measured(number, listener)
            for number, listener in enumerate(listeners)
            if number % nth == 0
        }
        self._buffer = bytearray(65536)
        for descriptor in self._sockets:
            self._poll.register(descriptor, select.EPOLLIN)
        for one in self.measured.values():
            timestamp(one.listener.socket)

    def ask(self, seconds: float) -> None:
        """Every client asks for a reply, spread evenly over this time."""
        start = time.monotonic()
        for number, listener in enumerate(self._listeners):
            self.listen(start + seconds * number / len(self._listeners) - time.monotonic())
            listener.ask(str(number))

    def begin_window(self) -> None:
        """What is received from now on counts."""
        for one in self.measured.values():
            one.begin_window()

    def listen(self, seconds: float) -> int:
        """Receive for this time; the number of bytes."""
        end = time.monotonic() + seconds
        received = 0
        while (left := end - time.monotonic()) > 0:
            for descriptor, _event in self._poll.poll(left):
                if descriptor in self.measured:
                    size = self.measured[descriptor].read()
                else:
                    size = self._sockets[descriptor].recv_into(self._buffer)
                if not size:
                    raise ConnectionError("the server closed the connection")
                received += size
        return received

    def close(self) -> None:
        self._poll.close()
        for connected in self._sockets.values():
            connected.close()

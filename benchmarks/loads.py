"""Load generators: blocking clients for each kind of server, on a core of their own."""

import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from securechat.ssh.keys import SigningKey
from securechat.wire.client_connection import ClientConnection
from securechat.wire.events import Admitted, Event, FaultReceived, ReplyReceived, ServerProved
from securechat.wire.handshake import ClientHandshake
from securechat.wire.host_names import bracketed
from securechat.wire.messages import Reason
from securechat.wire.suites import DEFAULT_SUITE, SUITES, EphemeralKey, Suite

READ_SIZE = 256 * 1024  # bytes
TIMEOUT = 30  # seconds


class Client(Protocol):
    """A connected client that has completed its handshake."""

    @property
    def socket(self) -> socket.socket:
        """The socket, to poll and to close."""

    def send(self, count: int, text: str) -> None:
        """Send `text` `count` times in one write."""

    def receive(self) -> int:
        """Read available data; return the number of replies that are complete."""


def address_of(number: int) -> str:
    """A loopback address for each number below 62,500."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    """A blocking connection from an address. A call blocks for at most `TIMEOUT` seconds, then raises BlockingIOError.

    A timeout of Python's would make the socket non-blocking, which OpenSSL cannot use without a loop.
    """
    connected = socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connected.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", TIMEOUT, 0))
    return connected


def _trust(blob: bytes) -> None:
    """Accept any host key: only speed is measured."""


class SecureChatClient:
    """A securechat client on a blocking socket."""

    def __init__(
        self,
        port: int,
        suite: Suite,
        key: EphemeralKey,
        user_key: SigningKey | None = None,
        source: str = "127.0.0.1",
    ) -> None:
        self.socket = connect(port, source)
        name = bracketed("127.0.0.1", port)
        handshake = ClientHandshake(suite, key, name, _trust, user_key.blob if user_key else b"")
        self.connection = ClientConnection(handshake, time.monotonic)
        try:
            while not isinstance(event := self._next_event(), Admitted):
                if isinstance(event, ServerProved):
                    self.connection.prove(user_key.sign(event.data) if user_key and event.data else b"")
        except BaseException:
            self.socket.close()
            raise

    def _next_event(self) -> Event:
        while True:
            self.socket.sendall(self.connection.data_to_send())
            for event in self.connection.receive_data(b""):
                return event
            for event in self.connection.receive_data(self._read()):
                return event

    def _read(self) -> bytes:
        data = self.socket.recv(READ_SIZE)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data

    def send(self, count: int, text: str) -> None:
        for _ in range(count):
            self.connection.say(text)
        self.socket.sendall(self.connection.data_to_send())

    def say_goodbye(self) -> None:
        """Send GOODBYE, first or as an answer."""
        self.connection.goodbye(Reason.LEAVING, self.connection.next_reply_id - 1)
        self.socket.sendall(self.connection.data_to_send())

    def leave(self) -> None:
        """Send GOODBYE, and wait until the server has closed the connection."""
        self.say_goodbye()
        while data := self.socket.recv(READ_SIZE):
            for _event in self.connection.receive_data(data):
                pass
        self.connection.receive_end()
        self.socket.close()

    def receive(self) -> int:
        complete = 0
        for event in self.connection.receive_data(self._read()):
            if isinstance(event, FaultReceived):
                raise ConnectionError(f"a reply ended in {event.fault.name}")
            complete += isinstance(event, ReplyReceived) and event.last
        return complete


def tls_context(group: str, certificate: Path | None = None) -> SSL.Context:
    """A context for TLS 1.3 with this group for the key exchange. LookupError if OpenSSL does not have it."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    # pyOpenSSL has no method for this. Twisted's server takes what the client offers.
    if Binding.lib.SSL_CTX_set1_curves_list(context._context, group.encode()) != 1:
        Binding.lib.ERR_clear_error()
        version = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()
        raise LookupError(f"{version}, which cryptography brings, has no {group}")
    if certificate is not None:
        context.use_certificate_file(str(certificate))
        context.use_privatekey_file(str(certificate))
    return context


class TlsClient:
    """A TLS 1.3 client for `benchmarks.echo_server`."""

    def __init__(self, port: int, context: SSL.Context) -> None:
        self.socket = connect(port)
        self.tls = SSL.Connection(context, self.socket)
        self.tls.set_connect_state()
        self.tls.do_handshake()
        self.tls.recv(1)  # once the server has greeted, its handshake is complete, too

    def send(self, count: int, text: str) -> None:
        self.tls.sendall((text + "\n").encode() * count)

    def receive(self) -> int:
        replies = self.tls.recv(READ_SIZE).count(b"\n")
        while self.tls.pending():
            replies += self.tls.recv(READ_SIZE).count(b"\n")
        return replies


class TcpClient:
    """A bare TCP connection, established once the server's first byte has arrived."""

    def __init__(self, port: int) -> None:
        self.socket = connect(port)
        self.socket.recv(1)


def handshakes(make: Callable[[], Client | TcpClient], count: int, at_once: int) -> None:
    """Perform `count` handshakes, `at_once` of them concurrently; close each connection when it is done."""

    def some() -> None:
        for _ in range(count // at_once):
            make().socket.close()

    with ThreadPoolExecutor(at_once) as threads:
        for done in [threads.submit(some) for _ in range(at_once)]:
            done.result()


def talk(clients: Sequence[Client], rounds: int, text: str) -> None:
    """Every client sends a message and waits for the reply, `rounds` times; all clients run concurrently."""
    poll = select.poll()
    by_fd = {}
    for client in clients:
        poll.register(client.socket, select.POLLIN)
        by_fd[client.socket.fileno()] = client
        client.send(1, text)
    left = dict.fromkeys(by_fd, rounds)
    running = len(clients)
    while running:
        ready = poll.poll(TIMEOUT * 1000)
        if not ready:
            raise TimeoutError("no reply")
        for fd, _event in ready:
            if not by_fd[fd].receive():
                continue
            left[fd] -= 1
            if left[fd]:
                by_fd[fd].send(1, text)
            else:
                running -= 1


def secure_clients(port: int, suite_name: bytes, user_key: SigningKey | None = None) -> Callable[[], SecureChatClient]:
    """A factory of securechat clients. RSA key pairs are reused, because generating them is the client's cost."""
    suite = SUITES[suite_name]
    if suite_name.startswith(b"rsa"):
        key = suite.generate_key()
        return lambda: SecureChatClient(port, suite, key, user_key)
    return lambda: SecureChatClient(port, suite, suite.generate_key(), user_key)


def secure_client(port: int, source: str = "127.0.0.1") -> SecureChatClient:
    """An anonymous client from an address."""
    suite = SUITES[DEFAULT_SUITE]
    return SecureChatClient(port, suite, suite.generate_key(), source=source)

"""Sessions over loopback between the two reference peers, with both streams kept."""

import hashlib
import socket
from collections.abc import Callable
from dataclasses import replace

from tests.independent.client import Client, ClientSettings
from tests.independent.reference import Running
from tests.independent.server import Server, ServerSettings
from tests.independent.suites import RSA, rsa_key_pair

_PATIENCE = 60.0  # seconds; a read that takes so long has failed


class Tap(socket.socket):
    """A socket that keeps what it sent and received."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.received = bytearray()

    def sendall(self, data: bytes, flags: int = 0) -> None:  # type: ignore[override]
        self.sent += data
        super().sendall(data, flags)

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        self.received += data
        return data

    def settimeout(self, value: float | None) -> None:
        super().settimeout(value or _PATIENCE)


def stream_of(seed: bytes) -> Callable[[int], bytes]:
    """Random bytes that are the same every time."""
    pulls = 0

    def pull(size: int) -> bytes:
        nonlocal pulls
        pulls += 1
        return hashlib.shake_256(seed + pulls.to_bytes(4, "big")).digest(size)

    return pull


def converse(
    client_settings: ClientSettings,
    server_settings: ServerSettings,
    talk: Callable[[Client], None],
    work: Callable[[Server], None],
) -> tuple[Client, Server, Tap, str | None]:
    """Handshake; then the client does ``talk`` and leaves while the server does ``work``.

    Gives both peers, the client's socket, and the category in which the server aborted. Suite RSA's key pair is always
    the same, and so is all randomness but that of ``sealed``.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener, Tap() as near:
        near.connect(listener.getsockname())
        far, _ = listener.accept()
        if client_settings.suite == RSA:
            client_settings = replace(client_settings, key_pair=rsa_key_pair())
        server = Server(far, server_settings, stream_of(b"server"))
        client = Client(near, client_settings, stream_of(b"client"))

        def serve() -> None:
            server.handshake()
            work(server)

        running = Running(far, serve)
        try:
            client.handshake()
            talk(client)
            client.leave()
        finally:
            near.close()
            category = running.end()
        return client, server, near, category

"""Sessions over loopback between the two reference peers, with both streams recorded."""

import hashlib
import socket
from collections.abc import Callable
from dataclasses import replace

from tests.independent.client import Client, ClientSettings
from tests.independent.reference import Running
from tests.independent.server import Server, ServerSettings
from tests.independent.suites import RSA, rsa_key_pair

_PATIENCE = 60.0  # seconds after which a read has failed


class Tap(socket.socket):
    """A socket that records what it sends and receives."""

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
    """A deterministic source of random bytes."""
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
    """Do the handshake, then run ``talk`` at the client and ``work`` at the server; the client leaves.

    Returns both peers, the client's socket, and the category in which the server aborted, if any. The key pair of suite
    RSA and all randomness except that of ``sealed`` are always the same.
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

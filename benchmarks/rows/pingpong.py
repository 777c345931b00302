"""Messages of 64 bytes, each sent after the reply to the one before; 50 clients at a time, no shaping."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from benchmarks.loads import Client, TlsClient, secure_clients, talk, tls_context
from benchmarks.process import Server
from benchmarks.row import Contenders, Figures, Row
from benchmarks.servers import securechat, twisted_tls
from securechat.wire.suites import DEFAULT_SUITE

CLIENTS: Final = 50
MESSAGES: Final = 200  # of each client
TEXT: Final = "x" * 64


def ping_pong(server: Server, make: Callable[[], Client], messages: int) -> Figures:
    clients = [make() for _ in range(CLIENTS)]
    talk(clients, 2, TEXT)
    before = server.cpu()
    talk(clients, messages, TEXT)
    spent = server.cpu() - before
    for client in clients:
        client.socket.close()
    return {"CPU, µs": spent / CLIENTS / messages * 1e6}


@contextmanager
def start(scale: float) -> Iterator[Contenders]:
    messages = int(MESSAGES * scale)
    with securechat("--robot", "echo", "--shaping", "off") as ours, twisted_tls() as tls:
        make = secure_clients(ours.port, DEFAULT_SUITE)
        make_tls = partial(TlsClient, tls.port, tls_context("X25519"))
        yield {
            "securechat": partial(ping_pong, ours, make, messages),
            "Twisted TLS 1.3": partial(ping_pong, tls, make_tls, messages),
        }


PING_PONG: Final = Row("ping-pong", "64 B and echo, 50 clients", start)

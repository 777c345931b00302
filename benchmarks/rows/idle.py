"""Memory of an idle session: the growth of a new server from 50 sessions to 350."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Final

from benchmarks.loads import Client, TlsClient, secure_clients, tls_context
from benchmarks.process import Server
from benchmarks.row import Contenders, Figures, Row
from benchmarks.servers import securechat, twisted_tls
from securechat.wire.suites import DEFAULT_SUITE

WARM: Final = 50
SESSIONS: Final = 300


def secure(server: Server) -> Callable[[], Client]:
    return secure_clients(server.port, DEFAULT_SUITE)


def tls(server: Server) -> Callable[[], Client]:
    return partial(TlsClient, server.port, tls_context("X25519"))


def idle_memory(
    start: Callable[[], AbstractContextManager[Server]], clients: Callable[[Server], Callable[[], Client]]
) -> Figures:
    """A new server each time, because a used one has free memory."""
    with start() as server:
        make = clients(server)
        warm = [make() for _ in range(WARM)]
        before = server.memory()
        idle = [make() for _ in range(SESSIONS)]
        after = server.memory()
        for client in warm + idle:
            client.socket.close()
    return {"PSS, KiB": (after - before) / SESSIONS}


@contextmanager
def start(_scale: float) -> Iterator[Contenders]:
    yield {
        "securechat": partial(idle_memory, partial(securechat, "--robot", "echo"), secure),
        "Twisted TLS 1.3": partial(idle_memory, twisted_tls, tls),
    }


IDLE: Final = Row("idle", "idle session", start)

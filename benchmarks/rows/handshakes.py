"""Handshakes: CPU time of the server, from the connection's acceptance to its loss."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.certificates import write_certificate
from benchmarks.loads import Client, TcpClient, TlsClient, handshakes, secure_clients, tls_context
from benchmarks.process import Server
from benchmarks.row import Contenders, Figures, Measure, Row
from benchmarks.servers import securechat, twisted_echo, twisted_tls
from securechat.ssh.keys import SigningKey, public_line
from securechat.wire.suites import DEFAULT_SUITE

COUNT: Final = 480
GROUPS: Final = ("X25519MLKEM768", "X25519")  # the first is as secure as securechat's suite
QUANTITY: Final = "CPU, µs"


def handshake_cpu(server: Server, make: Callable[[], Client | TcpClient], count: int, at_once: int) -> Figures:
    """Microseconds a handshake."""
    before = server.cpu()
    handshakes(make, count, at_once)
    return {QUANTITY: (server.cpu() - before) / count * 1e6}


def tls_client(server: Server, group: str, certificate: Path | None = None) -> Callable[[], TlsClient]:
    """A factory of clients that use this group. LookupError if it is not available."""
    make = partial(TlsClient, server.port, tls_context(group, certificate))
    used = (client := make()).tls.get_group_name()
    client.socket.close()
    if used is None or used.lower() != group.lower():
        raise LookupError(f"the handshake used {used} instead of {group}")
    return make


def tls_clients(server: Server, certificate: Path | None = None) -> Iterator[tuple[str, Callable[[], TlsClient] | str]]:
    """For each group a factory of clients, or the reason why there is none."""
    for group in GROUPS:
        try:
            yield group, tls_client(server, group, certificate)
        except LookupError as error:
            yield group, str(error)


def measures(server: Server, make: Callable[[], Client] | str, count: int, at_once: int) -> Measure | str:
    return make if isinstance(make, str) else partial(handshake_cpu, server, make, count, at_once)


@contextmanager
def without_keys(at_once: int, scale: float) -> Iterator[Contenders]:
    """Anonymous users; TLS without client certificates, and TCP, which is part of both."""
    count = int(COUNT * scale)
    with securechat("--robot", "echo") as ours, twisted_tls() as tls, twisted_echo() as tcp:
        yield {
            "securechat": measures(ours, secure_clients(ours.port, DEFAULT_SUITE), count, at_once),
            **{f"Twisted TLS 1.3, {group}": measures(tls, make, count, at_once) for group, make in tls_clients(tls)},
            "Twisted TCP": partial(handshake_cpu, tcp, partial(TcpClient, tcp.port), count, at_once),
        }


@contextmanager
def with_keys(at_once: int, scale: float) -> Iterator[Contenders]:
    """A user's key in a file of authorized keys; TLS with client certificates."""
    count = int(COUNT * scale)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        key = SigningKey.generate()
        authorized = directory / "authorized_keys"
        authorized.write_text(public_line(key.blob, "user") + "\n")
        certificate = write_certificate(directory / "user.pem")
        ours = stack.enter_context(securechat("--robot", "echo", "--authorized-keys", str(authorized)))
        tls = stack.enter_context(twisted_tls(certificate))
        yield {
            "securechat": measures(ours, secure_clients(ours.port, DEFAULT_SUITE, key), count, at_once),
            **{
                f"Twisted TLS 1.3, {group}, client certificate": measures(tls, make, count, at_once)
                for group, make in tls_clients(tls, certificate)
            },
        }


HANDSHAKES: Final = (
    Row("handshake-1", "handshake, alone", partial(without_keys, 1)),
    Row("handshake-16", "handshake, 16 at once", partial(without_keys, 16)),
    Row("handshake-key-1", "handshake with a user's key, alone", partial(with_keys, 1)),
    Row("handshake-key-16", "handshake with a user's key, 16 at once", partial(with_keys, 16)),
)

"""Handshakes: CPU time of the server, from the connection's acceptance to its loss.

Each turn has a new server, and no more handshakes than the daemon logs before its limit on the log applies. Otherwise
the log's cost, which a handshake has in normal operation, would be left out.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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

WARM: Final = 8  # handshakes that do not count
COUNT: Final = 80
GROUPS: Final = ("X25519MLKEM768", "X25519")  # the first is as secure as securechat's suite

Start = Callable[[], AbstractContextManager[Server]]
Connect = Callable[[int], Client | TcpClient]


def handshake_cpu(start: Start, connect: Connect, at_once: int) -> Figures:
    """Microseconds a handshake of a new server."""
    with start() as server:
        make = partial(connect, server.port)
        handshakes(make, WARM, 1)
        before = server.cpu()
        handshakes(make, COUNT, at_once)
        return {"CPU, µs": (server.cpu() - before) / COUNT * 1e6}


def connect_securely(key: SigningKey | None, port: int) -> Client:
    return secure_clients(port, DEFAULT_SUITE, key)()


def connect_with_tls(group: str, certificate: Path | None, port: int) -> TlsClient:
    client = TlsClient(port, tls_context(group, certificate))
    used = client.tls.get_group_name()
    if used is None or used.lower() != group.lower():
        raise ConnectionError(f"the handshake used {used} instead of {group}")
    return client


def tls(group: str, at_once: int, certificate: Path | None = None) -> Measure | str:
    """The measurement of a group, or the reason why there is none."""
    try:
        tls_context(group)
    except LookupError as error:
        return str(error)
    return partial(
        handshake_cpu, partial(twisted_tls, certificate), partial(connect_with_tls, group, certificate), at_once
    )


@contextmanager
def without_keys(at_once: int, _scale: float) -> Iterator[Contenders]:
    """Anonymous users; TLS without client certificates, and TCP, which is part of both."""
    ours = partial(securechat, "--robot", "echo")
    yield {
        "securechat": partial(handshake_cpu, ours, partial(connect_securely, None), at_once),
        **{f"Twisted TLS 1.3, {group}": tls(group, at_once) for group in GROUPS},
        "Twisted TCP": partial(handshake_cpu, twisted_echo, TcpClient, at_once),
    }


@contextmanager
def with_keys(at_once: int, _scale: float) -> Iterator[Contenders]:
    """A user's key in a file of authorized keys; TLS with client certificates."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        key = SigningKey.generate()
        authorized = directory / "authorized_keys"
        authorized.write_text(public_line(key.blob, "user") + "\n")
        certificate = write_certificate(directory / "user.pem")
        ours = partial(securechat, "--robot", "echo", "--authorized-keys", str(authorized))
        yield {
            "securechat": partial(handshake_cpu, ours, partial(connect_securely, key), at_once),
            **{f"Twisted TLS 1.3, {group}, client certificate": tls(group, at_once, certificate) for group in GROUPS},
        }


HANDSHAKES: Final = (
    Row("handshake-1", "handshake, alone", partial(without_keys, 1)),
    Row("handshake-16", "handshake, 16 at once", partial(without_keys, 16)),
    Row("handshake-key-1", "handshake with a user's key, alone", partial(with_keys, 1)),
    Row("handshake-key-16", "handshake with a user's key, 16 at once", partial(with_keys, 16)),
)

"""Deliberate faults that the reference peers commit against an implementation under test, by name.

A test gives one end of a connected socket to ``commit_client_fault`` or ``commit_server_fault`` and the other to the
peer under test, set up as the ``Environment`` and the fault's ``setting`` say. The result is the bytes that the peer
under test sent after the fault, which section 12 requires to be none.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.independent import sshsig
from tests.independent.abort import CATEGORIES, AbortError
from tests.independent.client import Client, ClientSettings
from tests.independent.peer import Hook, Peer
from tests.independent.server import Server, ServerSettings
from tests.independent.suites import RSA, SUITES, rsa_key_pair

# How a test has to configure the peer under test, in addition to the Environment
OTHER_SUITE_ONLY = "the server accepts only the other suite"
CLIENT_KEY_REQUIRED = "the server requires a user key"
HOST_KEY_UNKNOWN = "the client's known_hosts has no entry for the name"
HOST_KEY_REVOKED = "the client's known_hosts marks the server's key as revoked"

_CALL_BURST = 128  # records of a CALL; a SAY of the client under test has one

Act = Callable[[Any], None]


@dataclass(frozen=True)
class Fault:
    """Committed at ``step``: ``hooks`` modify its messages, then ``act`` runs, then nothing more is sent."""

    name: str
    category: str  # in which the peer under test aborts
    sentence: str
    role: str  # of the faulty peer
    step: str
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    act: Act | None = None
    suites: tuple[str, ...] = SUITES
    or_else: tuple[str, ...] = ()  # other categories that the specification allows
    setting: str = ""
    anonymous: bool = False  # the faulty client has no user key
    says: int = 0  # messages that the client under test has to send before the fault
    calls: int = 0  # CALLs that it has to send after them
    answered: bool = False  # the peer under test may have answered valid records before the fault
    unseen: bool = False  # the peer under test may have closed the session regularly before it could notice
    slow: bool = False  # takes seconds, or as long as the timeout of the peer under test

    def __post_init__(self) -> None:
        assert CATEGORIES.issuperset((self.category, *self.or_else))


@dataclass(frozen=True)
class Environment:
    """Shared by the faulty peer and the one under test, which knows the public halves of both keys."""

    name: str
    host_key: Ed25519PrivateKey
    user_key: Ed25519PrivateKey


class NotEndedError(AssertionError):
    """The peer under test neither aborted nor closed in time."""


def commit_client_fault(
    fault: Fault, sock: socket.socket, suite: str, environment: Environment, patience: float = 10.0
) -> bytes:
    """Play the faulty client to a server under test; ``patience`` is in seconds, for each read."""
    user_key = None if fault.anonymous else environment.user_key
    known_host = sshsig.blob(environment.host_key)
    key_pair = rsa_key_pair() if suite == RSA else None
    client = Client(sock, ClientSettings(environment.name, known_host, suite, user_key, key_pair=key_pair))
    steps: dict[str, list[Callable[[], None]]] = {
        "connect": [],
        "hello": [client.send_hello],
        "welcome": [client.read_welcome, client.read_server_proof],
        "proof": [client.prove],
        "session": [client.read_about],
    }
    return _commit(fault, client, steps, patience)


def commit_server_fault(
    fault: Fault, sock: socket.socket, suite: str, environment: Environment, patience: float = 10.0
) -> bytes:
    """Play the faulty server to a client under test, which has to ``say`` and ``call`` as often as the fault wants."""
    authorized = {sshsig.blob(environment.user_key): "user"}
    names = frozenset({environment.name})
    settings = ServerSettings(environment.host_key, names, authorized, suites=(suite,), api=fault.calls > 0)
    server = Server(sock, settings)

    def hear() -> None:
        for _ in range(fault.says + _CALL_BURST * fault.calls):
            server.receive()

    steps: dict[str, list[Callable[[], None]]] = {
        "connect": [],
        "hello": [server.read_hello],
        "welcome": [server.send_welcome],
        "proof": [server.prove],
        "client proof": [server.read_client_proof],
        "session": [server.send_about, hear],
    }
    return _commit(fault, server, steps, patience)


def _commit(fault: Fault, peer: Peer, steps: dict[str, list[Callable[[], None]]], patience: float) -> bytes:
    for step, methods in steps.items():
        if step == fault.step:
            peer.hooks = fault.hooks
        for method in methods:
            peer.deadline = time.monotonic() + patience
            method()
        if step == fault.step:
            break
    peer.deadline = time.monotonic() + patience
    if fault.act:
        with contextlib.suppress(ConnectionError, AbortError):  # it may abort before we are through
            fault.act(peer)
    return _rest(peer.sock, patience)


def _rest(sock: socket.socket, patience: float) -> bytes:
    """Everything up to the end of the stream."""
    rest = b""
    sock.settimeout(patience)
    while True:
        try:
            more = sock.recv(65536)
        except ConnectionError:
            return rest
        except TimeoutError:
            raise NotEndedError(f"still open; {len(rest)} bytes came after the fault") from None
        if not more:
            return rest
        rest += more

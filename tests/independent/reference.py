"""The reference peers as peers under test."""

import socket
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.independent import sshsig
from tests.independent.abort import AbortError
from tests.independent.client import Client, ClientSettings
from tests.independent.faults import (
    CLIENT_KEY_REQUIRED,
    HOST_KEY_REVOKED,
    HOST_KEY_UNKNOWN,
    OTHER_SUITE_ONLY,
    Environment,
    Fault,
)
from tests.independent.messages import CLIENT_KEY_REQUIRED as REQUIRED
from tests.independent.server import Server, ServerSettings
from tests.independent.suites import RSA, SUITES, rsa_key_pair

ENVIRONMENT = Environment(
    "[localhost]:7022",
    Ed25519PrivateKey.from_private_bytes(b"\x01" * 32),
    Ed25519PrivateKey.from_private_bytes(b"\x02" * 32),
)
SERVER_SETTINGS = ServerSettings(
    ENVIRONMENT.host_key,
    frozenset({ENVIRONMENT.name}),
    {sshsig.blob(ENVIRONMENT.user_key): "alice"},
)
CLIENT_SETTINGS = ClientSettings(ENVIRONMENT.name, sshsig.blob(ENVIRONMENT.host_key), user_key=ENVIRONMENT.user_key)
_SHORT = 0.2  # seconds, timeouts for faults that consist of silence


class Running:
    """A peer that runs in a thread; ``category`` is that of its abort, None if there was none."""

    def __init__(self, sock: socket.socket, work: Callable[[], None]) -> None:
        self.category: str | None = None
        self._sock = sock
        self._work = work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> str | None:
        self._thread.join()
        return self.category

    def _run(self) -> None:
        with closing(self._sock):
            try:
                self._work()
            except AbortError as abort:
                self.category = abort.category
            except ConnectionError:
                self.category = "cut"


def run_server(sock: socket.socket, fault: Fault, suite: str) -> Running:
    """A server under test for a client's fault; it replies in upper case."""
    settings = replace(SERVER_SETTINGS, hello_timeout=_SHORT, proof_timeout=_SHORT) if fault.slow else SERVER_SETTINGS
    if fault.setting == OTHER_SUITE_ONLY:
        settings = replace(settings, suites=tuple(other for other in SUITES if other != suite))
    if fault.setting == CLIENT_KEY_REQUIRED:
        settings = replace(settings, client_auth=REQUIRED)
    server = Server(sock, settings)

    def work() -> None:
        server.handshake()
        server.serve(str.upper)

    return Running(sock, work)


def run_client(sock: socket.socket, fault: Fault, suite: str) -> Running:
    """A client under test for a server's fault; it sends the messages that the fault needs."""
    settings = replace(CLIENT_SETTINGS, suite=suite, key_pair=rsa_key_pair() if suite == RSA else None)
    if fault.setting == HOST_KEY_UNKNOWN:
        settings = replace(settings, known_host=None)
    if fault.setting == HOST_KEY_REVOKED:
        settings = replace(settings, revoked=frozenset({sshsig.blob(ENVIRONMENT.host_key)}))
    client = Client(sock, settings)

    def work() -> None:
        client.handshake()
        for _ in range(fault.says):
            client.say("hello")
        for _ in range(fault.calls):
            client.call("models")
        while not client.conversation.left("server"):
            client.receive()
        client.leave()

    return Running(sock, work)

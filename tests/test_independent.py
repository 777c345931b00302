"""The second implementation of the protocol, against itself, its own faults and other people's programs."""

import hashlib
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from tests.independent import hpke, sshsig
from tests.independent.abort import AbortError
from tests.independent.client import Client, ClientSettings
from tests.independent.decoder import Session, decode
from tests.independent.fault_table import FAULTS
from tests.independent.faults import Fault, commit_client_fault, commit_server_fault
from tests.independent.messages import CLIENT_KEY_REQUIRED
from tests.independent.pack import Value, pack, unpack
from tests.independent.records import CANCEL, FAULT, NEW, PAD, REKEY, SAY, SENDER_LIMIT, Half, fernet_open, fernet_seal
from tests.independent.reference import (
    CLIENT_SETTINGS,
    ENVIRONMENT,
    SERVER_SETTINGS,
    Running,
    run_client,
    run_server,
)
from tests.independent.server import Server, ServerSettings
from tests.independent.suites import PQ, RSA, SUITES, check_pub, make_key_pair, rsa_key_pair

PATIENCE = 60.0  # seconds; no test takes that long unless it fails
LONG = "€" * 5000 + "x" * 7000  # 22,000 bytes in many records, characters cut between them


class Tap:
    """A socket that remembers what it received and sent."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.sent = b""
        self.received = b""

    def sendall(self, data: bytes) -> None:
        self.sent += data
        self._sock.sendall(data)

    def recv(self, size: int) -> bytes:
        data = self._sock.recv(size)
        self.received += data
        return data

    def settimeout(self, seconds: float | None) -> None:
        self._sock.settimeout(seconds or PATIENCE)

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)


def stream_of(seed: bytes) -> Callable[[int], bytes]:
    """Random bytes that are the same every time."""
    pulls = 0

    def pull(size: int) -> bytes:
        nonlocal pulls
        pulls += 1
        return hashlib.shake_256(seed + pulls.to_bytes(4, "big")).digest(size)

    return pull


def loopback() -> tuple[socket.socket, socket.socket]:
    """Two ends of a real TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


class SessionTests(SynchronousTestCase):
    """Whole sessions of the two reference peers."""

    def converse(
        self,
        talk: Callable[[Client], None],
        client_settings: ClientSettings = CLIENT_SETTINGS,
        server_settings: ServerSettings = SERVER_SETTINGS,
        work: Callable[[Server], None] | None = None,
    ) -> tuple[Client, Server, Tap]:
        """``talk`` over loopback with a server that shouts back, or does ``work``; both have to end in order."""
        near, far = loopback()
        if client_settings.suite == RSA:
            client_settings = replace(client_settings, key_pair=rsa_key_pair())
        server = Server(far, server_settings, stream_of(b"server"))

        def serve() -> None:
            server.handshake()
            (work or (lambda server: server.serve(str.upper)))(server)

        running = Running(far, serve)
        tap = Tap(near)
        client = Client(tap, client_settings, stream_of(b"client"))  # type: ignore[arg-type]
        try:
            client.handshake()
            talk(client)
            client.leave()
        finally:
            near.close()
            category = running.end()
        self.assertIsNone(category)
        return client, server, tap

    def decoded(self, client: Client, tap: Tap) -> Session:
        """The captured session, opened with the key pair; the bare secret has to do the same."""
        session = decode(tap.sent, tap.received, client.key_pair)
        self.assertEqual(session, decode(tap.sent, tap.received, bytes.fromhex(client.trace.values["secret"])))
        return session

    def test_withUserKey(self) -> None:
        """Both suites: what was said comes back, the user is known, and the capture decodes to the same."""
        for suite in SUITES:

            def talk(client: Client) -> None:
                for text in ("hello", "", LONG):
                    client.say(text)
                    self.assertEqual(client.wait_for_reply(), text.upper())

            client, server, tap = self.converse(talk, replace(CLIENT_SETTINGS, suite=suite))
            self.assertEqual(client.robot[0], "alice")
            session = self.decoded(client, tap)
            self.assertEqual(session.said(), ["hello", "", LONG])
            self.assertEqual(session.replied(), ["HELLO", "", LONG.upper()])
            self.assertEqual(session.client_proof.name, ENVIRONMENT.name)
            self.assertEqual(session.session_id.hex(), server.trace.values["session_id"])

    def test_anonymous(self) -> None:
        """Both suites: a client without a key, and one whose key a server does not want."""
        for suite in SUITES:
            for user_key, client_auth in ((None, 0), (None, 1), (ENVIRONMENT.user_key, 0)):
                client, _, tap = self.converse(
                    lambda client: None,
                    replace(CLIENT_SETTINGS, suite=suite, user_key=user_key),
                    replace(SERVER_SETTINGS, client_auth=client_auth),
                )
                self.assertEqual(client.robot[0], "")
                session = self.decoded(client, tap)
                self.assertEqual((session.client_proof.name, session.client_proof.user_key), ("", b""))

    def test_requiredKey(self) -> None:
        """A client without the key that the server requires says nothing more."""
        settings = replace(SERVER_SETTINGS, client_auth=CLIENT_KEY_REQUIRED)
        with self.assertRaises(AbortError) as raised:
            self.converse(lambda client: None, replace(CLIENT_SETTINGS, user_key=None), settings)
        self.assertEqual(raised.exception.category, "user-key")

    def test_bothTracesAgree(self) -> None:
        """What both peers computed is the same, and is JSON; with the same randomness so is the next Hello."""
        for suite in SUITES:
            settings = replace(CLIENT_SETTINGS, suite=suite)
            client, server, _ = self.converse(lambda client: None, settings)
            shared = client.trace.values.keys() & server.trace.values.keys()
            self.assertLessEqual({f"h{number}" for number in range(8)} | {"prk", "master", "session_id"}, shared)
            for name in shared:
                self.assertEqual(client.trace.values[name], server.trace.values[name], name)
            json.dumps(client.trace.as_json())
            sealed = bytes.fromhex(server.trace.values["sealed"])
            again, _, _ = self.converse(lambda client: None, settings, replace(SERVER_SETTINGS, sealed=sealed))
            self.assertEqual(again.trace.as_json(), client.trace.as_json())

    def test_burst(self) -> None:
        """The records of one message are a power of two, REKEY included."""

        def talk(client: Client) -> None:
            client.say("x" * 1000)
            self.assertEqual(client.wait_for_reply(), "X" * 1000)
            client.sending.seq = client.receiving.seq = 0  # not reached: see below

        def counted(client: Client) -> None:
            client.say("x" * 1000)
            client.wait_for_reply()

        client, _, tap = self.converse(counted)
        kinds = [record.kind for record in self.decoded(client, tap).client_records]
        self.assertEqual(kinds[1:5], [SAY, SAY, SAY, PAD])

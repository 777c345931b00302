"""Two real ends over memory: a ServerConnection and a ClientConnection, and the wire between them."""

import os
from collections.abc import Callable
from functools import cache

from twisted.internet.task import Clock

from securechat.server.admission import Holder
from securechat.server.message_memory import SHARES, MessageMemory
from securechat.ssh import keys
from securechat.ssh.certificates import Certificate
from securechat.wire.client_connection import ClientConnection
from securechat.wire.connection import Connection
from securechat.wire.events import Admitted, ClientProved, Event, ServerProved
from securechat.wire.handshake import ClientHandshake, ServerHandshake, ServerIdentity
from securechat.wire.messages import About, ClientAuth
from securechat.wire.server_connection import ServerConnection
from securechat.wire.suites import MLKEM768X25519, SUITES, EphemeralKey, RSA2048Fernet, Suite

PQ = SUITES[MLKEM768X25519.name]
RSA = SUITES[RSA2048Fernet.name]
NAME = "[localhost]:8080"
ABOUT = About("", "echo", "test", max_message=64 * 1024, api=False, shaping=1, tick=100, width=1)

HOST_KEY = keys.SigningKey.generate()
USER_KEY = keys.SigningKey.generate()


def accept(blob: bytes) -> None:
    """Trust any host key."""


@cache
def rsa_key() -> EphemeralKey:
    """One RSA key for all tests: making one takes long, and the key knows no session."""
    return RSA.generate_key()


def ephemeral_key(suite: Suite) -> EphemeralKey:
    return rsa_key() if suite is RSA else suite.generate_key()


def identity(
    client_auth: ClientAuth = ClientAuth.OPTIONAL,
    is_authorized: Callable[[bytes, Certificate | None], bool] = lambda blob, certificate: True,
    suites: dict[bytes, Suite] = SUITES,
) -> ServerIdentity:
    return ServerIdentity(HOST_KEY, suites, client_auth, is_authorized)


class Pair:
    """A client and a server that have not met yet. `events` of each end, oldest first; one clock for both."""

    def __init__(
        self,
        suite: Suite = PQ,
        *,
        user_key: keys.SigningKey | None = None,
        server_identity: ServerIdentity | None = None,
        name: str = NAME,
        names: frozenset[str] = frozenset({NAME}),
        check_host_key: Callable[[bytes], None] = accept,
        about: About = ABOUT,
        quota: int = 2**27,
        credential: bytes | None = None,
    ) -> None:
        """`quota` is the number of bytes that the client's messages may take.

        `credential` is the blob of a certificate for `user_key`, or of that key.
        """
        self.clock = Clock()
        self.about = about
        self.quota = MessageMemory(SHARES * quota).quota(Holder("pair"))
        self.user_key = user_key
        self.server_handshake = ServerHandshake(server_identity or identity(), names)
        self.server = ServerConnection(self.server_handshake, self.clock.seconds)
        key, nonce = ephemeral_key(suite), os.urandom(32)
        blob = credential if credential is not None else user_key.blob if user_key else b""

        def make_client() -> ClientConnection:
            handshake = ClientHandshake(suite, key, name, check_host_key, blob, nonce)
            return ClientConnection(handshake, self.clock.seconds)

        self.same_client = make_client  # another one, that sends the same Hello
        self.client = make_client()
        self.server_events: list[Event] = []
        self.client_events: list[Event] = []

    @staticmethod
    def server_alone() -> ServerConnection:
        """A server that waits for a Hello."""
        return ServerConnection(ServerHandshake(identity(), frozenset({NAME})), Clock().seconds)

    def to_server(self, data: bytes) -> list[Event]:
        """Give bytes to the server; its events, after it did what a server does of its own accord."""
        events = []
        for event in self.server.receive_data(data):
            events.append(event)
            if isinstance(event, ClientProved):
                self.server.admit(self.about, self.quota)
        self.server_events += events
        return events

    def to_client(self, data: bytes) -> list[Event]:
        """Give bytes to the client; its events, after it did what a client does of its own accord."""
        events = []
        for event in self.client.receive_data(data):
            events.append(event)
            if isinstance(event, ServerProved):
                self.client.prove(self.user_key.sign(event.data) if self.user_key and event.data else b"")
        self.client_events += events
        return events

    def pump(self) -> None:
        """Carry bytes until neither end has any."""
        moved = True
        while moved:
            up = self.client.data_to_send()
            self.to_server(up)
            down = self.server.data_to_send()
            self.to_client(down)
            moved = bool(up or down)

    def open(self) -> "Pair":
        """Carry out the handshake."""
        self.pump()
        assert isinstance(self.client_events[-1], Admitted)
        return self


def frames(data: bytes) -> list[bytes]:
    """The frames in a stream, each with its length before it."""
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        found.append(data[:end])
        data = data[end:]
    return found


def is_dead(connection: Connection) -> bool:
    """Whether a connection is closed, with nothing to say and deaf to what comes."""
    return (
        connection.state.name == "CLOSED"
        and connection.data_to_send() == b""
        and list(connection.receive_data(b"anything at all")) == []
    )

"""A server that does nothing of its own accord and has no timeouts, and the client's Protocol at the other end."""

from collections.abc import Callable

from msgspec.structs import replace
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from securechat.client.protocol import ChatClient
from securechat.client.signer import Signer
from securechat.errors import Fault, SecureChatError
from securechat.server.admission import Holder
from securechat.server.message_memory import SHARES, MessageMemory
from securechat.wire.events import Admitted, ClientProved, Event, GoodbyeReceived
from securechat.wire.handshake import ClientHandshake, ServerHandshake
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.messages import About, ClientAuth
from securechat.wire.server_connection import ServerConnection
from tests.harness.pair import ABOUT, NAME, PQ, accept, ephemeral_key, identity

OFF = replace(ABOUT, shaping=0)


@implementer(ITCPTransport)
class Wire(StringTransport):
    """A transport that records its options, how it ended, and each write."""

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "192.0.2.7", 8080))
        self.options: dict[str, bool] = {}
        self.writes: list[bytes] = []
        self.lost = self.aborted = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.options["no delay"] = enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.options["keep alive"] = enabled

    def getTcpNoDelay(self) -> bool:
        return self.options["no delay"]

    def getTcpKeepAlive(self) -> bool:
        return self.options["keep alive"]

    def loseWriteConnection(self) -> None:
        raise AssertionError("the client does not half-close")

    def loseConnection(self) -> None:
        self.lost = True

    def abortConnection(self) -> None:
        self.aborted = True


class Diary:
    """A ChatUser that records its callbacks."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.about: Admitted | None = None
        self.replies: list[tuple[int, str, bool]] = []
        self.results: list[tuple[int, list[Head | Piece | ServerEvent], bool]] = []
        self.faults: list[tuple[int, Fault]] = []
        self.ends: list[SecureChatError | GoodbyeReceived | None] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def admitted(self, client: ChatClient, about: Admitted) -> None:
        self.about = about

    def replyReceived(self, message_id: int, text: str, last: bool) -> None:
        self.replies.append((message_id, text, last))

    def resultReceived(self, message_id: int, items: list[Head | Piece | ServerEvent], last: bool) -> None:
        self.results.append((message_id, items, last))

    def faultReceived(self, message_id: int, fault: Fault) -> None:
        self.faults.append((message_id, fault))

    def disconnected(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        self.ends.append(reason)


class Meeting:
    """A client that has connected to a passive server; nothing is carried between them until a test says so."""

    def __init__(
        self,
        *,
        about: About = OFF,
        signer: Signer | None = None,
        client_auth: ClientAuth = ClientAuth.OPTIONAL,
        check_host_key: Callable[[bytes], None] = accept,
        handshake: ServerHandshake | None = None,
    ) -> None:
        self.clock = Clock()
        self.diary = Diary()
        self.wire = Wire()
        self.about = about
        self.heard: list[Event] = []  # by the server
        self.server = ServerConnection(
            handshake or ServerHandshake(identity(client_auth), frozenset({NAME})), lambda: 0.0
        )
        ours = ClientHandshake(PQ, ephemeral_key(PQ), NAME, check_host_key, signer.blob if signer else b"")
        self.client = ChatClient(ours, signer, self.diary, self.clock, lambda: 0.0)
        self.client.makeConnection(self.wire)

    def carry_up(self) -> list[Event]:
        """Carry what the client has written; what the server makes of it."""
        data = self.wire.value()
        self.wire.clear()
        events = list(self.server.receive_data(data))
        self.heard += events
        return events

    def carry_down(self, size: int | None = None) -> None:
        """Carry what the server has to send, or only the first bytes of it."""
        self.client.dataReceived(self.server.data_to_send()[:size])

    def prove(self) -> "Meeting":
        """Carry out the handshake up to the server's PROOF, and the client's."""
        self.carry_up()
        self.carry_down()
        return self

    def open(self) -> "Meeting":
        """Carry out the handshake."""
        self.prove()
        [event] = self.carry_up()
        assert isinstance(event, ClientProved)
        self.server.admit(self.about, MessageMemory(SHARES * 2**27).quota(Holder("meeting")))
        self.carry_down()
        assert self.diary.about is not None
        return self

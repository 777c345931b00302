"""What a Connection tells of what it received. All are frozen; none shows its text or keys in `repr`."""

from msgspec import Struct

from securechat.errors import Fault
from securechat.wire.messages import Reason


class Event(Struct, frozen=True, gc=False):
    """Something that the peer did."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class HelloReceived(Event, frozen=True):
    """To the server: a client began; Welcome and the server's proof wait to be sent."""


class WelcomeReceived(Event, frozen=True):
    """To the client: the session secret was opened."""


class ServerProved(Event, frozen=True):
    """To the client: the server is the one dialled. Sign `data` (None: stay anonymous), then `prove`."""

    host_key: bytes
    data: bytes | None


class ClientProved(Event, frozen=True):
    """To the server: the handshake is done. `user_key` is empty if the client is anonymous."""

    user_key: bytes


class Admitted(Event, frozen=True):
    """To the client: the server let it in; whom it takes the client for, and who answers."""

    user: str
    robot: str
    software: str


class MessageReceived(Event, frozen=True):
    """To the server: a whole message."""

    id: int
    text: str


class ReplyReceived(Event, frozen=True):
    """To the client: part of the reply to a message, cut at a character; `last` if nothing follows."""

    id: int
    text: str
    last: bool


class FaultReceived(Event, frozen=True):
    """To the client: the reply to a message ended in a fault."""

    id: int
    fault: Fault


class CancelReceived(Event, frozen=True):
    """To the server: stop the reply to a message, if it has not ended."""

    id: int


class NewReceived(Event, frozen=True):
    """To the server: the conversation starts afresh."""


class GoodbyeReceived(Event, frozen=True):
    """The peer will say nothing more; `id` is the last message that it dealt with."""

    reason: Reason
    id: int

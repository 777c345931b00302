"""The events of a connection: what the peer sent. Their `repr` contains neither text nor keys."""

from msgspec import Struct

from securechat.conversation import Turn
from securechat.errors import Fault
from securechat.ssh.certificates import Certificate
from securechat.wire.items import Item
from securechat.wire.messages import Reason
from securechat.wire.shaping import Shaping


class Event(Struct, frozen=True, gc=False):
    """The base class of all events."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class HelloReceived(Event, frozen=True):
    """To the server: a Hello. The Welcome and the server's PROOF are ready to be sent."""


class WelcomeReceived(Event, frozen=True):
    """To the client: a Welcome. The session secret was opened."""


class ServerProved(Event, frozen=True):
    """To the client: the server is authenticated. Call `prove` with the signature of `data`, ``b""`` if it is None."""

    host_key: bytes
    data: bytes | None


class ClientProved(Event, frozen=True):
    """To the server: the handshake is complete. `user_key` is empty if the client is anonymous.

    `certificate` is the one for that key, if the client has shown one.
    """

    user_key: bytes
    certificate: Certificate | None = None


class Admitted(Event, frozen=True):
    """To the client: the server admitted it. `user` is empty if the client is anonymous."""

    user: str
    robot: str
    software: str
    max_message: int  # bytes of UTF-8 in the longest message that the server accepts
    api: bool
    shaping: Shaping
    tick: int  # milliseconds
    width: int  # records per tick
    next_host_key: str = ""  # its hint, if the server has announced one


class HostKeyAsked(Event, frozen=True):
    """To the server: the client asks for the next host key. `ServerConnection.send_host_key` sends it."""


class HostKeyReceived(Event, frozen=True):
    """To the client: the server has proved that this is its next host key."""

    present: bytes
    successor: bytes


class MessageReceived(Event, frozen=True):
    """To the server: a complete message."""

    id: int
    text: str


class MessageRefused(Event, frozen=True):
    """To the server: a complete message that exceeded the client's quota. Its text was not kept."""

    id: int


class CallReceived(Event, frozen=True):
    """To the server: a complete API request. Neither path nor body are checked; `body` is empty for GET."""

    id: int
    path: str
    body: bytes


class CallRefused(Event, frozen=True):
    """To the server: a complete API request that exceeded the client's quota. It was not kept."""

    id: int


class RecallReceived(Event, frozen=True):
    """To the server: the turns, oldest first, that replace those of the conversation so far.

    They count for the client's quota until `ServerConnection.forget` is told that they are not remembered any more.
    """

    turns: list[Turn]


class ReplyReceived(Event, frozen=True):
    """To the client: a part of the reply to a message, of whole characters; `last` if the reply is complete."""

    id: int
    text: str
    last: bool


class ResultReceived(Event, frozen=True):
    """To the client: items of the result of an API request; `last` if the result is complete.

    The first item of a result is its Head; those after it are ServerEvents if it `is_stream`, otherwise Pieces.
    """

    id: int
    items: list[Item]
    last: bool


class FaultReceived(Event, frozen=True):
    """To the client: the reply to a message failed."""

    id: int
    fault: Fault


class CancelReceived(Event, frozen=True):
    """To the server: cancel the reply to a message, if it is not complete."""

    id: int


class NewReceived(Event, frozen=True):
    """To the server: start a new conversation."""


class GoodbyeReceived(Event, frozen=True):
    """The peer ends the session; `id` is the last message that it processed."""

    reason: Reason
    id: int

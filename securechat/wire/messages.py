"""What is said: the messages of the handshake and of the channel (protocol, sections 3 and 8).

Each is a msgpack array of fixed arity and fixed types, and each value has one encoding: what decodes is encoded
again, and refused if the bytes differ. A field's type here is its type on the wire: ``bytes`` is msgpack's bin,
``str`` its str.
"""

from enum import IntEnum
from typing import Annotated, TypeVar

from msgspec import Meta, MsgspecError, Raw, Struct
from msgspec.msgpack import Decoder, Encoder

from securechat.errors import Category, Fault, RemoteProtocolError

MAX_MESSAGE = 32 * 1024  # bytes of UTF-8 in one message, either way
MAX_ABOUT = 64  # bytes of UTF-8 in each field of About

Nonce = Annotated[bytes, Meta(min_length=32, max_length=32)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Mac = Annotated[bytes, Meta(min_length=32, max_length=32)]
MessageId = Annotated[int, Meta(ge=0)]


class ClientAuth(IntEnum):
    """Whether the server wants to know who the client is."""

    NONE = 0
    OPTIONAL = 1
    REQUIRED = 2


class Reason(IntEnum):
    """Why a side says GOODBYE."""

    LEAVING = 0
    STOPPING = 1
    IDLE = 2
    TOO_OLD = 3
    KEY_WITHDRAWN = 4
    REMOVED = 5


class _Message(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What all messages share: an array of exactly the fields that the class names."""

    def __repr__(self) -> str:
        """The name only: fields are keys, or what people say."""
        return f"<{type(self).__name__}>"


class Hello(_Message, frozen=True, tag="hello"):
    version: int
    suite: bytes
    nonce: Nonce
    public_key: bytes
    digest: Digest


class Welcome(_Message, frozen=True, tag="welcome"):
    version: int
    suite: bytes
    nonce: Nonce
    sealed: bytes
    digest: Digest


class ServerBody(_Message, frozen=True, tag="server"):
    host_key: bytes
    client_auth: ClientAuth


class ClientBody(_Message, frozen=True, tag="client"):
    """Who the client is, and whom it dialled. `user_key` is empty if the client is anonymous."""

    name: str
    user_key: bytes


class ServerProof(_Message, frozen=True):
    body: Raw  # ServerBody, as it came: the transcript hashes the bytes received
    signature: Signature
    mac: Mac


class ClientProof(_Message, frozen=True):
    body: Raw  # ClientBody
    signature: bytes  # empty if the client is anonymous
    mac: Mac


class Chunk(_Message, frozen=True):
    """Part of a message (SAY) or of the reply to it (REPLY)."""

    id: MessageId
    last: bool
    chunk: bytes


class Goodbye(_Message, frozen=True):
    reason: Reason
    id: MessageId


class FaultReport(_Message, frozen=True):
    id: MessageId
    fault: Fault


class Cancel(_Message, frozen=True):
    id: MessageId


class About(_Message, frozen=True):
    """Whom the server takes the client for, and who answers: at most 64 bytes of UTF-8 each."""

    user: str
    robot: str
    software: str


Message = TypeVar("Message", bound=_Message)

encode = Encoder().encode

HELLO = Decoder(Hello)
WELCOME = Decoder(Welcome)
SERVER_BODY = Decoder(ServerBody)
CLIENT_BODY = Decoder(ClientBody)
SERVER_PROOF = Decoder(ServerProof)
CLIENT_PROOF = Decoder(ClientProof)
CHUNK = Decoder(Chunk)
GOODBYE = Decoder(Goodbye)
FAULT_REPORT = Decoder(FaultReport)
CANCEL = Decoder(Cancel)
ABOUT = Decoder(About)


def decode(decoder: Decoder[Message], data: bytes) -> Message:
    """The message that `data` is the one encoding of; otherwise RemoteProtocolError (malformed)."""
    try:
        message = decoder.decode(data)
        if encode(message) == data:
            return message
    except (MsgspecError, RecursionError, UnicodeDecodeError):
        pass
    raise RemoteProtocolError(Category.MALFORMED)

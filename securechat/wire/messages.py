"""The messages of the handshake and of the session (protocol, sections 0, 3 and 8).

A message is a msgpack array of fixed arity and fixed types. Each value has one encoding: `decode` encodes again and
raises if the bytes differ. A field of type ``bytes`` is msgpack bin, one of type ``str`` is msgpack str.
"""

from enum import IntEnum
from typing import Annotated, TypeVar

from msgspec import Meta, MsgspecError, Raw, Struct
from msgspec.msgpack import Decoder, Encoder

from securechat.errors import Category, RemoteProtocolError

MAX_ABOUT = 64  # bytes of UTF-8 in each text of About
MAX_MESSAGE = 2**26  # bytes of UTF-8 in a message, if the server accepts the longest messages that it may

Nonce = Annotated[bytes, Meta(min_length=32, max_length=32)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Mac = Annotated[bytes, Meta(min_length=32, max_length=32)]
Version = Annotated[int, Meta(ge=0)]
MessageId = Annotated[int, Meta(ge=0)]
MaxMessage = Annotated[int, Meta(ge=2**12, le=MAX_MESSAGE)]  # bytes of UTF-8
Width = Annotated[int, Meta(ge=1, le=64)]  # records per tick


class ClientAuth(IntEnum):
    """Whether the server accepts or requires a user key."""

    NONE = 0
    OPTIONAL = 1
    REQUIRED = 2


class Reason(IntEnum):
    """The reason in a GOODBYE."""

    LEAVING = 0
    STOPPING = 1
    IDLE = 2
    TOO_OLD = 3
    KEY_WITHDRAWN = 4
    REMOVED = 5


class _Message(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The base class: an array of exactly the fields of the class."""

    def __repr__(self) -> str:
        """The name only, because fields contain keys and text."""
        return f"<{type(self).__name__}>"


class Hello(_Message, frozen=True, tag="hello"):
    version: Version
    suite: bytes
    nonce: Nonce
    public_key: bytes
    digest: Digest


class Welcome(_Message, frozen=True, tag="welcome"):
    version: Version
    suite: bytes
    nonce: Nonce
    sealed: bytes
    digest: Digest


class ServerBody(_Message, frozen=True, tag="server"):
    host_key: bytes
    client_auth: ClientAuth


class ClientBody(_Message, frozen=True, tag="client"):
    """`name` is the server's name as the client dialled it; `user_key` is empty if the client is anonymous."""

    name: str
    user_key: bytes


class ServerProof(_Message, frozen=True):
    body: Raw  # ServerBody, as received: the transcript is over these bytes
    signature: Signature
    mac: Mac


class ClientProof(_Message, frozen=True):
    body: Raw  # ClientBody
    signature: bytes  # empty if the client is anonymous
    mac: Mac


class Chunk(_Message, frozen=True):
    """Part of a message (SAY) or of a reply (REPLY)."""

    id: MessageId
    last: bool
    chunk: bytes


class Goodbye(_Message, frozen=True):
    reason: Reason
    id: MessageId


class FaultReport(_Message, frozen=True):
    id: MessageId
    code: Annotated[int, Meta(ge=1)]  # of a Fault, or one that is not known yet


class Cancel(_Message, frozen=True):
    id: MessageId


class About(_Message, frozen=True):
    """`user` is empty if the client is anonymous. Each text has at most MAX_ABOUT bytes of UTF-8."""

    user: str
    robot: str
    software: str
    max_message: MaxMessage
    api: bool  # reserved
    shaping: Annotated[int, Meta(ge=0, le=2)]  # an index of SHAPINGS
    tick: Annotated[int, Meta(ge=1, le=60_000)]  # milliseconds
    width: Width


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
    """The message in `data`; RemoteProtocolError (malformed) if it is invalid, or not in its one encoding."""
    try:
        message = decoder.decode(data)
        if encode(message) == data:
            return message
    except (MsgspecError, RecursionError, UnicodeDecodeError):
        pass
    raise RemoteProtocolError(Category.MALFORMED)

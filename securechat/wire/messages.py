"""The messages of the handshake and of the session (protocol, sections 0, 3 and 8).

A message is a msgpack array of fixed arity and fixed types. Each value has one encoding: `decode` encodes again and
raises if the bytes differ. A field of type ``bytes`` is msgpack bin, one of type ``str`` is msgpack str.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Final, TypeVar

from msgspec import Meta, MsgspecError, Raw, Struct
from msgspec.msgpack import Decoder, Encoder

from securechat.conversation import Speaker, Turn
from securechat.errors import Category, RemoteProtocolError

MAX_ABOUT = 64  # bytes of UTF-8 in each text of About
MAX_MESSAGE = 2**26  # bytes of UTF-8 in a message, if the server accepts the longest messages that it may
MAX_TURNS: Final = 4096  # in a RECALL

Nonce = Annotated[bytes, Meta(min_length=32, max_length=32)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Mac = Annotated[bytes, Meta(min_length=32, max_length=32)]
Version = Annotated[int, Meta(ge=0)]
Number = Annotated[int, Meta(ge=0)]
MessageId = Annotated[int, Meta(ge=0)]
MaxMessage = Annotated[int, Meta(ge=2**12, le=MAX_MESSAGE)]  # bytes of UTF-8
Width = Annotated[int, Meta(ge=1, le=64)]  # records per tick

SPEAKERS: Final = (Speaker.USER, Speaker.ROBOT)  # by their number in a RECALL


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


class CertificateBody(_Message, frozen=True):
    """The parts of a user's certificate, as in `ssh.certificates.Parts`.

    `extensions` is a set of EXTENSIONS, bit 0 for the first, if they can be represented so.
    """

    nonce: bytes
    key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    serial: Number
    key_id: bytes
    principals: bytes
    valid_after: Number
    valid_before: Number
    options: bytes
    extensions: Annotated[int, Meta(ge=0, lt=2**5)] | bytes
    ca: Annotated[bytes, Meta(min_length=32, max_length=32)]
    signature: Signature


class ClientBody(_Message, frozen=True, tag="client"):
    """`name` is the server's name as the client dialled it; `user_key` is empty if the client is anonymous."""

    name: str
    user_key: bytes | CertificateBody


class ServerProof(_Message, frozen=True):
    body: Raw  # ServerBody, as received: the transcript is over these bytes
    signature: Signature
    mac: Mac


class ClientProof(_Message, frozen=True):
    body: Raw  # ClientBody
    signature: bytes  # empty if the client is anonymous
    mac: Mac


class Chunk(_Message, frozen=True):
    """Part of a message (SAY, CALL) or of a reply (REPLY, RESULT)."""

    id: MessageId
    last: bool
    chunk: bytes


class RecallChunk(_Message, frozen=True):
    """Part of a RECALL."""

    last: bool
    chunk: bytes


class Call(_Message, frozen=True):
    """The joined chunks of a CALL; `body` is empty for GET."""

    path: str
    body: bytes


class RecalledTurn(_Message, frozen=True):
    """An element of the array that the chunks of a RECALL form."""

    speaker: Annotated[int, Meta(ge=0, le=1)]  # an index of SPEAKERS
    text: str


class Goodbye(_Message, frozen=True):
    reason: Reason
    id: MessageId


class FaultReport(_Message, frozen=True):
    id: MessageId
    code: Annotated[int, Meta(ge=1)]  # of a Fault, or one that is not known yet


class Cancel(_Message, frozen=True):
    id: MessageId


class HostKeyMessage(_Message, frozen=True):
    """The server's next host key, signed by the present one and by itself."""

    host_key: bytes
    present_signature: Signature
    successor_signature: Signature


class About(_Message, frozen=True):
    """`user` is empty if the client is anonymous. Each text has at most MAX_ABOUT bytes of UTF-8."""

    user: str
    robot: str
    software: str
    max_message: MaxMessage
    api: bool  # whether the client may send CALLs
    shaping: Annotated[int, Meta(ge=0, le=2)]  # an index of SHAPINGS
    tick: Annotated[int, Meta(ge=1, le=60_000)]  # milliseconds
    width: Width


Message = TypeVar("Message")  # one of the above, or an array of them

encode = Encoder().encode

HELLO = Decoder(Hello)
WELCOME = Decoder(Welcome)
SERVER_BODY = Decoder(ServerBody)
CLIENT_BODY = Decoder(ClientBody)
SERVER_PROOF = Decoder(ServerProof)
CLIENT_PROOF = Decoder(ClientProof)
CHUNK = Decoder(Chunk)
RECALL_CHUNK = Decoder(RecallChunk)
CALL = Decoder(Call)
TURNS = Decoder(list[RecalledTurn])
GOODBYE = Decoder(Goodbye)
FAULT_REPORT = Decoder(FaultReport)
CANCEL = Decoder(Cancel)
ABOUT = Decoder(About)
HOST_KEY = Decoder(HostKeyMessage)


def decode(decoder: Decoder[Message], data: bytes | bytearray) -> Message:
    """The message in `data`; RemoteProtocolError (malformed) if it is invalid, or not in its one encoding."""
    try:
        message = decoder.decode(data)
        if encode(message) == data:
            return message
    except (MsgspecError, RecursionError, UnicodeDecodeError):
        pass
    raise RemoteProtocolError(Category.MALFORMED)


_ARRAY_16: Final = (
    b"\xdc"  # first byte of a msgpack array whose length has 16 bits; shorter ones begin with 0x90 to 0x9f
)


def encode_turns(turns: Sequence[Turn]) -> bytes:
    """The content of a RECALL."""
    return encode([RecalledTurn(SPEAKERS.index(turn.speaker), turn.text) for turn in turns])


def decode_turns(data: bytes | bytearray) -> list[Turn]:
    """The content of a RECALL; RemoteProtocolError (malformed), for too many turns before any of them is decoded."""
    if data[:1] > _ARRAY_16 or (data[:1] == _ARRAY_16 and int.from_bytes(data[1:3], "big") > MAX_TURNS):
        raise RemoteProtocolError(Category.MALFORMED)
    return [Turn(SPEAKERS[turn.speaker], turn.text) for turn in decode(TURNS, data)]

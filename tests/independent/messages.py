"""Parsers of the handshake messages of section 3 and the payloads of section 8.

Text (kinds, name, ABOUT) is str; the suite's name, nonces, keys, digests, sealed, signatures, MACs and chunks are bin.
SB and CB are arrays in the array of PROOF; their slice of the payload is hashed.
"""

from typing import NamedTuple

from tests.independent.abort import AbortError
from tests.independent.pack import Value, unpack, unpack_at
from tests.independent.records import (
    ABOUT,
    CALL,
    CANCEL,
    FAULT,
    GOODBYE,
    NEW,
    PAD,
    PROOF,
    RECALL,
    REKEY,
    REPLY,
    RESULT,
    SAY,
)
from tests.independent.schedule import sha256
from tests.independent.suites import SUITES, check_pub, check_sealed

VERSION = 1
NO_CLIENT_KEY, CLIENT_KEY_OPTIONAL, CLIENT_KEY_REQUIRED = range(3)
REASONS = range(6)
CODES = range(1, 2**64)  # from 13 on they are unknown, and mean what 9 means
NOT_ALLOWED = 11
LONGEST_ABOUT = 64  # bytes of UTF-8
MAX_MESSAGES = range(4096, 2**26 + 1)  # bytes
SHAPINGS = SHAPING_OFF, SHAPING_REPLY, SHAPING_CONSTANT = range(3)
TICKS = range(1, 60_001)  # milliseconds
WIDTHS = range(1, 65)  # records


_ARITIES = {SAY: 3, REPLY: 3, GOODBYE: 2, FAULT: 2, CANCEL: 1, ABOUT: 8, CALL: 3, RESULT: 3, RECALL: 2}


class Hello(NamedTuple):
    suite: str
    nonce: bytes
    pub: bytes


class Welcome(NamedTuple):
    nonce: bytes
    sealed: bytes


class About(NamedTuple):
    user: str
    robot: str
    software: str
    max_message: int
    api: bool
    shaping: int
    tick: int
    width: int


class ServerProof(NamedTuple):
    body: bytes  # SB as received
    host_key: bytes
    client_auth: int
    signature: bytes
    mac: bytes


class ClientProof(NamedTuple):
    body: bytes  # CB as received
    name: str
    user_key: bytes
    signature: bytes
    mac: bytes


def read_hello(payload: bytes, allowed: tuple[str, ...] = SUITES) -> Hello:
    kind, version, suite, nonce, pub, digest = _array(unpack(payload), 6)
    _check_kind_and_version(kind, "hello", version)
    suite = _suite(suite)
    if suite not in SUITES or suite not in allowed:
        raise AbortError("suite")
    hello = Hello(suite, _bin(nonce, 32), _bin(pub))
    if _bin(digest, 32) != sha256(hello.pub):
        raise AbortError("digest")
    check_pub(suite, hello.pub)
    return hello


def read_welcome(payload: bytes, asked: str) -> Welcome:
    kind, version, suite, nonce, sealed, digest = _array(unpack(payload), 6)
    _check_kind_and_version(kind, "welcome", version)
    if _suite(suite) != asked:
        raise AbortError("suite")
    welcome = Welcome(_bin(nonce, 32), _bin(sealed))
    check_sealed(asked, welcome.sealed)
    if _bin(digest, 32) != sha256(welcome.sealed):
        raise AbortError("digest")
    return welcome


def read_server_proof(payload: bytes) -> ServerProof:
    body, signature, mac = _array(unpack(payload), 3)
    kind, host_key, client_auth = _array(body, 3)
    if _str(kind) != "server" or _int(client_auth) > CLIENT_KEY_REQUIRED:
        raise AbortError("malformed", "SB")
    return ServerProof(_first(payload), _bin(host_key), _int(client_auth), _bin(signature, 64), _bin(mac, 32))


def read_client_proof(payload: bytes) -> ClientProof:
    """Section 3: user_key and sig_c are both present or both empty."""
    body, signature, mac = _array(unpack(payload), 3)
    kind, name, user_key = _array(body, 3)
    if _str(kind) != "client":
        raise AbortError("malformed", "CB")
    proof = ClientProof(_first(payload), _str(name), _bin(user_key), _bin(signature), _bin(mac, 32))
    if len(proof.signature) != (64 if proof.user_key else 0):
        raise AbortError("malformed", "key without signature or signature without key")
    return proof


def read_payload(kind: int, payload: bytes) -> tuple[Value, ...]:
    """The fields of a record's payload, empty for types without a payload (n = 0)."""
    if kind not in range(13):
        raise AbortError("order", "unknown type")
    if kind in (PAD, REKEY, NEW):
        if payload:
            raise AbortError("malformed", "n is not 0")
        return ()
    if kind == PROOF:
        return _array(unpack(payload), 3)
    values = _array(unpack(payload), _ARITIES[kind])
    if kind in (SAY, REPLY, CALL, RESULT, RECALL):
        *numbered, last, chunk = values
        if not isinstance(last, bool):
            raise AbortError("malformed", "last")
        if not _bin(chunk) and not last:
            raise AbortError("malformed", "an empty chunk that is not the last")
        return *map(_int, numbered), last, _bin(chunk)
    if kind == ABOUT:
        return _about(values)
    numbers = tuple(_int(value) for value in values)
    if (kind == GOODBYE and numbers[0] not in REASONS) or (kind == FAULT and numbers[1] not in CODES):
        raise AbortError("malformed", "unknown number")
    return numbers


def _about(values: tuple[Value, ...]) -> About:
    user, robot, software, max_message, api, *shape = values
    if not isinstance(api, bool):
        raise AbortError("malformed", "api")
    shaping, tick, width = map(_int, shape)
    about = About(_str(user), _str(robot), _str(software), _int(max_message), api, shaping, tick, width)
    if any(len(text.encode()) > LONGEST_ABOUT for text in (about.user, about.robot, about.software)):
        raise AbortError("malformed", "too long")
    if about.max_message not in MAX_MESSAGES or shaping not in SHAPINGS or tick not in TICKS or width not in WIDTHS:
        raise AbortError("malformed", "out of range")
    return about


def _check_kind_and_version(kind: Value, expected: str, version: Value) -> None:
    if _str(kind) != expected:
        raise AbortError("malformed", "kind")
    if _int(version) != VERSION:
        raise AbortError("version")


def _first(payload: bytes) -> bytes:
    """The bytes of the first element, after the one-byte header of an array of three."""
    return payload[1 : unpack_at(payload, 1)[1]]


def _array(value: Value, arity: int) -> tuple[Value, ...]:
    if not isinstance(value, tuple) or len(value) != arity:
        raise AbortError("malformed", "arity")
    return value


def _str(value: Value) -> str:
    if not isinstance(value, str):
        raise AbortError("malformed", "not a str")
    return value


def _suite(value: Value) -> str:
    return _bin(value).decode(errors="replace")


def _bin(value: Value, size: int | None = None) -> bytes:
    if not isinstance(value, bytes) or (size is not None and len(value) != size):
        raise AbortError("malformed", "not a bin of that length")
    return value


def _int(value: Value) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise AbortError("malformed", "not an integer")
    return value

"""Decode a captured session from both byte streams and the client's key pair or the 32-byte secret."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.independent.abort import AbortError
from tests.independent.conversation import Content, Message
from tests.independent.messages import (
    About,
    ClientProof,
    Hello,
    ServerProof,
    Welcome,
    read_client_proof,
    read_hello,
    read_payload,
    read_server_proof,
    read_welcome,
)
from tests.independent.pack import Value
from tests.independent.records import ABOUT, CALL, FAULT, PROOF, RECALL, REKEY, REPLY, RESULT, SAY, Half, read_plaintext
from tests.independent.schedule import Transcript, handshake_keys, lp, seal_info, session_keys
from tests.independent.suites import KeyPair, open_sealed
from tests.independent.trace import Record


@dataclass(frozen=True)
class Session:
    """The content of the streams; the first record in each direction is its PROOF."""

    hello: Hello
    welcome: Welcome
    secret: bytes
    session_id: bytes
    server_proof: ServerProof
    client_proof: ClientProof
    client_records: list[Record]
    server_records: list[Record]

    def about(self) -> About:
        record = self.server_records[1]  # after PROOF
        if record.kind != ABOUT:
            raise AbortError("order", "ABOUT expected")
        return About(*payload_fields(record))  # type: ignore[arg-type]

    def said(self) -> list[Content]:
        """Everything that the client said, called or recalled."""
        return list(_contents(self.client_records))

    def replied(self) -> list[Content]:
        return list(_contents(self.server_records))


def decode(from_client: bytes, from_server: bytes, key: KeyPair | bytes) -> Session:
    """Decode a session with a complete handshake. Signatures and MACs are not verified."""
    client_frames = frames(from_client)
    server_frames = frames(from_server)
    if len(client_frames) < 2 or len(server_frames) < 2:
        raise AbortError("cut", "within the handshake")
    first_payload = client_frames[0]
    hello = read_hello(first_payload)
    transcript = Transcript(hello.suite)
    transcript.hello(first_payload)
    second_payload = server_frames[0]
    welcome = read_welcome(second_payload, hello.suite)
    info = seal_info(transcript.h[1], welcome.nonce)
    secret = key if isinstance(key, bytes) else open_sealed(key, welcome.sealed, info)
    transcript.welcome(second_payload)
    keys = handshake_keys(secret, transcript.h[2])
    server_first = _open("server", _half(hello, keys.hs_server), server_frames[1])
    server_proof = read_server_proof(_proof(server_first))
    transcript.server_body(server_proof.body)
    transcript.server_signature(server_proof.signature)
    client_first = _open("client", _half(hello, keys.hs_client), client_frames[1])
    client_proof = read_client_proof(_proof(client_first))
    transcript.client_body(server_proof.mac, client_proof.body)
    transcript.client_signature(client_proof.signature)
    transcript.client_mac(client_proof.mac)
    app = session_keys(keys.master, transcript.h[7])
    return Session(
        hello,
        welcome,
        secret,
        app.session_id,
        server_proof,
        client_proof,
        [client_first, *_direction("client", _half(hello, app.ts_client), client_frames[2:])],
        [server_first, *_direction("server", _half(hello, app.ts_server), server_frames[2:])],
    )


def frames(stream: bytes) -> list[bytes]:
    """Section 1; the stream has to end with a complete frame."""
    found = []
    at = 0
    while at < len(stream):
        length = int.from_bytes(stream[at : at + 4], "big")
        body = stream[at + 4 : at + 4 + length]
        if len(body) < length:
            raise AbortError("cut", "within a frame")
        found.append(body)
        at += 4 + length
    return found


def payload_fields(record: Record) -> tuple[Value, ...]:
    return read_payload(record.kind, record.payload)


def _direction(side: str, half: Half, bodies: list[bytes]) -> Iterator[Record]:
    for body in bodies:
        record = _open(side, half, body)
        payload_fields(record)  # aborts on an invalid payload
        if record.kind == REKEY:
            half.step()
        yield record


def _half(hello: Hello, ts: bytes) -> Half:
    return Half(hello.suite, ts, bytes)


def _open(side: str, half: Half, body: bytes) -> Record:
    ts, seq = half.ts, half.seq
    kind, payload = read_plaintext(half.open(body))
    return Record(side, ts, seq, kind, payload, lp(body))


def _proof(record: Record) -> bytes:
    if record.kind != PROOF:
        raise AbortError("order", "PROOF expected")
    return record.payload


def _contents(records: list[Record]) -> Iterator[Content]:
    message = Message()
    for record in records:
        if record.kind in (SAY, REPLY, CALL, RESULT, RECALL):
            *_id, last, chunk = payload_fields(record)
            content = message.add(record.kind, last, chunk)
            if content is not None:
                yield content
        elif record.kind == FAULT:
            message.drop()

"""Recorded sessions of the second implementation, recomputed by securechat."""

import json
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key
from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.certificates import read_credential
from securechat.wire.handshake import ClientHandshake, HandshakeKeys, ServerHandshake, ServerIdentity, SessionKeys
from securechat.wire.items import Head, ItemReader, Piece, ServerEvent
from securechat.wire.messages import (
    CALL,
    CHUNK,
    CLIENT_BODY,
    RECALL_CHUNK,
    SERVER_BODY,
    ClientAuth,
    decode,
    decode_turns,
)
from securechat.wire.records import Opener, RecordType, Sealer
from securechat.wire.suites import SUITES, EphemeralKey, HybridKey, RSAKey, Suite
from tests.harness.pair import PQ, accept

FILES = sorted((Path(__file__).parents[1] / "vectors").glob("*.json"))


class Vector:
    """A recorded session: its values as bytes, and its records."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values = json.loads(path.read_text())
        self.suite: Suite = SUITES[self._values["suite"].encode()]
        self.records: list[dict[str, Any]] = self._values["records"]

    def __getitem__(self, name: str) -> bytes:
        return bytes.fromhex(self._values[name])

    def key(self) -> EphemeralKey:
        if self.suite is PQ:
            return HybridKey(
                MLKEM768PrivateKey.from_seed_bytes(self["mlkem_seed"]),
                X25519PrivateKey.from_private_bytes(self["x25519_private"]),
            )
        return RSAKey(cast(RSAPrivateKey, load_der_private_key(self["pkcs8"], None)))

    def proof(self, side: str) -> bytes:
        [record, *_rest] = [record for record in self.records if record["from"] == side]
        return bytes.fromhex(record["payload"])


class VectorTests(SynchronousTestCase):
    """Both suites, with a user key and anonymously."""

    def setUp(self) -> None:
        self.vectors = [Vector(path) for path in FILES]
        self.assertEqual(len(self.vectors), 7)

    def check_handshake_keys(self, vector: Vector, keys: HandshakeKeys) -> None:
        for name, found in (
            ("hs_client", keys.client),
            ("hs_server", keys.server),
            ("fin_client", keys.finished_client),
            ("fin_server", keys.finished_server),
            ("master", keys.master),
        ):
            self.assertEqual(found, vector[name], name)

    def check_session_keys(self, vector: Vector, keys: SessionKeys) -> None:
        self.assertEqual(keys.client, vector["ts_client_0"])
        self.assertEqual(keys.server, vector["ts_server_0"])
        self.assertEqual(keys.session_id, vector["session_id"])

    def test_client(self) -> None:
        """Our client sends the same Hello, opens the Welcome, and sends the same PROOF."""
        for vector in self.vectors:
            body = decode(CLIENT_BODY, vector["cb"])
            user_key, certificate = read_credential(body.user_key)
            self.assertEqual(certificate, vector["certificate"] if certificate else b"")
            blob = certificate or user_key
            client = ClientHandshake(vector.suite, vector.key(), body.name, accept, blob, vector["nc"])
            self.assertEqual(client.hello(), vector["hello"])
            self.check_handshake_keys(vector, client.receive_welcome(vector["welcome"]))
            self.assertEqual((client._h1, client._h2), (vector["h1"], vector["h2"]))
            client.receive_server_proof(vector.proof("server"))
            self.assertEqual(client._h5, vector["h5"])
            proof, keys = client.prove(vector["sig_c"])
            self.assertEqual(proof, vector.proof("client"))
            self.check_session_keys(vector, keys)

    def test_server(self) -> None:
        """Our server, given the same sealed secret, sends the same Welcome and PROOF, and accepts the client."""
        for vector in self.vectors:
            sealed = vector["sealed"]

            class Replaying(type(vector.suite)):  # type: ignore[misc]
                def seal(self, public_bytes: bytes, secret: bytes, info: bytes, sealed: bytes = sealed) -> bytes:
                    return sealed

            class HostKey:
                blob = decode(SERVER_BODY, vector["sb"]).host_key

                def sign(self, data: bytes, signature: bytes = vector["sig_s"]) -> bytes:
                    return signature

            suites = {vector.suite.name: Replaying()}
            identity = ServerIdentity(cast(Any, HostKey()), suites, ClientAuth.OPTIONAL, lambda blob, certificate: True)
            body = decode(CLIENT_BODY, vector["cb"])
            server = ServerHandshake(identity, {body.name}, vector["ns"], vector["secret"])
            welcome, keys = server.receive_hello(vector["hello"])
            self.assertEqual(welcome, vector["welcome"])
            self.check_handshake_keys(vector, keys)
            self.assertEqual(server.prove(), vector.proof("server"))
            self.assertEqual(server._h4, vector["h4"])
            self.check_session_keys(vector, server.receive_client_proof(vector.proof("client")))
            user_key, certificate = read_credential(body.user_key)
            self.assertEqual(server.user_key, user_key)
            self.assertEqual(server.certificate.blob if server.certificate else b"", certificate)

    def test_records(self) -> None:
        """Each record opens to its type and payload; records of suite PQ are also sealed to the same bytes."""
        all_kinds = set()
        for vector in self.vectors:
            kinds = set()
            for record in vector.records:
                secret, frame = bytes.fromhex(record["ts"]), bytes.fromhex(record["frame"])
                payload, kind = bytes.fromhex(record["payload"]), RecordType(record["type"])
                opener, sealer = Opener(vector.suite, secret), Sealer(vector.suite, secret)
                opener._seq = sealer._seq = record["seq"]
                self.assertEqual(opener.open(frame[4:]), (kind, payload))
                if vector.suite is PQ:
                    self.assertEqual(sealer.seal(kind, payload, 0.0), frame)
                kinds.add(kind)
            self.assertLess({RecordType.PROOF, RecordType.ABOUT, RecordType.SAY, RecordType.REPLY}, kinds)
            all_kinds |= kinds
        self.assertEqual(all_kinds, set(RecordType))

    def test_contents(self) -> None:
        """The recorded requests, results and recalled turns are read as they were meant."""
        [vector] = [vector for vector in self.vectors if vector.path.stem.endswith("calls")]
        chunks: dict[tuple[RecordType, int], bytes] = {}
        recalls = 0
        for record in vector.records:
            kind, payload = RecordType(record["type"]), bytes.fromhex(record["payload"])
            if kind is RecordType.RECALL:
                part = decode(RECALL_CHUNK, payload)
                chunks[kind, recalls] = chunks.get((kind, recalls), b"") + part.chunk
                recalls += part.last
            elif kind in (RecordType.CALL, RecordType.RESULT):
                chunk = decode(CHUNK, payload)
                chunks[kind, chunk.id] = chunks.get((kind, chunk.id), b"") + chunk.chunk
        turns = decode_turns(chunks[RecordType.RECALL, 0])
        self.assertEqual([turn.text[:20] for turn in turns], ["my name is Ada", "你好 Ada", "x" * 20])
        self.assertEqual(decode_turns(chunks[RecordType.RECALL, 1]), [])
        calls = [decode(CALL, chunks[RecordType.CALL, number]) for number in (2, 3)]
        self.assertEqual([call.path for call in calls], ["chat/completions", "models/a/b"])
        reader = ItemReader()
        events = [ServerEvent("", b'{"text":"%b"}' % text) for text in (b"a", b"b")]
        stream = [Head(200, "text/event-stream"), *events, ServerEvent("", b"[DONE]")]
        self.assertEqual(reader.feed(chunks[RecordType.RESULT, 2]), stream)
        reader = ItemReader()
        body = [Head(404, "application/json"), Piece(b'{"error":'), Piece(b'{"message":"x"}}')]
        self.assertEqual(reader.feed(chunks[RecordType.RESULT, 3]), body)

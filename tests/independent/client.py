"""The client, in the order of section 3, with the checks of section 7."""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.independent import sshsig
from tests.independent.abort import AbortError
from tests.independent.certificates import Certificate
from tests.independent.conversation import Content, Turn
from tests.independent.host_keys import check, hint_of
from tests.independent.messages import (
    CLIENT_KEY_REQUIRED,
    NO_CLIENT_KEY,
    VERSION,
    About,
    ServerProof,
    read_server_proof,
    read_welcome,
)
from tests.independent.pack import Value, pack
from tests.independent.peer import HANDSHAKE_FRAME, RECALL_CHUNK, Hook, Peer, cut
from tests.independent.records import CALL, FAULT, GOODBYE, HOSTKEY, PAD, RECALL, SAY
from tests.independent.schedule import Transcript, handshake_keys, mac, seal_info, session_keys, sha256
from tests.independent.suites import PQ, RECORD_FRAME, KeyPair, make_key_pair, open_sealed


def is_burst(records: int) -> bool:
    """Section 10: 1, 2, 4, … 128, then the square roots of powers of two, rounded up."""
    if records <= 128:
        return records.bit_count() == 1
    power = 1
    while power <= (records - 1) ** 2:
        power *= 2
    return power <= records**2


@dataclass(frozen=True)
class ClientSettings:
    """What the user configured."""

    name: str  # the name dialled, in the form of section 3
    known_host: bytes | None  # known_hosts[name]; None if it is not there
    suite: str = PQ
    user_key: Ed25519PrivateKey | None = None
    certificate: Certificate | None = None  # for user_key
    next_host_key: bytes | None = None  # known beside known_host
    asks_host_key: bool = True  # if the server announces one that is not known
    revoked: frozenset[bytes] = field(default_factory=frozenset)
    key_pair: KeyPair | None = None  # injected for a deterministic Hello


class Client(Peer):
    side = "client"
    other = "server"

    def __init__(
        self,
        sock: socket.socket,
        settings: ClientSettings,
        randomness: Callable[[int], bytes] = os.urandom,
        hooks: Mapping[str, Hook] | None = None,
    ) -> None:
        super().__init__(sock, randomness, hooks)
        self.settings = settings
        self.suite = settings.suite
        self.learned = b""  # the next host key

    def handshake(self) -> None:
        self.send_hello()
        self.read_welcome()
        self.read_server_proof()
        self.prove()
        self.read_about()

    def send_hello(self) -> None:
        nonce = self.bend("nonce", self.randomness(32))
        self.key_pair = self.settings.key_pair or make_key_pair(self.suite, self.randomness)
        pub = self.bend("pub", self.key_pair.pub)
        fields: tuple[Value, ...] = ("hello", VERSION, self.suite.encode(), nonce, pub, sha256(pub))
        payload = self.bend("payload", pack(self.bend("fields", fields)))
        self.transcript = Transcript(self.suite)
        self.transcript.hello(payload)
        self.trace.add(suite=self.suite, nc=nonce, pub=pub, hello=payload)
        self.trace.add_hex(self.key_pair.private())
        self.write_frame(payload)

    def read_welcome(self) -> None:
        payload = self.read_frame(HANDSHAKE_FRAME)
        welcome = read_welcome(payload, self.suite)
        info = seal_info(self.transcript.h[1], welcome.nonce)
        secret = open_sealed(self.key_pair, welcome.sealed, info)
        self.transcript.welcome(payload)
        self.handshake_keys = handshake_keys(secret, self.transcript.h[2])
        self.trace.add(ns=welcome.nonce, info=info, sealed=welcome.sealed, secret=secret, welcome=payload)
        self.trace.add_handshake_keys(self.handshake_keys)
        self.sending = self.half(self.handshake_keys.hs_client)
        self.receiving = self.half(self.handshake_keys.hs_server)

    def read_server_proof(self) -> None:
        proof = read_server_proof(self.read_proof(self.receiving))
        if not sshsig.acceptable(proof.host_key):
            raise AbortError("host-key", "form")
        self.transcript.server_body(proof.body)
        if not sshsig.verifies(proof.host_key, sshsig.SERVER, self.transcript.h[3], proof.signature):
            raise AbortError("proof", "signature")
        self.transcript.server_signature(proof.signature)
        self.check_mac(mac(self.handshake_keys.fin_server, self.transcript.h[4]), proof.mac)
        if proof.host_key in self.settings.revoked:
            raise AbortError("host-key", "revoked")
        if proof.host_key not in (self.settings.known_host, self.settings.next_host_key):
            raise AbortError("host-key", "changed" if self.settings.known_host else "unknown")
        self.trace.add(sb=proof.body, sig_s=proof.signature, mac_s=proof.mac)
        self.server_proof = proof

    def prove(self) -> None:
        key = self._key_to_prove(self.server_proof)
        fields: tuple[Value, ...] = ("client", self.settings.name, self._credential(key))
        body = pack(self.bend("CB", fields))
        self.transcript.client_body(self.server_proof.mac, body)
        h5 = self.transcript.h[5]
        signature = self.bend("signature", sshsig.sign(key, sshsig.CLIENT, h5) if key else b"")
        self.transcript.client_signature(signature)
        mac_c = self.bend("mac", mac(self.handshake_keys.fin_client, self.transcript.h[6]))
        self.transcript.client_mac(mac_c)
        self.send_proof(self.sending, body, signature, mac_c)
        self.session_keys = session_keys(self.handshake_keys.master, self.transcript.h[7])
        self.trace.add(cb=body, sig_c=signature, mac_c=mac_c)
        self.trace.add_session_keys(self.transcript, self.session_keys)
        self.sending = self.half(self.session_keys.ts_client)
        self.receiving = self.half(self.session_keys.ts_server)

    def read_about(self) -> None:
        """Only ABOUT can come first: see ``Conversation``."""
        about = self.receive().fields
        assert isinstance(about, About)
        self.about = about

    def say(self, text: str, turns: list[Turn] | None = None) -> int:
        """Send one burst, with a RECALL of ``turns`` before the message. Returns the id of the message."""
        records = self._question()
        records += self._recall(turns) if turns is not None else b""
        records += self._message(SAY, text.encode())
        self.sock.sendall(records + self._padding(records))
        return self.conversation.said

    def burst_of(self, *texts: str) -> bytes:
        """The records of some messages, those of each filled as section 10 says."""
        bursts = b""
        for text in texts:
            records = self._message(SAY, text.encode())
            bursts += records + self._padding(records)
        return bursts

    def call(self, path: str, body: bytes = b"") -> int:
        """Send one burst. Returns the id of the request."""
        records = self._question() + self._message(CALL, pack((path, body)))
        self.sock.sendall(records + self._padding(records, 128))
        return self.conversation.said

    def _question(self) -> bytes:
        """HOSTKEY, before the first message, if the server has announced a key that is not known."""
        hint = self.conversation.hint
        known = self.settings.next_host_key is not None and hint_of(self.settings.next_host_key) == hint
        if self.conversation.said or not hint or known or not self.settings.asks_host_key:
            return b""
        return self.seal(HOSTKEY)

    def _message(self, kind: int, data: bytes) -> bytes:
        number = self.conversation.said + 1
        return b"".join(self.seal(kind, number, last, chunk) for last, chunk in cut(data))

    def _recall(self, turns: list[Turn]) -> bytes:
        chunks = cut(pack(tuple(turns)), RECALL_CHUNK)
        return b"".join(self.seal(RECALL, last, chunk) for last, chunk in chunks)

    def _padding(self, records: bytes, least: int = 1) -> bytes:
        """PADs that fill a burst to one of its sizes."""
        frame = 4 + RECORD_FRAME[self.suite]
        padding = b""
        while not is_burst(count := (len(records) + len(padding)) // frame) or count < least:
            padding += self.seal(PAD)
        return padding

    def wait_for_reply(self) -> Content | int | None:
        """The content of the next reply, the code of the FAULT that ends it, or None at GOODBYE."""
        while True:
            kind, fields, content = self.receive()
            if kind == HOSTKEY:
                present = self.server_proof.host_key
                self.learned = check(fields, self.session_keys.session_id, present, self.conversation.hint)
            if content is not None:
                return content
            if kind == FAULT:
                assert isinstance(fields[1], int)
                return fields[1]
            if kind == GOODBYE:
                return None

    def _credential(self, key: Ed25519PrivateKey | None) -> Value:
        certificate = self.settings.certificate
        if key and certificate:
            self.trace.add(certificate=certificate.blob())
            return certificate.fields()
        return sshsig.blob(key) if key else b""

    def _key_to_prove(self, proof: ServerProof) -> Ed25519PrivateKey | None:
        """A server that accepts no user key is sent none."""
        client_auth = self.bend("client_auth", proof.client_auth)
        if client_auth == CLIENT_KEY_REQUIRED and not self.settings.user_key:
            raise AbortError("user-key", "required by the server")
        return None if client_auth == NO_CLIENT_KEY else self.settings.user_key

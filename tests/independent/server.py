"""The server of one connection, in the order of section 3, with the checks of section 7."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.independent import certificates, sshsig
from tests.independent.abort import AbortError
from tests.independent.conversation import Call
from tests.independent.host_keys import announced, answer
from tests.independent.messages import (
    CLIENT_KEY_OPTIONAL,
    CLIENT_KEY_REQUIRED,
    NOT_ALLOWED,
    SHAPING_OFF,
    VERSION,
    About,
    ClientProof,
    read_client_proof,
    read_hello,
)
from tests.independent.pack import Value, pack
from tests.independent.peer import HANDSHAKE_FRAME, Hook, Peer, cut
from tests.independent.records import ABOUT, FAULT, GOODBYE, HOSTKEY, REPLY, RESULT
from tests.independent.schedule import Transcript, handshake_keys, mac, seal_info, session_keys, sha256
from tests.independent.suites import SUITES, seal


@dataclass(frozen=True)
class ServerSettings:
    """What the operator configured; times in seconds (section 13)."""

    host_key: Ed25519PrivateKey
    names: frozenset[str]
    authorized: Mapping[bytes, str] = field(default_factory=dict)  # key blob -> user name for ABOUT
    authorities: Mapping[bytes, Mapping[bytes, str]] = field(default_factory=dict)  # ca -> principal -> user name
    next_host_key: Ed25519PrivateKey | None = None
    client_auth: int = CLIENT_KEY_OPTIONAL
    suites: tuple[str, ...] = SUITES
    hello_timeout: float = 5.0
    proof_timeout: float = 30.0
    max_message: int = 2**20  # bytes
    api: bool = False
    shaping: int = SHAPING_OFF
    tick: int = 100  # milliseconds
    width: int = 1
    sealed: bytes | None = None  # injected to replay a vector; ``randomness`` then provides the secret


class Server(Peer):
    side = "server"
    other = "client"

    def __init__(
        self,
        sock: socket.socket,
        settings: ServerSettings,
        randomness: Callable[[int], bytes] = os.urandom,
        hooks: Mapping[str, Hook] | None = None,
    ) -> None:
        super().__init__(sock, randomness, hooks)
        self.settings = settings

    def handshake(self) -> None:
        self.read_hello()
        self.send_welcome()
        self.prove()
        self.read_client_proof()
        self.send_about()

    def read_hello(self) -> None:
        self.deadline = time.monotonic() + self.settings.hello_timeout
        payload = self.read_frame(HANDSHAKE_FRAME)
        self.hello = read_hello(payload, self.settings.suites)
        self.suite = self.hello.suite
        self.transcript = Transcript(self.suite)
        self.transcript.hello(payload)
        self.trace.add(suite=self.suite, nc=self.hello.nonce, pub=self.hello.pub, hello=payload)

    def send_welcome(self) -> None:
        nonce = self.bend("nonce", self.randomness(32))
        secret = self.bend("secret", self.randomness(32))
        info = self.bend("info", seal_info(self.transcript.h[1], nonce))
        pub = self.bend("pub", self.hello.pub)
        sealed = self.bend("sealed", self.settings.sealed or seal(self.suite, pub, info, secret))
        fields: tuple[Value, ...] = ("welcome", VERSION, self.suite.encode(), nonce, sealed, sha256(sealed))
        payload = self.bend("payload", pack(self.bend("fields", fields)))
        self.transcript.welcome(payload)
        self.handshake_keys = handshake_keys(secret, self.transcript.h[2])
        self.trace.add(ns=nonce, info=info, sealed=sealed, secret=secret, welcome=payload)
        self.trace.add_handshake_keys(self.handshake_keys)
        self.sending = self.half(self.handshake_keys.hs_server)
        self.receiving = self.half(self.handshake_keys.hs_client)
        self.write_frame(payload)
        self.deadline = time.monotonic() + self.settings.proof_timeout

    def prove(self) -> None:
        fields: tuple[Value, ...] = ("server", sshsig.blob(self.settings.host_key), self.settings.client_auth)
        body = pack(self.bend("SB", fields))
        self.transcript.server_body(body)
        signature = sshsig.sign(self.settings.host_key, sshsig.SERVER, self.transcript.h[3])
        signature = self.bend("signature", signature)
        self.transcript.server_signature(signature)
        self.mac_s = self.bend("mac", mac(self.handshake_keys.fin_server, self.transcript.h[4]))
        self.trace.add(sb=body, sig_s=signature, mac_s=self.mac_s)
        self.send_proof(self.sending, body, signature, self.mac_s)

    def read_client_proof(self) -> None:
        proof = read_client_proof(self.read_proof(self.receiving))
        if proof.user_key and not sshsig.acceptable(proof.user_key):
            raise AbortError("user-key", "form")
        if proof.name not in self.settings.names and (proof.name or proof.user_key):
            raise AbortError("name")
        self.transcript.client_body(self.mac_s, proof.body)
        self.transcript.client_signature(proof.signature)
        self.check_mac(mac(self.handshake_keys.fin_client, self.transcript.h[6]), proof.mac)
        if proof.user_key and not sshsig.verifies(proof.user_key, sshsig.CLIENT, self.transcript.h[5], proof.signature):
            raise AbortError("proof", "signature")
        self._check_user(proof)
        self.transcript.client_mac(proof.mac)
        self.session_keys = session_keys(self.handshake_keys.master, self.transcript.h[7])
        self.trace.add(cb=proof.body, sig_c=proof.signature, mac_c=proof.mac)
        self.trace.add_session_keys(self.transcript, self.session_keys)
        self.sending = self.half(self.session_keys.ts_server)
        self.receiving = self.half(self.session_keys.ts_client)
        self.deadline = None

    def send_about(self) -> None:
        settings = self.settings
        shape = (settings.shaping, settings.tick, settings.width)
        successor = settings.next_host_key
        software = announced("independent", sshsig.blob(successor)) if successor else "independent"
        self.send(ABOUT, *About(self.user, "echo", software, settings.max_message, settings.api, *shape))

    def send_host_key(self) -> None:
        assert self.settings.next_host_key
        keys = self.settings.host_key, self.settings.next_host_key
        self.send(HOSTKEY, *answer(self.session_keys.session_id, *keys))

    def reply(self, number: int, text: str) -> None:
        for last, chunk in cut(text.encode()):
            self.send(REPLY, number, last, chunk)

    def result(self, number: int, items: bytes) -> None:
        for last, chunk in cut(items):
            self.send(RESULT, number, last, chunk)

    def serve(self, robot: Callable[[str], str], api: Callable[[Call], bytes] | None = None) -> None:
        """Reply until the client sends GOODBYE. A CANCEL always comes too late: the reply has already ended.

        ``api`` returns the items of a result; without it, CALLs are not allowed.
        """
        while True:
            kind, _, content = self.receive()
            if kind == HOSTKEY:
                self.send_host_key()
            if isinstance(content, str):
                self.reply(self.conversation.said, robot(content))
            elif isinstance(content, Call):
                if api:
                    self.result(self.conversation.said, api(content))
                else:
                    self.send(FAULT, self.conversation.said, NOT_ALLOWED)
            if kind == GOODBYE:
                return self.leave()

    def _check_user(self, proof: ClientProof) -> None:
        """Section 7: the certificate or the key is authorized, and client_auth is satisfied."""
        self.user = self.settings.authorized.get(proof.user_key, "")
        if proof.certificate:
            principals = certificates.check(proof.certificate)
            accepted = self.settings.authorities.get(proof.certificate.ca, {})
            matching = sorted(principals & accepted.keys())
            if matching:
                peer = self.sock.getpeername()
                certificates.check_use(proof.certificate, peer[0] if peer else "", time.time())
                self.user = accepted[matching[0]]
        if proof.user_key and not self.user:
            raise AbortError("user-key", "not authorized")
        if self.settings.client_auth == CLIENT_KEY_REQUIRED and not proof.user_key:
            raise AbortError("user-key", "missing")

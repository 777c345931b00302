"""The handshake (protocol, sections 3 to 7).

Each side is an object with one method for each message. Any failure raises, and the connection then drops the object
and its keys.
"""

import hmac
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Raw

from securechat.errors import AuthenticationError, Category, LocalProtocolError, RemoteProtocolError
from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.certificates import Certificate, key_of
from securechat.ssh.encoding import string
from securechat.wire.certificates import credential_of, read_credential
from securechat.wire.host_keys import HostKeys
from securechat.wire.messages import (
    CLIENT_BODY,
    CLIENT_PROOF,
    HELLO,
    SERVER_BODY,
    SERVER_PROOF,
    WELCOME,
    ClientAuth,
    ClientBody,
    ClientProof,
    Hello,
    ServerBody,
    ServerProof,
    Welcome,
    decode,
    encode,
)
from securechat.wire.records import expand
from securechat.wire.suites import SECRET_SIZE, EphemeralKey, Suite

VERSION: Final = 1
NONCE_SIZE: Final = 32  # bytes
SIGNATURE_SIZE: Final = 64  # bytes
SERVER_NAMESPACE: Final = b"securechat-v1-server"
CLIENT_NAMESPACE: Final = b"securechat-v1-client"


# Section 3: handshake


def _check_digest(data: bytes, digest: bytes) -> None:
    if not hmac.compare_digest(sha256(data).digest(), digest):
        raise AuthenticationError(Category.DIGEST, _("the key was tampered with"))


def _check_key(blob: bytes, category: Category) -> None:
    try:
        keys.check_blob(blob)
    except ValueError:
        raise AuthenticationError(category) from None


def _check_certificate(blob: bytes) -> Certificate:
    try:
        return Certificate.parse(blob)
    except ValueError:
        raise AuthenticationError(Category.USER_KEY) from None


def seal_info(h1: bytes, server_nonce: bytes) -> bytes:
    """The `info` with which the session secret is sealed."""
    return b"securechat/1 seal\0" + h1 + server_nonce


# Section 4: transcript


lp = string  # LP(x) = u32(length of x) ‖ x, which is SSH's string


def extend(h: bytes, *parts: bytes) -> bytes:
    """The next transcript hash: H(h ‖ LP(part) ‖ …)."""
    return sha256(h + b"".join(map(lp, parts))).digest()


def first_hash(suite: Suite) -> bytes:
    """h0 = H("securechat/1" ‖ 0x00 ‖ suite)."""
    return sha256(b"securechat/1\0" + suite.name).digest()


# Section 5: keys


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract (RFC 5869)."""
    return HKDF.extract(hashes.SHA256(), salt, secret)


@dataclass(frozen=True, slots=True, repr=False)
class HandshakeKeys:
    """The keys that protect the two proofs, and the master secret of the session keys."""

    client: bytes
    server: bytes
    finished_client: bytes
    finished_server: bytes
    master: bytes

    @classmethod
    def derive(cls, secret: bytes, h2: bytes) -> "HandshakeKeys":
        prk = extract(h2, secret)
        return cls(
            client=expand(prk, b"hs client", h2),
            server=expand(prk, b"hs server", h2),
            finished_client=expand(prk, b"finished client", h2),
            finished_server=expand(prk, b"finished server", h2),
            master=expand(prk, b"master", h2),
        )


@dataclass(frozen=True, slots=True, repr=False)
class SessionKeys:
    """The first traffic secret of each direction, ts_client[0] and ts_server[0], and the session id."""

    client: bytes
    server: bytes
    session_id: bytes  # 16 bytes

    @classmethod
    def derive(cls, master: bytes, h7: bytes) -> "SessionKeys":
        app = extract(h7, master)
        return cls(
            client=expand(app, b"app client", h7),
            server=expand(app, b"app server", h7),
            session_id=expand(app, b"session id", h7, 16),
        )


# Section 6: signatures and MACs


def _mac(key: bytes, h: bytes) -> bytes:
    return hmac.digest(key, h, "sha256")


def _check_mac(key: bytes, h: bytes, mac: bytes) -> None:
    if not hmac.compare_digest(_mac(key, h), mac):
        raise AuthenticationError(Category.PROOF)


# Section 7: the order of checks


class ClientHandshake:
    """The client's side. Order: `hello`, `receive_welcome`, `receive_server_proof`, `prove`.

    `name` is the server's name as the client dialled it, ``[host]:port``. `user_key` is the blob of the public key or
    the certificate to authenticate with, empty for an anonymous client. `check_host_key` is called with the blob of the
    server's key and raises AuthenticationError to reject it.
    """

    def __init__(
        self,
        suite: Suite,
        ephemeral_key: EphemeralKey,
        name: str,
        check_host_key: Callable[[bytes], None],
        user_key: bytes = b"",
        nonce: bytes | None = None,
    ) -> None:
        self.suite = suite
        self.host_key = b""
        self._ephemeral_key: EphemeralKey | None = ephemeral_key
        self.name = name
        self._check_host_key = check_host_key
        self._credential = user_key
        self._nonce = nonce or os.urandom(NONCE_SIZE)

    def hello(self) -> bytes:
        """The Hello."""
        assert self._ephemeral_key is not None
        public_key = self._ephemeral_key.public_bytes
        hello = encode(Hello(VERSION, self.suite.name, self._nonce, public_key, sha256(public_key).digest()))
        self._h1 = extend(first_hash(self.suite), hello)
        return hello

    def receive_welcome(self, data: bytes) -> HandshakeKeys:
        """Check the Welcome and open the session secret."""
        welcome = decode(WELCOME, data)
        if welcome.version != VERSION:
            raise RemoteProtocolError(Category.VERSION)
        if welcome.suite != self.suite.name:
            raise RemoteProtocolError(Category.SUITE)
        if len(welcome.sealed) != self.suite.sealed_size:
            raise RemoteProtocolError(Category.SEAL)
        _check_digest(welcome.sealed, welcome.digest)
        ephemeral_key, self._ephemeral_key = self._ephemeral_key, None  # at most one decryption
        assert ephemeral_key is not None
        secret = ephemeral_key.open(welcome.sealed, seal_info(self._h1, welcome.nonce))
        if len(secret) != SECRET_SIZE:
            raise RemoteProtocolError(Category.SEAL)
        self._h2 = extend(self._h1, data)
        self._keys = HandshakeKeys.derive(secret, self._h2)
        return self._keys

    def receive_server_proof(self, payload: bytes) -> None:
        """Check the server's PROOF, then its host key against the known hosts."""
        proof = decode(SERVER_PROOF, payload)
        raw_body = bytes(proof.body)
        body = decode(SERVER_BODY, raw_body)
        _check_key(body.host_key, Category.HOST_KEY)
        h3 = extend(self._h2, raw_body)
        if not keys.verify(body.host_key, proof.signature, keys.signed_data(SERVER_NAMESPACE, h3)):
            raise AuthenticationError(Category.PROOF)
        h4 = extend(h3, proof.signature)
        _check_mac(self._keys.finished_server, h4, proof.mac)
        self._check_host_key(body.host_key)
        self.host_key = body.host_key
        if body.client_auth is ClientAuth.NONE:
            self._credential = b""
        elif body.client_auth is ClientAuth.REQUIRED and not self._credential:
            raise AuthenticationError(
                Category.USER_KEY, _("the server requires public key authentication; use -i FILE or --agent")
            )
        self._body = encode(ClientBody(self.name, credential_of(self._credential)))
        self._h5 = extend(h4, proof.mac, self._body)

    def data_to_sign(self) -> bytes | None:
        """The data to be signed with the user's key; None if the client is anonymous."""
        return keys.signed_data(CLIENT_NAMESPACE, self._h5) if self._credential else None

    def prove(self, signature: bytes) -> tuple[bytes, SessionKeys]:
        """The client's PROOF and the session keys.

        `signature` is that of `data_to_sign`, empty if the client is anonymous.
        """
        data = self.data_to_sign()
        if signature if data is None else not keys.verify(key_of(self._credential), signature, data):
            raise LocalProtocolError("incorrect signature")
        h6 = extend(self._h5, signature)
        mac = _mac(self._keys.finished_client, h6)
        proof = encode(ClientProof(Raw(self._body), signature, mac))
        return proof, SessionKeys.derive(self._keys.master, extend(h6, mac))


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What all handshakes of a server have in common."""

    host_key: keys.SigningKey
    suites: Mapping[bytes, Suite]
    client_auth: ClientAuth
    is_authorized: Callable[[bytes, Certificate | None], bool]  # a user key, and a certificate for it
    next_host_key: keys.SigningKey | None = None  # announced to clients


class ServerHandshake:
    """The server's side. Order: `receive_hello`, `prove`, `receive_client_proof`.

    `names` are the server's own names, ``[host]:port``; a client that dialled another name is rejected.
    """

    suite: Suite  # from `receive_hello` on

    def __init__(
        self,
        identity: ServerIdentity,
        names: Collection[str],
        nonce: bytes | None = None,
        secret: bytes | None = None,
    ) -> None:
        self.user_key = b""  # that the client has proved to own; whether it is authorized comes after
        self.certificate: Certificate | None = None  # for that key
        self._identity = identity
        self._names = names
        self._nonce = nonce or os.urandom(NONCE_SIZE)
        self._secret = secret or os.urandom(SECRET_SIZE)

    def receive_hello(self, data: bytes) -> tuple[bytes, HandshakeKeys]:
        """Check the Hello; the Welcome, with the sealed session secret, and the handshake keys."""
        hello = decode(HELLO, data)
        if hello.version != VERSION:
            raise RemoteProtocolError(Category.VERSION)
        suite = self._identity.suites.get(hello.suite)
        if suite is None:
            raise RemoteProtocolError(Category.SUITE)
        _check_digest(hello.public_key, hello.digest)
        self.suite = suite
        h1 = extend(first_hash(suite), data)
        sealed = suite.seal(hello.public_key, self._secret, seal_info(h1, self._nonce))
        welcome = encode(Welcome(VERSION, suite.name, self._nonce, sealed, sha256(sealed).digest()))
        self._h2 = extend(h1, welcome)
        self._keys = HandshakeKeys.derive(self._secret, self._h2)
        return welcome, self._keys

    def prove(self) -> bytes:
        """The server's PROOF."""
        host_key = self._identity.host_key
        body = encode(ServerBody(host_key.blob, self._identity.client_auth))
        h3 = extend(self._h2, body)
        signature = host_key.sign(keys.signed_data(SERVER_NAMESPACE, h3))
        self._h4 = extend(h3, signature)
        self._mac = _mac(self._keys.finished_server, self._h4)
        return encode(ServerProof(Raw(body), signature, self._mac))

    def receive_client_proof(self, payload: bytes) -> SessionKeys:
        """Check the client's PROOF; the session keys."""
        proof = decode(CLIENT_PROOF, payload)
        raw_body = bytes(proof.body)
        body = decode(CLIENT_BODY, raw_body)
        user_key, certificate = read_credential(body.user_key)
        if len(proof.signature) != (SIGNATURE_SIZE if user_key else 0):
            raise RemoteProtocolError(Category.MALFORMED)
        if user_key:
            _check_key(user_key, Category.USER_KEY)
        # An anonymous client may leave the name empty.
        if body.name not in self._names and (body.name or user_key):
            raise AuthenticationError(Category.NAME)
        h5 = extend(self._h4, self._mac, raw_body)
        h6 = extend(h5, proof.signature)
        _check_mac(self._keys.finished_client, h6, proof.mac)
        if user_key:
            data = keys.signed_data(CLIENT_NAMESPACE, h5)
            if not keys.verify(user_key, proof.signature, data):
                raise AuthenticationError(Category.PROOF)
        self.user_key = user_key
        if certificate:
            self.certificate = _check_certificate(certificate)
        self._authorize()
        return SessionKeys.derive(self._keys.master, extend(h6, proof.mac))

    @property
    def host_keys(self) -> HostKeys | None:
        """The present host key and its successor, if there is one."""
        successor = self._identity.next_host_key
        return HostKeys(self._identity.host_key, successor) if successor is not None else None

    def _authorize(self) -> None:
        identity = self._identity
        if self.user_key:
            allowed = identity.client_auth is not ClientAuth.NONE
            allowed = allowed and identity.is_authorized(self.user_key, self.certificate)
        else:
            allowed = identity.client_auth is not ClientAuth.REQUIRED
        if not allowed:
            raise AuthenticationError(Category.USER_KEY)

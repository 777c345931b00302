"""The handshake, step by step: what each side checks, and in which order."""

import hmac
from collections.abc import Callable
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Raw
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import AuthenticationError, Category, LocalProtocolError, RemoteProtocolError
from securechat.ssh import keys
from securechat.wire.handshake import (
    ClientHandshake,
    HandshakeKeys,
    ServerHandshake,
    ServerIdentity,
    SessionKeys,
    extend,
    extract,
    first_hash,
    seal_info,
)
from securechat.wire.messages import (
    CLIENT_BODY,
    CLIENT_PROOF,
    HELLO,
    SERVER_PROOF,
    WELCOME,
    ClientAuth,
    ClientBody,
    ServerBody,
    decode,
    encode,
)
from securechat.wire.suites import SUITES, Suite
from tests.harness.pair import HOST_KEY, NAME, PQ, RSA, USER_KEY, accept, ephemeral_key, identity, rsa_key

SMALL_ORDER = HOST_KEY.blob[:19] + bytes(32)


class Handshakes(SynchronousTestCase):
    """A client and a server, and what passes between them step by step."""

    suite: Suite = PQ

    def start(
        self,
        *,
        user_key: bytes = b"",
        server_identity: ServerIdentity | None = None,
        check_host_key: Callable[[bytes], None] = accept,
        secret: bytes | None = None,
        name: str = NAME,
    ) -> None:
        self.client = ClientHandshake(self.suite, ephemeral_key(self.suite), name, check_host_key, user_key)
        self.server = ServerHandshake(server_identity or identity(), {NAME}, secret=secret)

    def assertRefused(
        self, category: Category, function: Callable[..., object], *arguments: object
    ) -> RemoteProtocolError:
        error = self.assertRaises(RemoteProtocolError, function, *arguments)
        self.assertEqual(error.category, category)
        assert isinstance(error, RemoteProtocolError)
        return error


class HelloTests(Handshakes):
    """What the server makes of a Hello."""

    def setUp(self) -> None:
        self.start()
        self.hello = decode(HELLO, self.client.hello())

    def test_digest(self) -> None:
        """A public key that is not what its SHA-256 says was tampered with: the seed's own check and words."""
        tampered = encode(replace(self.hello, digest=bytes(32)))
        error = self.assertRefused(Category.DIGEST, self.server.receive_hello, tampered)
        self.assertIsInstance(error, AuthenticationError)
        self.assertEqual(str(error), "the key was tampered with")

    def test_version(self) -> None:
        """Another version is refused before anything else is looked at."""
        for version in (0, 2):
            other = encode(replace(self.hello, version=version, suite=b"?", digest=bytes(32)))
            self.assertRefused(Category.VERSION, self.server.receive_hello, other)

    def test_suite(self) -> None:
        """A suite that is unknown, or not allowed here, is refused."""
        unknown = encode(replace(self.hello, suite=b"rot13", digest=bytes(32)))
        self.assertRefused(Category.SUITE, self.server.receive_hello, unknown)
        self.start(server_identity=identity(suites={RSA.name: RSA}))
        self.assertRefused(Category.SUITE, self.server.receive_hello, self.client.hello())

    def test_key(self) -> None:
        """A key of the other suite's form is refused, though its digest is right."""
        key = rsa_key().public_bytes
        other = encode(replace(self.hello, public_key=key, digest=sha256(key).digest()))
        self.assertRefused(Category.KEY, self.server.receive_hello, other)

    def test_garbage(self) -> None:
        """What is no Hello is malformed."""
        self.assertRefused(Category.MALFORMED, self.server.receive_hello, b"GET / HTTP/1.1\r\n")

    def test_freshness(self) -> None:
        """Two handshakes share neither nonce nor key nor secret."""
        self.start()
        again = decode(HELLO, self.client.hello())
        self.assertNotEqual(again.nonce, self.hello.nonce)
        self.assertNotEqual(again.public_key, self.hello.public_key)


class WelcomeTests(Handshakes):
    """What the client makes of a Welcome."""

    def setUp(self) -> None:
        self.start()
        data, _keys = self.server.receive_hello(self.client.hello())
        self.welcome = decode(WELCOME, data)

    def test_digest(self) -> None:
        """A sealed secret that is not what its SHA-256 says was tampered with."""
        tampered = encode(replace(self.welcome, digest=bytes(32)))
        error = self.assertRefused(Category.DIGEST, self.client.receive_welcome, tampered)
        self.assertEqual(str(error), "the key was tampered with")

    def test_version(self) -> None:
        """Another version is refused."""
        for version in (0, 2):
            other = encode(replace(self.welcome, version=version))
            self.assertRefused(Category.VERSION, self.client.receive_welcome, other)

    def test_suite(self) -> None:
        """A suite other than the one asked for is refused: nothing is negotiated."""
        for name in (RSA.name, b"", b"zzz"):
            other = encode(replace(self.welcome, suite=name))
            self.assertRefused(Category.SUITE, self.client.receive_welcome, other)

    def test_sealed(self) -> None:
        """A sealed secret of another length, or one for another key, does not open."""
        for sealed in (self.welcome.sealed[:-1], self.welcome.sealed + b"\0", bytes(PQ.sealed_size)):
            self.setUp()
            bad = encode(replace(self.welcome, sealed=sealed, digest=sha256(sealed).digest()))
            self.assertRefused(Category.SEAL, self.client.receive_welcome, bad)

    def test_nonce(self) -> None:
        """The server's nonce is bound to what was sealed."""
        other = encode(replace(self.welcome, nonce=bytes(32)))
        self.assertRefused(Category.SEAL, self.client.receive_welcome, other)

    def test_secretOfAnotherSize(self) -> None:
        """RSA's ciphertext has one size for every secret: 31 or 33 bytes are refused after opening."""
        self.suite = RSA
        for size in (31, 33):
            self.start(secret=bytes(size))
            hello = self.client.hello()
            data, _keys = self.server.receive_hello(hello)
            self.assertRefused(Category.SEAL, self.client.receive_welcome, data)


class ServerProofTests(Handshakes):
    """What the client makes of the server's proof."""

    def prepare(self, **options: object) -> None:
        self.start(**options)  # type: ignore[arg-type]
        welcome, _keys = self.server.receive_hello(self.client.hello())
        self.client.receive_welcome(welcome)
        self.payload = self.server.prove()
        self.proof = decode(SERVER_PROOF, self.payload)

    def assertProofRefused(self, category: Category, **changes: object) -> None:
        changed = encode(replace(self.proof, **changes))
        error = self.assertRefused(category, self.client.receive_server_proof, changed)
        self.assertIsInstance(error, AuthenticationError)
        self.assertEqual(self.client.host_key, b"")

    def test_signatureAndMac(self) -> None:
        """A signature or MAC that is not over this handshake is refused."""
        self.prepare()
        self.assertProofRefused(Category.PROOF, signature=bytes(64))
        self.assertProofRefused(Category.PROOF, mac=bytes(32))
        body = encode(ServerBody(HOST_KEY.blob, ClientAuth.REQUIRED))
        self.assertProofRefused(Category.PROOF, body=Raw(body))

    def test_hostKeyOfSmallOrder(self) -> None:
        """A host key under which forgeries verify is refused before its signature is looked at."""
        self.prepare()
        for blob in (SMALL_ORDER, HOST_KEY.blob[:-1], b""):
            self.assertProofRefused(Category.HOST_KEY, body=Raw(encode(ServerBody(blob, ClientAuth.NONE))))

    def test_hostKeyOfAnother(self) -> None:
        """The user's check of the host key decides, after the proof held."""

        def refuse(blob: bytes) -> None:
            self.assertEqual(blob, HOST_KEY.blob)
            raise AuthenticationError(Category.HOST_KEY, "changed")

        self.prepare(check_host_key=refuse)
        self.assertProofRefused(Category.HOST_KEY)

    def test_clientAuth(self) -> None:
        """Asked for no key the client shows none; asked for one that it has not, it leaves."""
        self.prepare(user_key=USER_KEY.blob, server_identity=identity(ClientAuth.NONE))
        self.client.receive_server_proof(self.payload)
        self.assertIsNone(self.client.data_to_sign())
        self.prepare(server_identity=identity(ClientAuth.REQUIRED))
        self.assertRefused(Category.USER_KEY, self.client.receive_server_proof, self.payload)

    def test_malformed(self) -> None:
        """A proof whose body is no server's is malformed."""
        self.prepare()
        bad = encode(replace(self.proof, body=Raw(encode(ClientBody("", b"")))))
        self.assertRefused(Category.MALFORMED, self.client.receive_server_proof, bad)


class ClientProofTests(Handshakes):
    """What the server makes of the client's proof."""

    def prepare(self, user_key: keys.SigningKey | None = None, **options: object) -> None:
        blob = user_key.blob if user_key else b""
        self.start(user_key=blob, **options)  # type: ignore[arg-type]
        welcome, _keys = self.server.receive_hello(self.client.hello())
        self.client.receive_welcome(welcome)
        self.client.receive_server_proof(self.server.prove())
        data = self.client.data_to_sign()
        signature = user_key.sign(data) if user_key and data else b""
        self.payload, self.client_session = self.client.prove(signature)
        self.proof = decode(CLIENT_PROOF, self.payload)
        self.body = decode(CLIENT_BODY, bytes(self.proof.body))

    def assertProofRefused(self, category: Category, **changes: object) -> None:
        changed = encode(replace(self.proof, **changes))
        error = self.assertRefused(category, self.server.receive_client_proof, changed)
        self.assertIsInstance(error, AuthenticationError)

    def test_bothHaveTheSameKeys(self) -> None:
        """Anonymous or with a key, in both suites, both sides end with the same keys."""
        for self.suite in (PQ, RSA):
            for user_key in (None, USER_KEY):
                self.prepare(user_key)
                session = self.server.receive_client_proof(self.payload)
                self.assertEqual(session, self.client_session)
                self.assertEqual(len({session.client, session.server}), 2)
                self.assertEqual(len(session.session_id), 16)
                self.assertEqual(self.server.user_key, user_key.blob if user_key else b"")

    def test_name(self) -> None:
        """A client that dialled another name is refused, before its key is looked at."""
        self.prepare(USER_KEY, name="[evil.example]:8080")
        self.assertProofRefused(Category.NAME)
        self.assertProofRefused(Category.NAME, mac=bytes(32), signature=bytes(64))

    def test_anonymousName(self) -> None:
        """An anonymous client may leave the name empty, but not give another; one with a key has to give it."""
        self.prepare(name="")
        self.server.receive_client_proof(self.payload)
        self.prepare(name="[evil.example]:8080")
        self.assertProofRefused(Category.NAME)
        self.prepare(USER_KEY, name="")
        self.assertProofRefused(Category.NAME)

    def test_macAndSignature(self) -> None:
        """A MAC or signature that is not over this handshake is refused."""
        self.prepare(USER_KEY)
        self.assertProofRefused(Category.PROOF, mac=bytes(32))
        self.assertProofRefused(Category.PROOF, signature=bytes(64))

    def test_signatureOfAnotherKey(self) -> None:
        """Who holds the session's keys but not the user's is refused, though the MAC is right."""
        self.prepare(USER_KEY)
        other = keys.SigningKey(Ed25519PrivateKey.generate())
        handshake = self.client
        signature = other.sign(handshake.data_to_sign() or b"")
        h6 = extend(handshake._h5, signature)
        mac = hmac.digest(handshake._keys.finished_client, h6, "sha256")
        self.assertProofRefused(Category.PROOF, signature=signature, mac=mac)

    def test_keyWithoutSignatureAndTheReverse(self) -> None:
        """A key comes with a signature, and no key with none."""
        self.prepare(USER_KEY)
        self.assertProofRefused(Category.USER_KEY, signature=b"")
        self.prepare()
        self.assertProofRefused(Category.USER_KEY, signature=bytes(64))

    def test_userKeyOfSmallOrder(self) -> None:
        """A user key under which forgeries verify is refused."""
        self.prepare(USER_KEY)
        self.assertProofRefused(Category.USER_KEY, body=Raw(encode(ClientBody(NAME, SMALL_ORDER))), signature=bytes(64))

    def test_authorization(self) -> None:
        """A key has to be among those that may, if the server cares; a server that wants no key takes none."""
        required = identity(ClientAuth.REQUIRED, lambda blob: blob == USER_KEY.blob)
        self.prepare(USER_KEY, server_identity=required)
        self.server.receive_client_proof(self.payload)
        stranger = keys.SigningKey.generate()
        self.prepare(stranger, server_identity=required)
        self.assertProofRefused(Category.USER_KEY)

    def test_clientAuthIsTheServersToJudge(self) -> None:
        """An anonymous proof to a server that requires a key, or a key to one that wants none, is refused."""
        for client_auth, user_key in ((ClientAuth.REQUIRED, None), (ClientAuth.NONE, USER_KEY)):
            self.prepare(user_key)
            self.server._identity = identity(client_auth)
            self.assertProofRefused(Category.USER_KEY)

    def test_refusesToSendAWrongSignature(self) -> None:
        """A signature that is not the key's, or one from an anonymous client, is our own bug or the agent's."""
        self.prepare(USER_KEY)
        self.assertRaises(LocalProtocolError, self.client.prove, bytes(64))
        self.assertRaises(LocalProtocolError, self.client.prove, b"")
        self.prepare()
        self.assertRaises(LocalProtocolError, self.client.prove, bytes(64))


class ScheduleTests(SynchronousTestCase):
    """The transcript and the keys as the specification writes them, computed anew with other functions."""

    def test_hashes(self) -> None:
        """h0 is of the suite's name; each next hash has the length before each part."""
        self.assertEqual(first_hash(PQ), sha256(b"securechat/1\x00" + PQ.name).digest())
        self.assertEqual(
            extend(b"h", b"ab", b"c"), sha256(b"h" + b"\x00\x00\x00\x02ab" + b"\x00\x00\x00\x01c").digest()
        )
        self.assertEqual(seal_info(b"1" * 32, b"n" * 32), b"securechat/1 seal\x00" + b"1" * 32 + b"n" * 32)

    def test_keys(self) -> None:
        """Every key is HKDF (RFC 5869) of the secret, salted with the transcript, under its own label."""

        def hkdf(secret: bytes, h: bytes, label: bytes, size: int = 32) -> bytes:
            info = b"securechat/1 " + label + b"\x00" + h
            return HKDF(hashes.SHA256(), size, salt=h, info=info).derive(secret)

        secret, h2, h7 = b"s" * 32, b"2" * 32, b"7" * 32
        found = HandshakeKeys.derive(secret, h2)
        self.assertEqual(found.client, hkdf(secret, h2, b"hs client"))
        self.assertEqual(found.server, hkdf(secret, h2, b"hs server"))
        self.assertEqual(found.finished_client, hkdf(secret, h2, b"finished client"))
        self.assertEqual(found.finished_server, hkdf(secret, h2, b"finished server"))
        self.assertEqual(found.master, hkdf(secret, h2, b"master"))
        session = SessionKeys.derive(found.master, h7)
        self.assertEqual(session.client, hkdf(found.master, h7, b"app client"))
        self.assertEqual(session.server, hkdf(found.master, h7, b"app server"))
        self.assertEqual(session.session_id, hkdf(found.master, h7, b"session id", 16))
        self.assertNotEqual(extract(h2, secret), secret)

    def test_showsNoKeys(self) -> None:
        """No repr shows a key."""
        found = HandshakeKeys.derive(b"s" * 32, b"2" * 32)
        for shown in (repr(found), repr(SessionKeys.derive(found.master, b"7" * 32))):
            self.assertNotIn("b'", shown)

    def test_bothSuitesAreOnByDefault(self) -> None:
        """The table of suites holds both, the client's default first."""
        self.assertEqual(list(SUITES), [b"mlkem768x25519-chacha20poly1305", b"rsa2048-fernet"])

"""The handshake: the checks of each side, and their order."""

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
from securechat.ssh.certificates import Certificate
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
    """A client and a server, and their messages."""

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
    """The server's checks of the Hello."""

    def setUp(self) -> None:
        self.start()
        self.hello = decode(HELLO, self.client.hello())

    def test_digest(self) -> None:
        """A public key that does not match its SHA-256 digest was tampered with."""
        tampered = encode(replace(self.hello, digest=bytes(32)))
        error = self.assertRefused(Category.DIGEST, self.server.receive_hello, tampered)
        self.assertIsInstance(error, AuthenticationError)
        self.assertEqual(str(error), "the key was tampered with")

    def test_version(self) -> None:
        """Another version is rejected, before any other check; a negative number is none."""
        for version in (0, 2):
            other = encode(replace(self.hello, version=version, suite=b"?", digest=bytes(32)))
            self.assertRefused(Category.VERSION, self.server.receive_hello, other)
        negative = encode(replace(self.hello, version=-1))
        self.assertRefused(Category.MALFORMED, self.server.receive_hello, negative)

    def test_suite(self) -> None:
        """A suite that is unknown or not enabled is rejected."""
        unknown = encode(replace(self.hello, suite=b"rot13", digest=bytes(32)))
        self.assertRefused(Category.SUITE, self.server.receive_hello, unknown)
        self.start(server_identity=identity(suites={RSA.name: RSA}))
        self.assertRefused(Category.SUITE, self.server.receive_hello, self.client.hello())

    def test_key(self) -> None:
        """A public key of the other suite is rejected, even with the right digest."""
        key = rsa_key().public_bytes
        other = encode(replace(self.hello, public_key=key, digest=sha256(key).digest()))
        self.assertRefused(Category.KEY, self.server.receive_hello, other)

    def test_orderOfChecks(self) -> None:
        """A key is not used for anything before its digest was checked."""
        sealed: list[bytes] = []

        class Noting(type(PQ)):  # type: ignore[misc]
            def seal(self, public_bytes: bytes, secret: bytes, info: bytes) -> bytes:
                sealed.append(public_bytes)
                return PQ.seal(public_bytes, secret, info)

        self.start(server_identity=identity(suites={PQ.name: Noting()}))
        hello = self.client.hello()
        tampered = encode(replace(decode(HELLO, hello), digest=bytes(32)))
        self.assertRefused(Category.DIGEST, self.server.receive_hello, tampered)
        self.assertEqual(sealed, [])
        self.server.receive_hello(hello)
        self.assertEqual(len(sealed), 1)

    def test_garbage(self) -> None:
        """Data that is not a Hello is malformed."""
        self.assertRefused(Category.MALFORMED, self.server.receive_hello, b"GET / HTTP/1.1\r\n")

    def test_freshness(self) -> None:
        """Each handshake has a new nonce, key and secret."""
        hellos, welcomes, secrets, session_keys = [self.hello], [], set(), set()
        for _ in range(3):
            self.start()
            hello = self.client.hello()
            hellos.append(decode(HELLO, hello))
            for _again in range(2):  # that of a client that connects twice with the same Hello, too
                server = ServerHandshake(identity(), {NAME})
                welcome, found = server.receive_hello(hello)
                welcomes.append(decode(WELCOME, welcome))
                secrets.add(server._secret)
                session_keys.add(found.master)
        self.assertEqual(len({hello.nonce for hello in hellos}), 4)
        self.assertEqual(len({hello.public_key for hello in hellos}), 4)
        self.assertEqual(len({welcome.nonce for welcome in welcomes}), 6)
        self.assertEqual((len(secrets), len(session_keys)), (6, 6))
        nonces = [*(hello.nonce for hello in hellos), *(welcome.nonce for welcome in welcomes)]
        for value in (*secrets, *nonces):
            self.assertEqual(len(value), 32)
            self.assertGreater(len(set(value)), 8)  # neither zeros nor a counter


class WelcomeTests(Handshakes):
    """The client's checks of the Welcome."""

    def setUp(self) -> None:
        self.start()
        data, _keys = self.server.receive_hello(self.client.hello())
        self.welcome = decode(WELCOME, data)

    def test_digest(self) -> None:
        """A sealed secret that does not match its SHA-256 digest was tampered with."""
        tampered = encode(replace(self.welcome, digest=bytes(32)))
        error = self.assertRefused(Category.DIGEST, self.client.receive_welcome, tampered)
        self.assertEqual(str(error), "the key was tampered with")

    def test_version(self) -> None:
        """Another version is rejected; a negative number is none."""
        for version in (0, 2):
            other = encode(replace(self.welcome, version=version))
            self.assertRefused(Category.VERSION, self.client.receive_welcome, other)
        negative = encode(replace(self.welcome, version=-1))
        self.assertRefused(Category.MALFORMED, self.client.receive_welcome, negative)

    def test_suite(self) -> None:
        """A suite other than the client's is rejected."""
        for name in (RSA.name, b"", b"zzz"):
            other = encode(replace(self.welcome, suite=name))
            self.assertRefused(Category.SUITE, self.client.receive_welcome, other)

    def test_sealed(self) -> None:
        """A sealed secret of the wrong length, or sealed to another key, is rejected."""
        for sealed in (self.welcome.sealed[:-1], self.welcome.sealed + b"\0", bytes(PQ.sealed_size)):
            self.setUp()
            bad = encode(replace(self.welcome, sealed=sealed, digest=sha256(sealed).digest()))
            self.assertRefused(Category.SEAL, self.client.receive_welcome, bad)

    def test_nonce(self) -> None:
        """The secret does not open with a changed server nonce."""
        other = encode(replace(self.welcome, nonce=bytes(32)))
        self.assertRefused(Category.SEAL, self.client.receive_welcome, other)

    def test_secretOfAnotherSize(self) -> None:
        """A secret of 31 or 33 bytes is rejected; with RSA its ciphertext has the right length."""
        self.suite = RSA
        for size in (31, 33):
            self.start(secret=bytes(size))
            hello = self.client.hello()
            data, _keys = self.server.receive_hello(hello)
            self.assertRefused(Category.SEAL, self.client.receive_welcome, data)


class ServerProofTests(Handshakes):
    """The client's checks of the server's PROOF."""

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
        """A wrong signature or MAC is rejected."""
        self.prepare()
        self.assertProofRefused(Category.PROOF, signature=bytes(64))
        self.assertProofRefused(Category.PROOF, mac=bytes(32))
        body = encode(ServerBody(HOST_KEY.blob, ClientAuth.REQUIRED))
        self.assertProofRefused(Category.PROOF, body=Raw(body))

    def test_hostKeyOfSmallOrder(self) -> None:
        """A host key of small order or of the wrong length is rejected, before its signature is verified."""
        self.prepare()
        for blob in (SMALL_ORDER, HOST_KEY.blob[:-1], b""):
            self.assertProofRefused(Category.HOST_KEY, body=Raw(encode(ServerBody(blob, ClientAuth.NONE))))

    def test_orderOfChecks(self) -> None:
        """The caller is asked about a host key only if it has been proved: a stranger cannot make it ask the user."""
        asked: list[bytes] = []
        other = keys.SigningKey.generate()
        for changes in (
            {"signature": bytes(64)},
            {"mac": bytes(32)},
            {"body": Raw(encode(ServerBody(other.blob, ClientAuth.OPTIONAL)))},
        ):
            self.prepare(check_host_key=asked.append)
            self.assertProofRefused(Category.PROOF, **changes)
            self.assertEqual(asked, [])
        self.prepare(check_host_key=asked.append)
        self.client.receive_server_proof(self.payload)
        self.assertEqual(asked, [HOST_KEY.blob])

    def test_hostKeyOfAnother(self) -> None:
        """The host key is checked by the caller after the signature and the MAC."""

        def refuse(blob: bytes) -> None:
            self.assertEqual(blob, HOST_KEY.blob)
            raise AuthenticationError(Category.HOST_KEY, "changed")

        self.prepare(check_host_key=refuse)
        self.assertProofRefused(Category.HOST_KEY)

    def test_clientAuth(self) -> None:
        """The client sends no key if none is accepted, and aborts if a key is required that it does not have."""
        self.prepare(user_key=USER_KEY.blob, server_identity=identity(ClientAuth.NONE))
        self.client.receive_server_proof(self.payload)
        self.assertIsNone(self.client.data_to_sign())
        self.prepare(server_identity=identity(ClientAuth.REQUIRED))
        self.assertRefused(Category.USER_KEY, self.client.receive_server_proof, self.payload)

    def test_malformed(self) -> None:
        """A PROOF with another body is malformed."""
        self.prepare()
        bad = encode(replace(self.proof, body=Raw(encode(ClientBody("", b"")))))
        self.assertRefused(Category.MALFORMED, self.client.receive_server_proof, bad)


class ClientProofTests(Handshakes):
    """The server's checks of the client's PROOF."""

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
        self.assertIs(isinstance(error, AuthenticationError), category is not Category.MALFORMED)

    def test_bothHaveTheSameKeys(self) -> None:
        """Both sides derive the same keys, in both suites, with a user key and anonymously."""
        for self.suite in (PQ, RSA):
            for user_key in (None, USER_KEY):
                self.prepare(user_key)
                session = self.server.receive_client_proof(self.payload)
                self.assertEqual(session, self.client_session)
                self.assertEqual(len({session.client, session.server}), 2)
                self.assertEqual(len(session.session_id), 16)
                self.assertEqual(self.server.user_key, user_key.blob if user_key else b"")

    def test_name(self) -> None:
        """A client that dialled another name is rejected, before its key is checked."""
        self.prepare(USER_KEY, name="[evil.example]:8080")
        self.assertProofRefused(Category.NAME)
        self.assertProofRefused(Category.NAME, mac=bytes(32), signature=bytes(64))

    def test_anonymousName(self) -> None:
        """An anonymous client may send an empty name, but not another; a client with a key must send a right one."""
        self.prepare(name="")
        self.server.receive_client_proof(self.payload)
        self.prepare(name="[evil.example]:8080")
        self.assertProofRefused(Category.NAME)
        self.prepare(USER_KEY, name="")
        self.assertProofRefused(Category.NAME)

    def test_macAndSignature(self) -> None:
        """A wrong MAC or signature is rejected."""
        self.prepare(USER_KEY)
        self.assertProofRefused(Category.PROOF, mac=bytes(32))
        self.assertProofRefused(Category.PROOF, signature=bytes(64))

    def test_signatureOfAnotherKey(self) -> None:
        """A right MAC with a wrong signature is rejected."""
        self.prepare(USER_KEY)
        other = keys.SigningKey(Ed25519PrivateKey.generate())
        handshake = self.client
        signature = other.sign(handshake.data_to_sign() or b"")
        h6 = extend(handshake._h5, signature)
        mac = hmac.digest(handshake._keys.finished_client, h6, "sha256")
        self.assertProofRefused(Category.PROOF, signature=signature, mac=mac)

    def test_orderOfChecks(self) -> None:
        """The list of users is searched for a key only if the client has it: what is there shows to nobody else."""
        searched: list[bytes] = []

        def is_authorized(blob: bytes, certificate: Certificate | None) -> bool:
            searched.append(blob)
            return True

        other = keys.SigningKey.generate()

        def right_mac(signature: bytes) -> bytes:
            h6 = extend(self.client._h5, signature)
            return hmac.digest(self.client._keys.finished_client, h6, "sha256")

        self.prepare(USER_KEY)
        verified: list[bytes] = []
        self.patch(keys, "verify", lambda blob, signature, data: verified.append(blob))
        self.assertProofRefused(Category.PROOF, mac=bytes(32))  # which costs less to check than a signature
        self.assertEqual(verified, [])
        self.doCleanups()
        for forge in (
            lambda: {"mac": bytes(32)},
            lambda: {"signature": bytes(64)},
            lambda: {"signature": bytes(64), "mac": right_mac(bytes(64))},
            lambda: {"signature": (forged := other.sign(self.client.data_to_sign() or b"")), "mac": right_mac(forged)},
        ):
            self.prepare(USER_KEY, server_identity=identity(ClientAuth.REQUIRED, is_authorized))
            self.assertProofRefused(Category.PROOF, **forge())
            self.assertEqual((searched, self.server.user_key), ([], b""))
        self.prepare(USER_KEY, name="[evil.example]:8080", server_identity=identity(is_authorized=is_authorized))
        self.assertProofRefused(Category.NAME)
        self.assertEqual(searched, [])
        self.prepare(USER_KEY, server_identity=identity(ClientAuth.REQUIRED, is_authorized))
        self.server.receive_client_proof(self.payload)
        self.assertEqual(searched, [USER_KEY.blob])

    def test_keyWithoutSignatureAndTheReverse(self) -> None:
        """A user key without a signature, a signature without a user key, and one of another length are malformed."""
        for signature in (b"", bytes(63), bytes(65)):
            self.prepare(USER_KEY)
            self.assertProofRefused(Category.MALFORMED, signature=signature)
        for signature in (b"\0", bytes(64)):
            self.prepare()
            self.assertProofRefused(Category.MALFORMED, signature=signature)

    def test_userKeyOfSmallOrder(self) -> None:
        """A user key of small order is rejected."""
        self.prepare(USER_KEY)
        self.assertProofRefused(Category.USER_KEY, body=Raw(encode(ClientBody(NAME, SMALL_ORDER))), signature=bytes(64))

    def test_authorization(self) -> None:
        """A key must be authorized if the server accepts keys; otherwise none is accepted."""
        required = identity(ClientAuth.REQUIRED, lambda blob, certificate: blob == USER_KEY.blob)
        self.prepare(USER_KEY, server_identity=required)
        self.server.receive_client_proof(self.payload)
        stranger = keys.SigningKey.generate()
        self.prepare(stranger, server_identity=required)
        self.assertProofRefused(Category.USER_KEY)

    def test_clientAuth(self) -> None:
        """An anonymous client is rejected if a key is required, and a key if none is accepted."""
        for client_auth, user_key in ((ClientAuth.REQUIRED, None), (ClientAuth.NONE, USER_KEY)):
            self.prepare(user_key)
            self.server._identity = identity(client_auth)
            self.assertProofRefused(Category.USER_KEY)

    def test_refusesToSendAWrongSignature(self) -> None:
        """An incorrect signature of the client's own, and one without a key, are errors of the caller."""
        self.prepare(USER_KEY)
        self.assertRaises(LocalProtocolError, self.client.prove, bytes(64))
        self.assertRaises(LocalProtocolError, self.client.prove, b"")
        self.prepare()
        self.assertRaises(LocalProtocolError, self.client.prove, bytes(64))


class ScheduleTests(SynchronousTestCase):
    """The transcript and the keys, computed from the specification with other functions."""

    def test_hashes(self) -> None:
        """h0 is the hash of the suite's name; the following hashes are over length-prefixed parts."""
        self.assertEqual(first_hash(PQ), sha256(b"securechat/1\x00" + PQ.name).digest())
        self.assertEqual(
            extend(b"h", b"ab", b"c"), sha256(b"h" + b"\x00\x00\x00\x02ab" + b"\x00\x00\x00\x01c").digest()
        )
        self.assertEqual(seal_info(b"1" * 32, b"n" * 32), b"securechat/1 seal\x00" + b"1" * 32 + b"n" * 32)

    def test_keys(self) -> None:
        """Every key is HKDF (RFC 5869) of the secret, with the transcript hash as salt and its own label."""

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
        """The repr of keys does not contain them."""
        found = HandshakeKeys.derive(b"s" * 32, b"2" * 32)
        for shown in (repr(found), repr(SessionKeys.derive(found.master, b"7" * 32))):
            self.assertNotIn("b'", shown)

    def test_bothSuitesAreOnByDefault(self) -> None:
        """SUITES contains both suites, and the default is the first."""
        self.assertEqual(list(SUITES), [b"mlkem768x25519-chacha20poly1305", b"rsa2048-fernet"])

"""The two suites, with published vectors and invalid input."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import shake_256

import cryptography_vectors
from cryptography.fernet import Fernet
from cryptography.hazmat.bindings._rust import openssl as rust_openssl
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Category, RemoteProtocolError
from securechat.wire.suites import HPKE, PLAINTEXT_SIZE, HybridKey, Suite
from tests.harness.pair import PQ, RSA, ephemeral_key, rsa_key

SECRET = bytes(range(32))
INFO = b"info"
KEY = b"k" * 32
IV = b"i" * 12
PLAINTEXT = b"p" * PLAINTEXT_SIZE


class SuiteTests(SynchronousTestCase):
    """Properties of both suites."""

    def assertRefused(self, category: Category, function: object, *arguments: object) -> None:
        error = self.assertRaises(RemoteProtocolError, function, *arguments)
        self.assertEqual(error.category, category)

    def test_sealsToAKey(self) -> None:
        """A sealed secret has the suite's size, and opens with the private key and the same info."""
        for suite in (PQ, RSA):
            key = ephemeral_key(suite)
            sealed = suite.seal(key.public_bytes, SECRET, INFO)
            self.assertEqual(len(sealed), suite.sealed_size)
            self.assertEqual(key.open(sealed, INFO), SECRET)

    def test_otherSecrets(self) -> None:
        """A sealed secret does not open with another info or key, or if it is changed or truncated."""
        for suite in (PQ, RSA):
            key = ephemeral_key(suite)
            other = suite.generate_key()
            sealed = suite.seal(key.public_bytes, SECRET, INFO)
            self.assertRefused(Category.SEAL, key.open, sealed, b"other info")
            self.assertRefused(Category.SEAL, key.open, sealed[:-1], INFO)
            self.assertRefused(Category.SEAL, key.open, bytes([sealed[0] ^ 1]) + sealed[1:], INFO)
            self.assertRefused(Category.SEAL, other.open, sealed, INFO)

    def test_sealsARecord(self) -> None:
        """A sealed record has the suite's record size, and opens with its own number only."""
        for suite in (PQ, RSA):
            cipher = suite.cipher(KEY, IV)
            body = cipher.seal(7, PLAINTEXT)
            self.assertEqual(len(body), suite.record_size)
            self.assertEqual(suite.cipher(KEY, IV).open(7, body), PLAINTEXT)
            self.assertRefused(Category.RECORD, cipher.open, 8, body)
            self.assertRefused(Category.RECORD, cipher.open, 6, body)
            self.assertRefused(Category.RECORD, suite.cipher(b"o" * 32, IV).open, 7, body)

    def test_refusesARecordWithAnyBitChanged(self) -> None:
        """A record with any bit flipped does not open."""
        for suite in (PQ, RSA):
            cipher = suite.cipher(KEY, IV)
            body = cipher.seal(0, PLAINTEXT)
            for bit in range(len(body) * 8):
                changed = bytearray(body)
                changed[bit // 8] ^= 1 << bit % 8
                self.assertRefused(Category.RECORD, cipher.open, 0, bytes(changed))


class KeyTestCase(SynchronousTestCase):
    """Assertions about public keys."""

    def assertKeyRefused(self, public_bytes: bytes, suite: Suite = PQ) -> None:
        error = self.assertRaises(RemoteProtocolError, suite.seal, public_bytes, SECRET, INFO)
        self.assertEqual(error.category, Category.KEY)


class HybridTests(KeyTestCase):
    """ML-KEM-768 with X25519, and ChaCha20-Poly1305."""

    def test_publishedVectors(self) -> None:
        """The HPKE-PQ vectors for KEM 0x647a open (draft-ietf-hpke-pq, as published in cryptography_vectors)."""
        path = "HPKE/hpke-pq-test-vectors.json"
        with cryptography_vectors.open_vector_file(path, "r") as file:
            ours = [v for v in json.load(file) if (v["kem_id"], v["kdf_id"], v["aead_id"]) == (0x647A, 1, 3)]
        self.assertTrue(ours)
        for vector in ours:
            # The KEM's private key is a seed, expanded to ML-KEM's 64 bytes and X25519's 32 (X-Wing's expansion).
            seed = shake_256(bytes.fromhex(vector["skRm"])).digest(96)
            key = HybridKey(
                MLKEM768PrivateKey.from_seed_bytes(seed[:64]), X25519PrivateKey.from_private_bytes(seed[64:])
            )
            self.assertEqual(key.public_bytes.hex(), vector["pkRm"])
            info = bytes.fromhex(vector["info"])
            first = vector["encryptions"][0]
            sealed = bytes.fromhex(vector["enc"] + first["ct"])
            aad = bytes.fromhex(first["aad"])
            # The vectors have associated data, which `open` does not take; the library's own function does.
            self.assertEqual(rust_openssl.hpke._decrypt_with_aad(HPKE, sealed, key._key, info, aad).hex(), first["pt"])

    def test_refusesAKeyOfAnotherForm(self) -> None:
        """Short, long, unreduced and low-order public keys are rejected."""
        good = HybridKey(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()).public_bytes
        self.assertEqual(len(good), 1216)
        self.assertKeyRefused(good[:-1])
        self.assertKeyRefused(good + b"\0")
        self.assertKeyRefused(b"")
        self.assertKeyRefused(b"\xff\xff" + good[2:])  # a coefficient of 4095, above q = 3329
        self.assertKeyRefused(good[:1184] + bytes(32))
        self.assertKeyRefused(good[:1184] + b"\1" + bytes(31))


class RsaTests(KeyTestCase):
    """2048-bit RSA with Fernet."""

    def test_theOneForm(self) -> None:
        """A public key has 294 bytes of DER; any other form is rejected without parsing it."""
        good = rsa_key().public_bytes
        self.assertEqual(len(good), 294)
        for bad in (
            b"",
            good[:-1],
            good + b"\0",
            b"\x31" + good[1:],  # not a SEQUENCE
            good[:33] + b"\x7f" + good[34:],  # 2047 bits
            good[:-6] + bytes([good[-6] & 0xFE]) + good[-5:],  # an even modulus
            good[:-1] + b"\x03",  # e = 65539
            good[:40] + b"\0" + good[40:],  # a modulus of 257 bytes
            good[:40] + good[41:],
        ):
            self.assertKeyRefused(bad, RSA)

    def test_otherKeys(self) -> None:
        """Other sizes and exponents, and PKCS #1, are rejected."""
        for bits in (1024, 3072):
            key = rsa.generate_private_key(65537, bits).public_key()
            self.assertKeyRefused(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), RSA)
        three = rsa.generate_private_key(3, 2048).public_key()
        self.assertKeyRefused(three.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), RSA)
        pkcs1 = rsa.generate_private_key(65537, 2048).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        self.assertKeyRefused(pkcs1, RSA)

    def assertBodyRefused(self, body: bytes) -> None:
        error = self.assertRaises(RemoteProtocolError, RSA.cipher(KEY, IV).open, 1, body)
        self.assertEqual(error.category, Category.RECORD)

    def test_otherTokens(self) -> None:
        """A token with a time, of another size or not in canonical base64 is not a record."""
        fernet = Fernet(urlsafe_b64encode(KEY))
        numbered = (1).to_bytes(8, "big") + PLAINTEXT
        self.assertEqual(RSA.cipher(KEY, IV).open(1, fernet.encrypt_at_time(numbered, 0)), PLAINTEXT)
        self.assertBodyRefused(fernet.encrypt_at_time(numbered, 1))
        self.assertBodyRefused(fernet.encrypt_at_time(numbered[:-1], 0))
        self.assertBodyRefused(fernet.encrypt_at_time(numbered + b"\0", 0))
        self.assertBodyRefused(fernet.encrypt_at_time(b"", 0))
        token = fernet.encrypt_at_time(numbered, 0)
        for between in (b"\n", b"~"):
            self.assertBodyRefused(token[:100] + between + token[100:])
        self.assertBodyRefused(b"=" * 780)
        self.assertBodyRefused(b"\xff" * 780)
        self.assertEqual(urlsafe_b64encode(urlsafe_b64decode(token)), token)

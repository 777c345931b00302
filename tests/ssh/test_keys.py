"""Keys, fingerprints and signatures, compared with the real ssh-keygen."""

import subprocess
from base64 import b64decode, b64encode
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.ssh import keys
from securechat.ssh.private_keys import load_private_key
from tests.harness.ssh import make_key, ssh_keygen

ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519's group
FIELD = 2**255 - 19
CURVE_D = -121665 * pow(121666, -1, FIELD) % FIELD
HEAD = keys.SigningKey.generate().blob[:-32]

NAMESPACE = b"securechat-v1-client"


def small_order_encodings() -> set[bytes]:
    """All encodings of points of small order, computed from the curve equation.

    The orders 1, 2 and 4 have y = 1, -1 and 0. Doubling a point of order 8 gives y = 0, and so d·y⁴ + 2·y² = 1.
    """
    square_root = pow(1 + CURVE_D, (FIELD + 3) // 8, FIELD)
    if square_root**2 % FIELD != (1 + CURVE_D) % FIELD:
        square_root = square_root * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
    ordinates = {0, 1, FIELD - 1}
    for root in (square_root, -square_root):
        squared = (root - 1) * pow(CURVE_D, -1, FIELD) % FIELD
        if pow(squared, (FIELD - 1) // 2, FIELD) == 1:
            y = pow(squared, (FIELD + 3) // 8, FIELD)
            if y * y % FIELD != squared:
                y = y * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
            ordinates |= {y, FIELD - y}
    unreduced = {y + FIELD for y in ordinates if y + FIELD < 2**255}
    return {(y | sign << 255).to_bytes(32, "little") for y in ordinates | unreduced for sign in (0, 1)}


def accepted_by_openssl(key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether OpenSSL verifies the signature."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def sshsig(key: keys.SigningKey, namespace: bytes, signature: bytes) -> bytes:
    """The SSHSIG blob with a raw signature (OpenSSH, PROTOCOL.sshsig)."""

    def string(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    inner = string(b"ssh-ed25519") + string(signature)
    blob = b"SSHSIG" + (1).to_bytes(4, "big")
    return blob + b"".join(map(string, (key.blob, namespace, b"", b"sha512", inner)))


def armored(blob: bytes) -> bytes:
    """The signature file that ssh-keygen reads."""
    return b"-----BEGIN SSH SIGNATURE-----\n" + b64encode(blob) + b"\n-----END SSH SIGNATURE-----\n"


class BlobTests(SynchronousTestCase):
    """Public keys that are accepted and rejected."""

    def test_aRealKey(self) -> None:
        """A key created by ssh-keygen is accepted, and has the fingerprint that ssh-keygen prints."""
        path = make_key(Path(self.mktemp()))
        blob, comment = keys.parse_public_line(path.with_suffix(".pub").read_text())
        keys.check_blob(blob)
        self.assertEqual(comment, "test")
        self.assertEqual(keys.fingerprint(blob), ssh_keygen("-lf", path).split()[1])
        self.assertEqual(load_private_key(path).blob, blob)

    def test_smallOrder(self) -> None:
        """All fourteen encodings of points of small order are rejected."""
        encodings = small_order_encodings()
        self.assertEqual(len(encodings), 14)
        for encoding in encodings:
            self.assertRaises(ValueError, keys.check_blob, HEAD + encoding)

    def test_forgeries(self) -> None:
        """OpenSSL accepts forged signatures under each of these keys; `verify` does not."""
        encodings = small_order_encodings()
        for key in encodings:
            signature, data = next(
                (point + bytes(32), data)
                for data in (b"message %d" % number for number in range(200))
                for point in encodings
                if accepted_by_openssl(key, point + bytes(32), data)
            )
            self.assertFalse(keys.verify(HEAD + key, signature, data))

    def test_otherForms(self) -> None:
        """Blobs of other lengths and types are rejected."""
        blob = keys.SigningKey.generate().blob
        for bad in (b"", blob[:-1], blob + b"\0", b"\0\0\0\x07ssh-rsa" + blob[11:], blob[:14] + b"8" + blob[15:]):
            self.assertRaises(ValueError, keys.check_blob, bad)

    def test_otherLines(self) -> None:
        """A line with another key type, invalid base64 or no key is rejected."""
        blob = keys.SigningKey.generate().blob
        line = keys.public_line(blob, "alice at home")
        self.assertEqual(keys.parse_public_line(line), (blob, "alice at home"))
        encoded = b64encode(blob).decode()
        for bad in (
            "",
            "ssh-ed25519",
            "ssh-rsa " + encoded,
            "sk-ssh-ed25519@openssh.com " + encoded,
            "ssh-ed25519-cert-v01@openssh.com " + encoded,
            "ssh-ed25519 " + encoded[:-1],
            "ssh-ed25519 !" + encoded,
            "ssh-ed25519 " + b64encode(blob + b"\0").decode(),
            "ssh-ed25519 " + encoded + "=",
            "ssh-ed25519\u00a0" + encoded,
            f"{line}\nssh-ed25519 {encoded} mallory",
            f"ssh-ed25519\n{encoded}",
        ):
            self.assertRaises(ValueError, keys.parse_public_line, bad)

    def test_ignoredBits(self) -> None:
        """Base64 whose last character has bits that no byte contains is rejected: a key is written in one way only."""
        self.assertEqual(keys.parse_line("ssh-ed25519 AAA=", keys.KEY_TYPE), (b"\0\0", ""))
        self.assertRaises(ValueError, keys.parse_line, "ssh-ed25519 AAB=", keys.KEY_TYPE)

    def test_whiteSpace(self) -> None:
        """Fields are separated by spaces and tabs; in the comment these are kept."""
        blob = keys.SigningKey.generate().blob
        line = f"\t ssh-ed25519 \t{b64encode(blob).decode()}\t alice  at home \r\n"
        self.assertEqual(keys.parse_public_line(line), (blob, "alice  at home"))

    @given(st.text(max_size=200) | st.binary(max_size=90).map(lambda b: "ssh-ed25519 " + b64encode(b).decode()))
    def test_anyLine(self, line: str) -> None:
        """Any line is a public key or a ValueError."""
        try:
            blob, comment = keys.parse_public_line(line)
        except ValueError:
            return
        keys.check_blob(blob)
        self.assertNotIn("\n", comment)


class SignatureTests(SynchronousTestCase):
    """SSHSIG signatures, made and verified."""

    def setUp(self) -> None:
        self.path = make_key(Path(self.mktemp()))
        self.key = load_private_key(self.path)

    def verify_with_ssh_keygen(self, signature: bytes, namespace: bytes) -> None:
        allowed, signed = Path(self.mktemp()), Path(self.mktemp())
        allowed.write_text("alice " + keys.public_line(self.key.blob) + "\n")
        signed.write_bytes(armored(sshsig(self.key, namespace, signature)))
        ssh_keygen(
            "-Y", "verify", "-f", allowed, "-I", "alice", "-n", namespace.decode(), "-s", signed, data=b"message"
        )

    def test_sshKeygenVerifies(self) -> None:
        """ssh-keygen verifies our signatures, but not in another namespace."""
        signature = self.key.sign(keys.signed_data(NAMESPACE, b"message"))
        self.verify_with_ssh_keygen(signature, NAMESPACE)
        self.assertRaises(
            subprocess.CalledProcessError, self.verify_with_ssh_keygen, signature, b"securechat-v1-server"
        )

    def test_verifiesSshKeygen(self) -> None:
        """We verify signatures made by ssh-keygen, but not in another namespace."""
        armor = ssh_keygen("-Y", "sign", "-f", self.path, "-n", NAMESPACE.decode(), data=b"message")
        blob = b64decode("".join(armor.splitlines()[1:-1]))
        signature = blob[-64:]
        self.assertEqual(blob, sshsig(self.key, NAMESPACE, signature))
        self.assertTrue(keys.verify(self.key.blob, signature, keys.signed_data(NAMESPACE, b"message")))
        self.assertFalse(keys.verify(self.key.blob, signature, keys.signed_data(b"file", b"message")))
        self.assertFalse(keys.verify(self.key.blob, signature, keys.signed_data(NAMESPACE, b"massage")))

    def test_invalidSignatures(self) -> None:
        """A signature that is changed, of the wrong length, by another key or not canonical is rejected."""
        data = keys.signed_data(NAMESPACE, b"message")
        signature = self.key.sign(data)
        unreduced = int.from_bytes(signature[32:], "little") + ORDER
        for bad in (
            bytes(64),
            b"",
            signature[:-1],
            signature + b"\0",
            keys.SigningKey.generate().sign(data),
            signature[:32] + unreduced.to_bytes(32, "little"),
        ):
            self.assertFalse(keys.verify(self.key.blob, bad, data))
        for blob in (b"", self.key.blob[:-1], self.key.blob + b"\0", b"\0\0\0\x0bssh-ed25518" + self.key.blob[15:]):
            self.assertFalse(keys.verify(blob, signature, data))
        self.assertTrue(keys.verify(self.key.blob, signature, data))

    def test_repr(self) -> None:
        """The repr of a private key contains its fingerprint only."""
        self.assertEqual(repr(self.key), f"<SigningKey {keys.fingerprint(self.key.blob)}>")

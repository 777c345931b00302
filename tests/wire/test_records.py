"""Records and rekeying."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Category, LocalProtocolError, RemoteProtocolError
from securechat.wire.records import EARLY_REKEY, MAX_PAYLOAD, MAX_SEQ, REKEY_RECORDS, Opener, RecordType, Sealer, expand
from securechat.wire.suites import RecordCipher
from tests.harness.pair import PQ, RSA

SECRET = bytes(range(32))


class RecordTests(SynchronousTestCase):
    """A Sealer and an Opener with the same traffic secret."""

    def setUp(self) -> None:
        self.sealer = Sealer(PQ, SECRET)
        self.opener = Opener(PQ, SECRET)

    def assertRefused(self, category: Category, body: bytes) -> None:
        error = self.assertRaises(RemoteProtocolError, self.opener.open, body)
        self.assertEqual(error.category, category)

    def test_everyPayloadSize(self) -> None:
        """A payload of up to 509 bytes gives a frame of constant size, and opens to the same."""
        for suite in (PQ, RSA):
            sealer, opener = Sealer(suite, SECRET), Opener(suite, SECRET)
            for size in (0, 1, 255, 256, MAX_PAYLOAD - 1, MAX_PAYLOAD):
                frame = sealer.seal(RecordType.SAY, b"x" * size, 0.0)
                self.assertEqual(frame[:4], suite.record_size.to_bytes(4, "big"))
                self.assertEqual(len(frame), 4 + suite.record_size)
                self.assertEqual(opener.open(frame[4:]), (RecordType.SAY, b"x" * size))
        self.assertRaises(LocalProtocolError, self.sealer.seal, RecordType.SAY, b"x" * 510, 0.0)

    def test_keysFromTheTrafficSecret(self) -> None:
        """Key, IV and next secret are HKDF-Expand (RFC 5869) with labels that contain the version."""

        def hkdf(label: bytes, size: int) -> bytes:
            return HKDFExpand(hashes.SHA256(), size, b"securechat/1 " + label + b"\0").derive(SECRET)

        self.assertEqual(expand(SECRET, b"key"), hkdf(b"key", 32))
        plaintext = bytes([RecordType.NEW, 0, 0]) + bytes(509)
        expected = PQ.cipher(hkdf(b"key", 32), hkdf(b"iv", 12)).seal(0, plaintext)
        self.assertEqual(self.sealer.seal(RecordType.NEW, b"", 0.0)[4:], expected)
        self.sealer.seal(RecordType.REKEY, b"", 0.0)
        after = Sealer(PQ, hkdf(b"next", 32)).seal(RecordType.NEW, b"", 0.0)
        self.assertEqual(self.sealer.seal(RecordType.NEW, b"", 0.0), after)

    def test_idle(self) -> None:
        """A direction in which nothing was sent has no cipher, which would take most of its memory."""
        made: list[bytes] = []

        class Counting(type(PQ)):  # type: ignore[misc] # of the suite
            def cipher(self, key: bytes, iv: bytes) -> RecordCipher:
                made.append(key)
                return super().cipher(key, iv)  # type: ignore[no-any-return]

        sealer, opener = Sealer(Counting(), SECRET), Opener(Counting(), SECRET)
        self.assertEqual(made, [])
        opener.open(sealer.seal(RecordType.NEW, b"", 0.0)[4:])
        opener.open(sealer.seal(RecordType.NEW, b"", 0.0)[4:])
        self.assertEqual(len(made), 2)

    def test_orderMatters(self) -> None:
        """A repeated, early or reflected record does not open."""
        first = self.sealer.seal(RecordType.SAY, b"1", 0.0)[4:]
        second = self.sealer.seal(RecordType.SAY, b"2", 0.0)[4:]
        self.assertRefused(Category.RECORD, second)
        self.assertEqual(self.opener.open(first)[1], b"1")
        self.assertRefused(Category.RECORD, first)
        self.assertEqual(self.opener.open(second)[1], b"2")

    def test_paddingIsZeroAndLengthFits(self) -> None:
        """Padding that is not zero, and a length above 509, are rejected."""
        cipher = PQ.cipher(expand(SECRET, b"key"), expand(SECRET, b"iv", size=12))
        good = b"\x02\x00\x01x" + bytes(508)
        self.assertEqual(Opener(PQ, SECRET).open(cipher.seal(0, good)), (2, b"x"))
        for position in (4, 300, 511):
            bad = bytearray(good)
            bad[position] = 1
            self.assertRefused(Category.RECORD, cipher.seal(0, bytes(bad)))
        self.assertRefused(Category.RECORD, cipher.seal(0, b"\x02\x01\xfe" + bytes(509)))
        self.assertRefused(Category.RECORD, cipher.seal(0, b"\x02\xff\xff" + bytes(509)))
        self.assertEqual(Opener(PQ, SECRET).open(cipher.seal(0, b"\x02\x01\xfd" + bytes(509)))[1], bytes(509))

    def test_senderRekeysByNumber(self) -> None:
        """The last record before number 2^14 has to be a REKEY; sealing more records is an error."""
        for _ in range(REKEY_RECORDS - 1):
            self.assertFalse(self.sealer.rekey_due(0.0))
            self.sealer.seal(RecordType.PAD, b"", 0.0)
        self.assertTrue(self.sealer.rekey_due(0.0))
        self.sealer.seal(RecordType.PAD, b"", 0.0)
        self.assertRaises(LocalProtocolError, self.sealer.seal, RecordType.PAD, b"", 0.0)

    def test_senderRekeysByTime(self) -> None:
        """A REKEY is due 15 minutes after the first record of a key, and not for a key that has sealed nothing."""
        self.assertFalse(self.sealer.rekey_due(1e9))
        self.sealer.seal(RecordType.PAD, b"", 1000.0)
        self.assertFalse(self.sealer.rekey_due(1900.0))
        self.assertTrue(self.sealer.rekey_due(1900.1))
        self.sealer.seal(RecordType.REKEY, b"", 1900.1)
        self.assertFalse(self.sealer.rekey_due(1e9))

    def test_receiverFollows(self) -> None:
        """After a REKEY both ends use the next key; the previous key does not open new records."""
        old = Sealer(PQ, SECRET)
        self.assertEqual(self.opener.open(self.sealer.seal(RecordType.REKEY, b"", 0.0)[4:]), (RecordType.REKEY, b""))
        self.opener.rekey(0.0)
        old.seal(RecordType.REKEY, b"", 0.0)
        self.assertRefused(Category.RECORD, PQ.cipher(expand(SECRET, b"key"), bytes(12)).seal(1, bytes(512)))
        self.assertEqual(self.opener.open(self.sealer.seal(RecordType.SAY, b"x", 0.0)[4:])[1], b"x")

    def test_receiverBoundsRekeys(self) -> None:
        """Eight REKEYs at once are accepted, then one per minute."""
        for _ in range(8):
            self.opener.rekey(5.0)
        error = self.assertRaises(RemoteProtocolError, self.opener.rekey, 64.0)
        self.assertEqual(error.category, Category.REKEY)
        self.opener.rekey(65.1)

    def test_rekeysByNumberAreFree(self) -> None:
        """Any number of REKEYs that come after at least 2^13 records are accepted; one record earlier they count."""
        for seq, accepted in ((EARLY_REKEY, 100), (EARLY_REKEY - 1, 8)):
            opener = Opener(PQ, SECRET)
            for _ in range(accepted):
                opener._seq = seq + 1  # of the record after the REKEY
                opener.rekey(5.0)
            if seq < EARLY_REKEY:
                opener._seq = seq + 1
                error = self.assertRaises(RemoteProtocolError, opener.rekey, 5.0)
                self.assertEqual(error.category, Category.REKEY)

    def test_receiverBoundsAKey(self) -> None:
        """Record number 2^16 is rejected."""
        cipher = PQ.cipher(expand(SECRET, b"key"), expand(SECRET, b"iv", size=12))
        pad = bytes(512)
        for seq in range(MAX_SEQ):
            self.opener.open(cipher.seal(seq, pad))
        self.assertRefused(Category.REKEY, cipher.seal(MAX_SEQ, pad))

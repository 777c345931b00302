"""SSH's data types, with the examples of RFC 4251."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.ssh.encoding import Reader, string

TESTING = bytes.fromhex("00 00 00 07 74 65 73 74 69 6e 67")  # RFC 4251, section 5


class EncodingTests(SynchronousTestCase):
    """Strings and numbers."""

    def test_string(self) -> None:
        """A string is its length and its bytes."""
        self.assertEqual(string(b"testing"), TESTING)
        self.assertEqual(string(b""), bytes(4))

    def test_reader(self) -> None:
        """Strings and numbers are read in order."""
        reader = Reader(TESTING + bytes.fromhex("29 b7 f4 aa") + string(b""))
        self.assertEqual((reader.string(), reader.uint32(), reader.string()), (b"testing", 699921578, b""))

    def test_tooShort(self) -> None:
        """A number or string that is cut short is an error."""
        self.assertRaises(ValueError, Reader(TESTING[:-1]).string)
        self.assertRaises(ValueError, Reader(TESTING[:3]).string)
        self.assertRaises(ValueError, Reader(b"").uint32)

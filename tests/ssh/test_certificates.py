"""Certificates of users."""

import contextlib
from base64 import b64encode
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.ssh import keys
from securechat.ssh.certificates import (
    CERTIFICATE_TYPE,
    MAX_PRINCIPALS,
    Certificate,
    is_certificate,
    key_of,
    parse_certificate_line,
    split,
)
from securechat.ssh.encoding import string
from tests.harness.certificates import CA, FOREVER, certificate, issue, raw, source_address, strings
from tests.harness.pair import USER_KEY
from tests.harness.ssh import make_key, sign_key

BLOB = issue(USER_KEY, b"alice", b"ops")
SMALL_ORDER = bytes(32)


class KeygenTests(SynchronousTestCase):
    """Certificates that ssh-keygen makes."""

    def setUp(self) -> None:
        self.key = make_key(Path(self.mktemp()))
        self.ca = make_key(Path(self.mktemp()))

    def sign(self, *options: str, ca: Path | None = None) -> bytes:
        return parse_certificate_line(sign_key(ca or self.ca, self.key, *options).read_text())[0]

    def test_options(self) -> None:
        """Key ID, serial number, principals, validity and addresses are those that were asked for."""
        blob = self.sign(
            *("-I", "alice on laptop", "-n", "alice,ops", "-z", "12345678901", "-V", "20260102030405Z:20360102030405Z"),
            *("-O", "source-address=192.0.2.0/24,2001:db8::/32"),
        )
        found = Certificate.parse(blob)
        self.assertEqual(keys.public_line(found.key), keys.public_line(key_of(blob)))
        self.assertEqual(found.key, keys.parse_public_line(self.key.with_suffix(".pub").read_text())[0])
        self.assertEqual(found.ca, keys.parse_public_line(self.ca.with_suffix(".pub").read_text())[0])
        self.assertEqual((found.key_id, found.serial), (b"alice on laptop", 12345678901))
        self.assertEqual(found.principals, {b"alice", b"ops"})
        self.assertEqual((found.valid_after, found.valid_before), (1767323045, 2082855845))
        for host, allowed in (("192.0.2.9", True), ("192.0.3.9", False), ("2001:db8::9", True), ("", False)):
            self.assertIs(found.allow(host, 1.8e9), allowed)
        self.assertEqual(repr(found), f"<Certificate 12345678901 of {keys.fingerprint(found.ca)}>")

    def test_forever(self) -> None:
        """Without -V, a certificate is always valid; extensions do not matter."""
        for options in ((), ("-O", "clear"), ("-O", "no-pty"), ("-O", "extension:x@example.org=1")):
            found = Certificate.parse(self.sign("-I", "x", "-n", "alice", *options))
            self.assertTrue(found.allow("", 0) and found.allow("", 1e12))

    def test_refused(self) -> None:
        """A command that would have to be run, no principals, and a host's certificate are refused."""
        for options in (
            ("-n", "alice", "-O", "force-command=/bin/true"),
            ("-n", "alice", "-O", "verify-required"),
            ("-n", "alice", "-O", "critical:x@example.org=1"),
            (),
        ):
            blob = self.sign("-I", "x", *options)
            self.assertRaises(ValueError, Certificate.parse, blob)
        error = self.assertRaises(ValueError, self.sign, "-I", "x", "-n", "a", "-h")
        self.assertEqual(str(error), "not a user certificate")

    def test_otherAuthority(self) -> None:
        """An authority whose key is not an Ed25519 key is named as the reason."""
        for kind in ("rsa", "ecdsa"):
            ca = make_key(Path(self.mktemp()), kind=kind)
            error = self.assertRaises(ValueError, self.sign, "-I", "x", "-n", "a", ca=ca)
            self.assertIn("the key of its authority is not an Ed25519 key", str(error))


class ParseTests(SynchronousTestCase):
    """What is accepted."""

    def refused(self, blob: bytes) -> None:
        self.assertRaises(ValueError, Certificate.parse, blob)

    def test_good(self) -> None:
        """A certificate is split into its parts and put together again."""
        self.assertEqual(split(BLOB).blob, BLOB)
        self.assertEqual((key_of(BLOB), key_of(USER_KEY.blob)), (USER_KEY.blob, USER_KEY.blob))
        self.assertTrue(is_certificate(BLOB) and not is_certificate(USER_KEY.blob))
        self.assertEqual(Certificate.parse(BLOB).ca, CA.blob)

    def test_otherTypes(self) -> None:
        """A plain key and a certificate for a key of another type are not certificates for an Ed25519 key."""
        for blob in (USER_KEY.blob, b"", string(b"ssh-rsa-cert-v01@openssh.com") + BLOB[36:]):
            self.refused(blob)

    def test_everyBit(self) -> None:
        """A certificate in which any bit is changed is refused."""
        for bit in range(8 * len(BLOB)):
            changed = bytearray(BLOB)
            changed[bit // 8] ^= 1 << bit % 8
            self.refused(bytes(changed))

    def test_everyCut(self) -> None:
        """A certificate that is cut short, or followed by something, is refused."""
        for size in range(len(BLOB)):
            self.refused(BLOB[:size])
        self.refused(BLOB + b"\0")

    def test_form(self) -> None:
        """What all certificates have in common is checked, although the authority has signed it."""
        signed = split(BLOB).signed

        def resign(signed: bytes) -> bytes:
            return signed + string(string(keys.KEY_TYPE) + string(CA.sign(signed)))

        self.assertEqual(resign(signed), BLOB)
        body, end = signed[: -len(string(b"") + string(CA.blob))], string(CA.blob)
        self.refused(resign(body + string(b"reserved") + end))
        self.refused(resign(body + string(b"") + string(CA.blob + b"\0")))
        self.refused(resign(body + string(b"") + string(BLOB)))
        self.refused(signed + string(string(b"ssh-rsa") + string(CA.sign(signed))))
        self.refused(signed + string(string(keys.KEY_TYPE) + string(CA.sign(signed)) + b"\0"))
        short = split(BLOB)._replace(key=raw(USER_KEY)[1:])
        self.refused(resign(short.signed))

    def test_signature(self) -> None:
        """A certificate that another authority has signed, or with a key of small order, is refused."""
        other = keys.SigningKey.generate()
        self.refused(split(BLOB)._replace(ca=raw(other)).blob)
        self.refused(issue(USER_KEY, b"alice", key=SMALL_ORDER))
        forged = split(BLOB)._replace(ca=SMALL_ORDER, signature=b"\x01" + bytes(63))
        self.refused(forged.blob)

    def test_principals(self) -> None:
        """A certificate has one to 256 principals, none of them empty."""
        most = [str(number).encode() for number in range(MAX_PRINCIPALS)]
        self.assertEqual(len(certificate(USER_KEY, *most).principals), MAX_PRINCIPALS)
        self.refused(issue(USER_KEY, *most, b"one more"))
        self.refused(issue(USER_KEY))
        self.refused(issue(USER_KEY, b""))
        self.refused(issue(USER_KEY, b"alice", b""))
        self.refused(issue(USER_KEY, principals=string(b"alice") + b"\0"))

    def test_sourceAddress(self) -> None:
        """Addresses are a list of addresses and networks, without patterns."""
        found = certificate(USER_KEY, b"a", options=source_address(b"192.0.2.1,10.0.0.0/8"))
        for host, allowed in (("192.0.2.1", True), ("10.9.9.9", True), ("192.0.2.2", False), ("", False)):
            self.assertIs(found.allow(host, 0), allowed)
        for text in (
            b"",
            b"192.0.2.*",
            b"!192.0.2.1",
            b"10.0.0.1/8",
            b"10.0.0.0/8,",
            b"localhost",
            b"\xff",
            b"a::b::c",
        ):
            self.refused(issue(USER_KEY, b"a", options=source_address(text)))
        address = source_address(b"10.0.0.0/8")
        for options in (
            address * 2,
            strings(b"source-address", b""),
            strings(b"source-address", string(b"10.0.0.0/8") * 2),
            strings(b"source-address"),
            strings(b"force-command", string(b"x")),
            strings(b"x@example.org", string(b"10.0.0.0/8")),
            strings(b"a", b"") + address,
            address + strings(b"verify-required", b""),
            address + b"\0",
        ):
            self.refused(issue(USER_KEY, b"a", options=options))

    def test_extensions(self) -> None:
        """Extensions have no effect, but need a name and data each."""
        certificate(USER_KEY, b"a", extensions=strings(b"z", b"data", b"a", b"", b"a", b""))
        self.refused(issue(USER_KEY, b"a", extensions=strings(b"a")))
        self.refused(issue(USER_KEY, b"a", extensions=b"\0"))

    def test_times(self) -> None:
        """A certificate is valid from its first second, and no longer at its last."""
        found = certificate(USER_KEY, b"a", valid_after=100, valid_before=200)
        for now, valid in ((99.9, False), (100, True), (199.9, True), (200, False)):
            self.assertIs(found.allow("", now), valid)
        self.assertFalse(certificate(USER_KEY, b"a", valid_after=FOREVER).allow("", 1e18))

    @given(st.binary(max_size=600) | st.binary(max_size=80).map(lambda end: BLOB[: -len(end) or None] + end))
    def test_anything(self, data: bytes) -> None:
        """Any bytes are a certificate that consists of its parts, or a ValueError."""
        with contextlib.suppress(ValueError):
            self.assertEqual(split(data).blob, data)
            self.assertEqual(Certificate.parse(data).blob, data)

    @given(
        st.builds(
            dict,
            nonce=st.binary(max_size=64),
            serial=st.integers(0, 2**64 - 1),
            key_id=st.binary(max_size=99),
            valid_after=st.integers(0, 2**64 - 1),
            valid_before=st.integers(0, 2**64 - 1),
        ),
        st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=9),
    )
    def test_roundTrip(self, changes: dict[str, Any], principals: list[bytes]) -> None:
        """A certificate with any values has those values."""
        blob = issue(USER_KEY, *principals, **changes)
        found, parts = Certificate.parse(blob), split(blob)
        self.assertEqual({name: getattr(parts, name) for name in changes}, changes)
        self.assertEqual((found.principals, found.blob), (frozenset(principals), blob))


class LineTests(SynchronousTestCase):
    """Files with a certificate."""

    def test_line(self) -> None:
        """A line has the type, the certificate and a comment."""
        encoded = f"{CERTIFICATE_TYPE.decode()} {b64encode(BLOB).decode()}"
        self.assertEqual(parse_certificate_line(f"{encoded} alice on laptop\n"), (BLOB, "alice on laptop"))
        for line in (
            keys.public_line(USER_KEY.blob),
            f"{CERTIFICATE_TYPE.decode()} nonsense",
            f"{CERTIFICATE_TYPE.decode()} {b64encode(USER_KEY.blob).decode()}",
        ):
            error = self.assertRaises(ValueError, parse_certificate_line, line)
            self.assertEqual(str(error), "not a certificate for an Ed25519 key")
        error = self.assertRaises(ValueError, parse_certificate_line, f"{encoded[:-4]}")
        self.assertEqual(str(error), "not a valid certificate")

"""Options of keys."""

import os
import time
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.ssh.key_options import KeyOptions, parse_options, split_options


def seconds(*date: int) -> float:
    """A time in UTC."""
    return datetime(*date, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]


class SplitTests(SynchronousTestCase):
    """Options and what follows them."""

    def test_split(self) -> None:
        """Options end at the first space that is not in double quotes."""
        for line, options, rest in (
            ("a b c", "a", "b c"),
            ('from="a b",x \t c', 'from="a b",x', "c"),
            (r'a="\" b" c', r'a="\" b"', "c"),
            (r'a="b\n" c', r'a="b\n"', "c"),
        ):
            self.assertEqual(split_options(line), (options, rest))

    def test_endless(self) -> None:
        """Options without an end are refused, however they are made up."""
        for line in ("", "a", 'a="b c', '"', r'a="b\" c', 'a="' + r"\"" * 5000, '""' * 5000, "\\" * 5000 + '"'):
            self.assertRaises(ValueError, split_options, line)


class OptionsTests(SynchronousTestCase):
    """The meaning of options."""

    def test_expiry(self) -> None:
        """A key expires at a time in UTC or, without a Z, in local time; of several, the first."""
        before = os.environ.get("TZ")
        os.environ["TZ"] = "UTC-8"
        time.tzset()
        try:
            for text, expires in (
                ("20300102Z", seconds(2030, 1, 2)),
                ("20300102", seconds(2030, 1, 1, 16)),
                ("203001021314Z", seconds(2030, 1, 2, 13, 14)),
                ("20300102131415UTC", seconds(2030, 1, 2, 13, 14, 15)),
                ("20300102131415", seconds(2030, 1, 2, 5, 14, 15)),
            ):
                self.assertEqual(parse_options(f'expiry-time="{text}"').expires, expires, text)
        finally:
            os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
            time.tzset()
        options = parse_options('expiry-time="19700101Z",Expiry-Time="20300101Z"')
        self.assertEqual(options.expires, 0)
        self.assertTrue(options.allow("", 0))
        self.assertFalse(options.allow("", 0.1))

    def test_from(self) -> None:
        """A key with addresses is accepted at one of them only."""
        options = parse_options('FROM="192.0.2.0/24,!192.0.2.9"')
        for host, allowed in (("192.0.2.1", True), ("192.0.2.9", False), ("192.0.3.1", False), ("", False)):
            self.assertEqual(options.allow(host, 0), allowed)
        self.assertTrue(KeyOptions().allow("", 1e12))

    def test_authority(self) -> None:
        """The key of an authority has the option cert-authority, and perhaps a list of principals."""
        options = parse_options('Cert-Authority,from="::1",principals="ops,the team"')
        self.assertTrue(options.cert_authority)
        self.assertEqual(options.principals, {b"ops", b"the team"})
        self.assertFalse(options.allow("::2", 0))
        options = parse_options("cert-authority")
        self.assertEqual((options.cert_authority, options.principals), (True, None))
        self.assertFalse(parse_options('from="::1"').cert_authority)

    def test_invalid(self) -> None:
        """What is not supported is named, so that no restriction is lost."""
        for text, words in (
            ("no-pty", "key option no-pty: not supported; remove it"),
            ('from="::1",RESTRICT', "key option restrict: not supported; remove it"),
            ('command="rm"', "key option command: not supported; remove it"),
            ("from", "key option from: expected a value in double quotes"),
            ("expiry-time", "key option expiry-time: expected a value in double quotes"),
            ('from="::1",from="::2"', "key option from: given twice"),
            ('from=""', "key option from: expected addresses, "),
            ('cert-authority="yes"', "key option cert-authority: expected no value"),
            ('principals="a"', "key option principals: requires cert-authority"),
            ("cert-authority,principals", "key option principals: expected a value in double quotes"),
            ('cert-authority,principals=""', "key option principals: expected principals, separated by commas"),
            ('cert-authority,principals="a,,b"', "key option principals: expected principals, separated by commas"),
            ('cert-authority,principals="a",principals="b"', "key option principals: given twice"),
            *(
                (f'expiry-time="{date}"', "key option expiry-time: expected YYYYMMDD[HHMM[SS]][Z]")
                for date in ("", "2030", "20300132", "2030010124", "203001012400", "00000101", "20300101z", "99999999")
            ),
            *(
                (text, "not valid key options; correct or remove them")
                for text in (
                    "",
                    ",",
                    'from="::1",',
                    'from="::1"x',
                    "from=::1",
                    'from="::1',
                    "a b",
                    "\u00e9",
                    "from = 1",
                )
            ),
        ):
            error = self.assertRaises(ValueError, parse_options, text)
            self.assertTrue(str(error).startswith(words), (text, str(error)))

    @given(st.text('from="expiry-time,\\ \t19:', max_size=60))
    def test_any(self, line: str) -> None:
        """Any line has options and a rest, or is refused."""
        try:
            parse_options(split_options(line)[0])
        except ValueError as error:
            self.assertNotIn("\n", str(error))

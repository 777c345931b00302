"""Reading the heads of requests."""

import time

from hypothesis import given, strategies
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.api.errors import HttpError
from securechat.client.api.head import MAX_HEADERS, RequestHead, parse_head

LINE = b"POST /v1/chat/completions HTTP/1.1"


def parse(*headers: bytes, line: bytes = LINE) -> RequestHead:
    return parse_head([line, *headers])


class HeadTests(SynchronousTestCase):
    """Heads that are read, and those that are refused."""

    def assertRefused(self, status: int, *headers: bytes, line: bytes = LINE) -> None:
        with self.assertRaises(HttpError) as caught:
            parse(*headers, line=line)
        self.assertEqual(caught.exception.status, status, (line, headers))

    def test_request(self) -> None:
        """A request line and headers, of which one occurs twice."""
        head = parse(b"Host:localhost", b"Accept: a", b"ACCEPT:\tb, \xc3\xa4 \t", b"Empty:", b"Content-Length: 12")
        self.assertEqual((head.method, head.target, head.is_http_1_1), ("POST", b"/v1/chat/completions", True))
        self.assertEqual(head.all(b"host"), [b"localhost"])
        self.assertEqual(head.all(b"accept"), [b"a", b"b, \xc3\xa4"])
        self.assertEqual(head.all(b"empty"), [b""])
        self.assertEqual(head.all(b"origin"), ())
        self.assertEqual((head.length, head.has_body), (12, True))

    def test_lengths(self) -> None:
        """A body has the length that was said, comes in chunks, or is not there."""
        self.assertEqual(parse(b"Content-Length: 0012").length, 12)
        chunked = parse(b"Transfer-Encoding: Chunked")
        self.assertEqual((chunked.length, chunked.has_body), (None, True))
        self.assertEqual((parse().length, parse().has_body), (0, False))
        self.assertFalse(parse(b"Content-Length: 0").has_body)

    def test_doubtfulLengths(self) -> None:
        """Two lengths are refused, equal ones too, and a length that is not digits."""
        length, chunked = b"Content-Length: 5", b"Transfer-Encoding: chunked"
        for pair in [(length, length), (length, chunked), (chunked, length), (chunked, chunked)]:
            self.assertRefused(400, *pair)
        self.assertRefused(400, length, b"Transfer-Encoding: identity")
        self.assertRefused(400, length, b"Host: a", b"CONTENT-LENGTH: 6")
        for value in [b"+5", b"-5", b"5, 5", b"5 5", b"0x5", b"5.0", b"", b"\xb2", b"1" * 17, b"1" * 5000]:
            self.assertRefused(400, b"Content-Length: " + value)

    def test_codings(self) -> None:
        """No coding but chunked is known, and none in HTTP/1.0."""
        for value in [b"identity", b"gzip", b"gzip, chunked", b"chunked, chunked", b"xchunked", b"", b'"chunked"']:
            self.assertRefused(501, b"Transfer-Encoding: " + value)
        self.assertRefused(400, b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0")

    def test_requestLines(self) -> None:
        """A request line that is malformed, or of another version, is refused."""
        for line in [
            b"GET",
            b"GET /",
            b"GET / ",
            b"GET  / HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b" GET / HTTP/1.1",
            b"GET /a b HTTP/1.1",
            b"GET\t/ HTTP/1.1",
            b"G(T / HTTP/1.1",
            b"GET /\xc3\xa4 HTTP/1.1",
            b"GET /\x00 HTTP/1.1",
            b"GET / http/1.1",
            b"GET / HTTP/1.2",
            b"GET / HTTP/2.0",
            b"GET / HTTP/0.9",
            b"GET / HTTP/1.1\r",
            b"GET / HTTP/1.1\nHost: localhost",
            b"PRI * HTTP/2.0",
            b"\x16\x03\x01\x02",
        ]:
            self.assertRefused(400, line=line)

    def test_targets(self) -> None:
        """Only paths: an absolute URL would replace Host."""
        for target in [b"http://evil.example/v1/models", b"*", b"localhost:80", b"v1/models", b"?a"]:
            self.assertRefused(400, line=b"GET %b HTTP/1.1" % target)

    def test_headers(self) -> None:
        """Continuation lines, spaces before the colon, and control characters are refused."""
        for header in [
            b"Host",
            b": localhost",
            b"Host : localhost",
            b"Host\t: localhost",
            b" Host: localhost",
            b"\tHost: localhost",
            b"Ho st: localhost",
            b"H\xc3\xb6st: localhost",
            b"Host: a\nOrigin: b",
            b"Host: a\rOrigin: b",
            b"Host: a\x00",
            b"Host: a\x7f",
            b"Content-Length: 5\r",
            b"\x00Host: a",
        ]:
            self.assertRefused(400, header)
            self.assertRefused(400, b"Accept: a", header)

    def test_manyHeaders(self) -> None:
        """The number of headers has a limit."""
        parse(*[b"A: b"] * MAX_HEADERS)
        self.assertRefused(431, *[b"A: b"] * (MAX_HEADERS + 1))

    def test_persistence(self) -> None:
        """A connection is kept but in HTTP/1.0, or if the tool closes it, whatever else it says."""
        self.assertTrue(parse().is_persistent)
        self.assertTrue(parse(b"Connection: keep-alive").is_persistent)
        self.assertFalse(parse(b"Connection: TE, Close").is_persistent)
        self.assertFalse(parse(b"Connection: keep-alive", b"Connection: close").is_persistent)
        self.assertFalse(parse(b"Connection: keep-alive", line=b"POST / HTTP/1.0").is_persistent)

    def test_longValues(self) -> None:
        """No head takes long to read."""
        started = time.process_time()
        for noise in [b" " * 65_000, b"a" * 65_000, b"\t " * 32_000, b": " * 32_000]:
            for line in [noise, b"A:" + noise, b"A:" + noise + b"\x00"]:
                for begin in [(LINE, line), (b"GET " + line + b" HTTP/1.1",)]:
                    try:
                        parse_head(begin)
                    except HttpError:
                        continue
        self.assertLess(time.process_time() - started, 2)

    @given(strategies.lists(strategies.binary(max_size=40), max_size=4), strategies.binary(max_size=40))
    def test_anything(self, headers: list[bytes], line: bytes) -> None:
        """Whatever is sent is a head or is refused."""
        for first in (line, LINE):
            try:
                parse(*headers, line=first)
            except HttpError as error:
                self.assertIn(error.status, (400, 417, 431, 501))

"""Requests that the local API refuses: each gets an error in JSON, and the server is not asked."""

from typing import Any

from hypothesis import given, strategies
from twisted.trial.unittest import SynchronousTestCase

from securechat.calls.paths import find_route
from securechat.client.api.channel import BODY_TIME, HEAD_TIME, LINGER_TIME, MAX_HEAD
from securechat.client.api.door import DoorSettings
from securechat.client.api.errors import HttpError, openai_error
from securechat.client.api.interface import Answer
from securechat.client.api.site import MAX_BODY, MAX_CONNECTIONS, MAX_SURPLUS
from tests.harness.local_api import JSON_HEADERS, KEY, Response, Tool, get_bytes, parse_responses, request_bytes

PAGE = "https://app.example"
LENGTH = "Content-Length: 14\r\n"
HOST = "Host: localhost\r\n"


class RefusalTestCase(SynchronousTestCase):
    """Sends what must be refused."""

    settings = DoorSettings(KEY)

    def refused(self, status: int, *data: bytes, settings: DoorSettings | None = None) -> Response:
        """The error after these bytes; the connection ends with it, and what follows is not read."""
        tool = Tool(settings or self.settings)
        for part in data:
            tool.send(part)
        tool.send(b"\r\n\r\n" + request_bytes())
        response = tool.response
        self.assertEqual(response.status, status, (data[0][:300], response))
        self.assertEqual(response.headers["connection"], "close")
        self.assertNotIn("server", response.headers)
        self.assertTrue(response.error["message"])
        self.assertTrue(tool.transport.is_half_closed)
        self.assertIsNone(tool.transport.producer)  # a transport with one may not close
        self.assertEqual(tool.calls.started, [])
        self.assertEqual(tool.log.records, [])
        tool.clock.advance(LINGER_TIME)
        self.assertTrue(tool.transport.is_reset)
        self.assertEqual(tool.clock.getDelayedCalls(), [])
        return response

    def accepted(self, data: bytes, settings: DoorSettings | None = None) -> Tool:
        """The tool whose request has reached the server."""
        tool = Tool(settings or self.settings)
        tool.send(data)
        self.assertEqual((len(tool.calls.started), tool.received), (1, b""), data)
        return tool


class HostTests(RefusalTestCase):
    """Names of this machine, which a web page can use for others (DNS rebinding)."""

    def test_loopback(self) -> None:
        """The names of the loopback interface are accepted, with any port."""
        for host in ["localhost", "LocalHost:1", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[::1]:11435"]:
            self.accepted(request_bytes(host=f"Host: {host}\r\n"))

    def test_rebinding(self) -> None:
        """Any other name is refused, also if it only looks like one of them."""
        for host in [
            "evil.example",
            "evil.example:11435",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.1.nip.io",
            "127.0.0.2",
            "127.1",
            "0.0.0.0",
            "2130706433",
            "192.168.1.2:11435",
            "[::]",
            "[::ffff:127.0.0.1]",
            "::1",
            "localhost:port",
            "localhost:",
            "localhost:123456",
            "localhost, evil.example",
            "user@localhost",
            "localhost/",
            "",
        ]:
            self.refused(403, request_bytes(host=f"Host: {host}\r\n"))

    def test_number(self) -> None:
        """There is exactly one Host, also in HTTP/1.0."""
        self.refused(400, request_bytes(host=""))
        self.refused(400, get_bytes(host="").replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.refused(400, request_bytes(host=HOST + HOST))
        self.refused(400, request_bytes(host=HOST + "Host: evil.example\r\n"))
        self.refused(400, request_bytes(host="Host: evil.example\r\n" + HOST))

    def test_absoluteTarget(self) -> None:
        """A target cannot replace Host."""
        self.refused(400, get_bytes("http://evil.example/v1/models"))

    def test_anyAddress(self) -> None:
        """With --serve-any-address every name is one of this machine, but there is still exactly one."""
        settings = DoorSettings(KEY, any_address=True)
        for host in ["securechat", "192.168.1.2:11435", "[fd00::1]:80", "host.docker.internal"]:
            self.accepted(request_bytes(host=f"Host: {host}\r\n"), settings)
        for host in ["", "a b", "a/b", "a@b", "[::1", "a:b"]:
            self.refused(403, request_bytes(host=f"Host: {host}\r\n"), settings=settings)
        self.refused(400, request_bytes(host=HOST + HOST), settings=settings)


class WebPageTests(RefusalTestCase):
    """Requests of web pages."""

    listed = DoorSettings(KEY, frozenset({PAGE, "http://localhost:3000"}))

    def test_origins(self) -> None:
        """No origin is accepted if none is listed, not even the API's own."""
        for origin in [PAGE, "null", "", "http://localhost:11435", "file://", "app://obsidian.md", "*"]:
            response = self.refused(403, request_bytes(headers=f"{JSON_HEADERS}{LENGTH}Origin: {origin}\r\n"))
            self.assertNotIn("access-control-allow-origin", response.headers)
            self.refused(403, get_bytes("/", f"Origin: {origin}\r\n"))

    def test_otherOrigins(self) -> None:
        """An origin is accepted only if exactly it is listed, once."""
        for origin in ["null", "", "https://APP.example", PAGE + ":443", PAGE + "/", "https://evil.example", "*"]:
            header = f"Origin: {origin}\r\n"
            response = self.refused(403, get_bytes(headers=header), settings=self.listed)
            self.assertNotIn("access-control-allow-origin", response.headers)
            self.refused(403, get_bytes(headers=header + f"Origin: {PAGE}\r\n"), settings=self.listed)
            self.refused(403, get_bytes(headers=f"Origin: {PAGE}\r\n" + header), settings=self.listed)

    def test_listedOrigin(self) -> None:
        """A page of a listed origin gets responses that it may read, errors too."""
        headers = f"Origin: {PAGE}\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n"
        self.accepted(get_bytes(headers=headers), self.listed)
        for response in [
            self.refused(401, get_bytes(headers=headers, key=None), settings=self.listed),
            self.refused(404, get_bytes("/v1/nothing", headers=headers), settings=self.listed),
        ]:
            self.assertEqual(response.headers["access-control-allow-origin"], PAGE)
            self.assertEqual(response.headers["vary"], "Origin")
            self.assertNotIn("access-control-allow-credentials", response.headers)

    def test_preflight(self) -> None:
        """A page of a listed origin may send the headers that it asks for, without showing the key first."""
        tool = Tool(self.listed)
        asked = "authorization,content-type,x-stainless-lang"
        headers = (
            f"Origin: {PAGE}\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: {asked}\r\n"
            "Access-Control-Request-Private-Network: true\r\n"
        )
        tool.send(get_bytes("/v1/chat/completions", headers, "OPTIONS", key=None))
        response = tool.response
        self.assertEqual((response.status, response.body), (204, b""))
        del response.headers["date"]
        self.assertEqual(
            response.headers,
            {
                "access-control-allow-origin": PAGE,
                "access-control-expose-headers": "Retry-After",
                "access-control-allow-methods": "GET, POST",
                "access-control-allow-headers": asked,
                "access-control-max-age": "600",
                "vary": "Origin",
            },
        )
        self.assertEqual(tool.calls.started, [])

    def test_preflightWithoutHeaders(self) -> None:
        """A preflight request that asks for no headers, or for none that are names, gets the two that are needed."""
        for asked in ["", "Access-Control-Request-Headers: a\xe4\r\n", "Access-Control-Request-Headers: a;b\r\n"]:
            tool = Tool(self.listed)
            headers = f"Origin: {PAGE}\r\nAccess-Control-Request-Method: POST\r\n{asked}"
            tool.send(get_bytes("/v1/models", headers, "OPTIONS", key=None))
            self.assertEqual(tool.response.headers["access-control-allow-headers"], "Authorization, Content-Type")

    def test_refusedPreflight(self) -> None:
        """Nothing is allowed to a page of another origin, and OPTIONS is no method for others."""
        asked = "Access-Control-Request-Method: POST\r\n"
        for settings in (self.settings, self.listed):
            headers = f"{asked}Origin: https://evil.example\r\n"
            response = self.refused(403, get_bytes(headers=headers, method="OPTIONS", key=None), settings=settings)
            self.assertFalse([name for name in response.headers if name.startswith("access-control")])
        self.refused(405, get_bytes(headers=asked, method="OPTIONS"))
        self.refused(405, get_bytes(headers=f"Origin: {PAGE}\r\n", method="OPTIONS"), settings=self.listed)
        headers = f"{asked}Origin: {PAGE}\r\n{LENGTH}"
        self.refused(400, get_bytes(headers=headers, method="OPTIONS"), settings=self.listed)

    def test_site(self) -> None:
        """A request without Origin that a page of another site has caused, such as an image, is refused."""
        for site in ["cross-site", "same-site", "Cross-Site", "", "none\r\nSec-Fetch-Site: cross-site"]:
            self.refused(403, get_bytes(headers=f"Sec-Fetch-Site: {site}\r\n"))
            self.refused(403, get_bytes("/", f"Sec-Fetch-Site: {site}\r\n"))
        for site in ["none", "same-origin"]:
            self.accepted(get_bytes(headers=f"Sec-Fetch-Site: {site}\r\n"))

    def test_node(self) -> None:
        """Node sends Sec-Fetch-Mode with every request; that means nothing."""
        self.accepted(get_bytes(headers="Sec-Fetch-Mode: cors\r\nAccept-Language: *\r\n"))

    def test_forms(self) -> None:
        """Bodies that a page can send without asking first are refused."""
        for kind in [
            "text/plain",
            "text/plain; charset=utf-8",
            "text/plain;application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "application/json, text/plain",
            "",
        ]:
            self.refused(415, request_bytes(headers=f"Content-Type: {kind}\r\n{LENGTH}"))
        self.refused(415, request_bytes(headers=LENGTH))
        self.refused(415, request_bytes(headers=JSON_HEADERS + "Content-Type: text/plain\r\n" + LENGTH))
        self.accepted(request_bytes(headers="Content-Type: Application/JSON ; charset=utf-8\r\n" + LENGTH))


class KeyTests(RefusalTestCase):
    """The key."""

    def test_wrong(self) -> None:
        """A key that is missing, wrong or given twice is refused, before the path is looked at."""
        for value in ["Bearer", "Bearer x", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", KEY, "Bearer \xff"]:
            response = self.refused(401, get_bytes(headers=f"Authorization: {value}\r\n", key=None))
            self.assertEqual(response.headers["www-authenticate"], 'Bearer realm="securechat", error="invalid_token"')
            self.assertEqual(response.error["code"], "invalid_api_key")
            self.assertNotIn(KEY, response.error["message"])
        self.refused(401, get_bytes(headers=f"Authorization: Bearer {KEY}\r\n"))
        self.refused(401, request_bytes(key=None))
        response = self.refused(401, get_bytes("/nothing", key=None))
        self.assertEqual(response.headers["www-authenticate"], 'Bearer realm="securechat"')

    def test_right(self) -> None:
        """The scheme is written in any case."""
        self.accepted(get_bytes())
        self.accepted(get_bytes(headers=f"authorization: bearer  {KEY}\r\n", key=None))

    def test_open(self) -> None:
        """With --serve-open any key will do, and none."""
        for key in [None, "ollama"]:
            self.accepted(get_bytes(key=key), DoorSettings(None))

    def test_notShown(self) -> None:
        """The settings do not show the key."""
        self.assertNotIn(KEY, repr(DoorSettings(KEY)))


class PathTests(RefusalTestCase):
    """Paths and methods."""

    def test_unknown(self) -> None:
        """Other paths are not found."""
        for path in [
            "/v1",
            "/v1/",
            "/v1/models/",
            "/v1//models",
            "//v1/models",
            "/v2/models",
            "/V1/models",
            "/models",
            "/v1/models/../x",
            "/v1/models/a%00",
            "/v1/models/%ff",
            "/%ff",
            "/v1/models/a%2525",
            "/v1/files",
            "/v1/audio/speech",
            "/v1/chat/completions/x",
            "/favicon.ico",
        ]:
            response = self.refused(404, get_bytes(path))
            self.assertIn("/v1/", response.error["message"])

    def test_methods(self) -> None:
        """Another method is not allowed, and the response says which one is."""
        for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post"]:
            data = get_bytes("/v1/embeddings", method=method)
            if method != "HEAD":
                self.assertEqual(self.refused(405, data).headers["allow"], "POST")
        for method in ["POST", "PUT", "CONNECT"]:
            self.assertEqual(self.refused(405, get_bytes("/v1/models/m", method=method)).headers["allow"], "GET")
        self.assertEqual(self.refused(405, get_bytes("/", method="POST")).headers["allow"], "GET, HEAD")

    def test_head(self) -> None:
        """An error for HEAD has no body."""
        tool = Tool()
        tool.send(get_bytes("/v1/models", method="HEAD"))
        (response,) = parse_responses(tool.received, is_head=True)
        self.assertEqual((response.status, response.headers["allow"]), (405, "GET"))

    def test_encodedPath(self) -> None:
        """Names of models are percent-decoded once, and a query is ignored."""
        for path, expected in [
            ("/v1/models/hf.co%2Fa%2Fb%3Aq4", "models/hf.co/a/b:q4"),
            ("/v1/models/a/b", "models/a/b"),
            ("/v1/models?limit=1", "models"),
        ]:
            self.assertEqual(self.accepted(get_bytes(path)).call.path, expected)


class BodyTests(RefusalTestCase):
    """Bodies."""

    def test_encodings(self) -> None:
        """A compressed body is refused, whatever the compression."""
        for coding in ["gzip", "identity", ""]:
            self.refused(415, request_bytes(headers=f"{JSON_HEADERS}{LENGTH}Content-Encoding: {coding}\r\n"))

    def test_noBody(self) -> None:
        """A POST needs a body, and a GET must not have one."""
        self.refused(400, request_bytes(headers=JSON_HEADERS))
        self.refused(400, request_bytes(headers=JSON_HEADERS + "Content-Length: 0\r\n"))
        self.refused(400, get_bytes(headers=LENGTH))
        self.refused(400, get_bytes(headers="Transfer-Encoding: chunked\r\n"))
        self.refused(400, get_bytes("/", headers=LENGTH))

    def test_smuggledLengths(self) -> None:
        """A body whose length can be understood in two ways is refused, and nothing of it is taken for a request."""
        inner = get_bytes()
        for headers in [
            f"Content-Length: 5\r\nContent-Length: {len(inner)}\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding:\r\n chunked\r\n",
            "Content-Length: 5\r\n Content-Length: 6\r\n",
            "Content-Length: 5\nTransfer-Encoding: chunked\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5,5\r\n",
        ]:
            self.refused(400, request_bytes(headers=JSON_HEADERS + headers, body=b"0\r\n\r\n" + inner))
        for coding in ["xchunked", "gzip, chunked", "identity", "chunked\x0b"]:
            data = request_bytes(headers=f"{JSON_HEADERS}Transfer-Encoding: {coding}\r\n", body=b"0\r\n\r\n" + inner)
            self.refused(400 if "\x0b" in coding else 501, data)
        self.refused(
            400, request_bytes("POST /v1/completions HTTP/1.0", JSON_HEADERS + "Transfer-Encoding: chunked\r\n")
        )

    def test_malformedChunks(self) -> None:
        """Chunks that are not well-formed are refused."""
        headers = JSON_HEADERS + "Transfer-Encoding: chunked\r\n"
        for body in [
            b"x\r\n",
            b"-1\r\n",
            b"+2\r\n{}\r\n0\r\n\r\n",
            b"0x2\r\n{}\r\n0\r\n\r\n",
            b" 2\r\n{}\r\n0\r\n\r\n",
            b"2 \r\n{}\r\n0\r\n\r\n",
            b"2_0\r\n",
            b"\r\n",
            b"2\r\n{}0\r\n\r\n",
            b"2\r\n{} \r\n0\r\n\r\n",
            b"2\r\n{}\n0\n\n",
            b"2;a\nb\r\n{}\r\n0\r\n\r\n",
            b"2;" + b"a" * 2000 + b"\r\n{}\r\n0\r\n\r\n",
            b"2\n{}\n0\n\n" + b" " * 2000,
            b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 20_000,
            b"2\r\n{}\r\n0\r\n" + b"a" * 70_000,
        ]:
            with self.subTest(body=body[:40]):
                self.refused(400, request_bytes(headers=headers, body=body))

    def test_length(self) -> None:
        """A length above 16 MiB is refused before the body is sent, and 100 Continue is not."""
        for expect in ["", "Expect: 100-continue\r\n"]:
            data = request_bytes(headers=f"{JSON_HEADERS}{expect}Content-Length: {MAX_BODY + 1}\r\n", body=b"")
            self.refused(413, data)
        self.refused(413, request_bytes(headers=f"{JSON_HEADERS}Content-Length: {'9' * 16}\r\n", body=b""))

    def test_limitOfServer(self) -> None:
        """A body that is too long for the server is refused in the same way."""
        tool = Tool()
        tool.calls.max_body = 2 * MAX_BODY
        tool.send(request_bytes(headers=f"{JSON_HEADERS}Content-Length: {MAX_BODY + 1}\r\n", body=b""))
        self.assertEqual(tool.response.status, 413)
        tool.connect()
        tool.calls.max_body = 4096
        tool.send(request_bytes(body=b" " * 4097))
        self.assertEqual(tool.response.status, 413)
        self.assertIn("4096", tool.response.error["message"])
        tool.connect()
        tool.send(request_bytes(body=b" " * 4096))
        self.assertEqual(tool.received, b"")
        self.assertEqual(len(tool.call.body), 4096)

    def test_chunksBeyondTheLimit(self) -> None:
        """A body in chunks is refused as soon as it exceeds the limit, whatever length a chunk says that it has."""
        tool = Tool()
        tool.calls.max_body = 10_000
        tool.send(request_bytes(headers=JSON_HEADERS + "Transfer-Encoding: chunked\r\n", body=b"fffffffff\r\n"))
        tool.send(b" " * 10_000)
        self.assertEqual(tool.received, b"")
        tool.send(b" ")
        self.assertEqual((tool.response.status, tool.calls.started), (413, []))

    def test_expectations(self) -> None:
        """Nothing can be expected but 100 Continue."""
        for value in ["200-ok", "", "100-continue\r\nExpect: 100-continue"]:
            self.refused(417, request_bytes(headers=f"{JSON_HEADERS}{LENGTH}Expect: {value}\r\n"))


class LimitTests(RefusalTestCase):
    """Heads and bodies that do not end, and too many connections."""

    def test_longHead(self) -> None:
        """A head of more than 64 KiB is refused, in one line or in many."""
        self.refused(431, b"GET /" + b"a" * MAX_HEAD)
        self.refused(431, b"GET / HTTP/1.1\r\nA: " + b"a" * (MAX_HEAD - 18) + b"\r\n\r\n")
        self.refused(431, b"GET / HTTP/1.1\r\n", *[b"A: " + b"a" * 995 + b"\r\n"] * 66)
        self.refused(431, b"GET / HTTP/1.1\r\n", b"A:\r\n" * 1000 + b"\r\n")
        self.refused(431, b"\r\n" * (MAX_HEAD // 2 + 1))

    def test_longHeadIsAccepted(self) -> None:
        """A head of nearly 64 KiB is read."""
        head = get_bytes(headers="A: ")
        self.accepted(head[:-2] + b"a" * (MAX_HEAD - len(head) - 2) + b"\r\n\r\n")

    def test_slowHead(self) -> None:
        """A head has ten seconds from its first byte, however the bytes are spread."""
        tool = Tool()
        data = get_bytes()
        tool.clock.advance(5)
        for index in range(20):
            self.assertEqual(tool.received, b"")
            tool.send(data[index : index + 1])
            tool.clock.advance(HEAD_TIME / 20)
        self.assertEqual(tool.response.status, 408)
        self.assertTrue(tool.response.error["message"])
        self.assertEqual(tool.calls.started, [])

    def test_silence(self) -> None:
        """A connection without a request is closed."""
        tool = Tool()
        tool.clock.advance(HEAD_TIME - 0.1)
        self.assertFalse(tool.transport.disconnecting)
        tool.clock.advance(0.1)
        self.assertTrue(tool.transport.disconnecting)
        self.assertEqual(tool.received, b"")

    def test_slowBody(self) -> None:
        """A body has two minutes."""
        tool = Tool()
        tool.send(request_bytes(headers=JSON_HEADERS + "Content-Length: 1000\r\n", body=b""))
        for _second in range(BODY_TIME):
            self.assertEqual(tool.received, b"")
            tool.send(b" ")
            tool.clock.advance(1)
        self.assertEqual((tool.response.status, tool.calls.started), (408, []))

    def test_connections(self) -> None:
        """A tool on the 65th connection gets an error that it may retry after; many more are closed at once."""
        tool = Tool()
        channels = [tool.channel]
        for _connection in range(MAX_CONNECTIONS - 1):
            tool.connect()
            channels.append(tool.channel)
        tool.send(get_bytes())
        self.assertEqual((len(tool.calls.started), tool.received), (1, b""))
        for _connection in range(MAX_SURPLUS):
            tool.connect()
            channels.append(tool.channel)
        tool.send(get_bytes())
        self.assertEqual((tool.response.status, len(tool.calls.started)), (503, 1))
        self.assertGreater(int(tool.response.headers["retry-after"]), 0)
        self.assertTrue(tool.response.error["message"])
        self.assertIsNone(tool.site.buildProtocol(None))
        for channel in channels:
            channel.connectionLost()
        tool.connect()
        tool.send(get_bytes())
        self.assertEqual(len(tool.calls.started), 2)


class NoiseTests(SynchronousTestCase):
    """Requests that were damaged."""

    @given(strategies.data())
    def test_noise(self, data: strategies.DataObject) -> None:
        """Whatever is changed in a request, it is let in, refused with an error in JSON, or waited for."""
        headers = JSON_HEADERS + "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
        chunked = request_bytes(headers=headers, body=b"e\r\n" + b'{"model": "m"}' + b"\r\n0\r\n\r\n")
        sent = bytearray(data.draw(strategies.sampled_from([request_bytes(), chunked, get_bytes("/v1/models/m")])))
        noise = strategies.sampled_from(
            [b"", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b":", b"\0", b"%", b"\xff", b"0"]
        )
        for _change in range(data.draw(strategies.integers(1, 4))):
            at = data.draw(strategies.integers(0, len(sent)))
            sent[at : at + data.draw(strategies.integers(0, 3))] = data.draw(noise)
        tool = Tool()
        tool.send(bytes(sent))
        statuses = [response.status for response in parse_responses(tool.received) if response.status != 100]
        self.assertLessEqual(len(statuses) + len(tool.calls.started), 1)
        for call in tool.calls.started:
            self.assertIsNotNone(find_route(call.path))
        if statuses:
            self.assertIn(statuses[0], range(400, 502))
            self.assertTrue(tool.transport.is_half_closed)
        tool.clock.advance(BODY_TIME)
        self.assertTrue(tool.calls.started or tool.received)


class OtherInterface:
    """An interface with another format of errors."""

    def methods(self, path: str) -> tuple[str, ...]:
        return ("GET", "POST") if path == "version" else ()

    def respond(self, method: str, path: str, body: bytes) -> Answer:
        if method == "POST":
            raise HttpError(400, "no")
        return Answer(b'{"version": "1"}')

    def format_error(self, error: HttpError) -> bytes:
        return b"error %d" % error.status


class InterfaceTests(SynchronousTestCase):
    """Interfaces beside OpenAI's."""

    def setUp(self) -> None:
        self.tool = Tool(interfaces={"api": OtherInterface()})

    def test_answer(self) -> None:
        """An interface can answer a request itself."""
        self.tool.send(get_bytes("/api/version"))
        response = self.tool.response
        self.assertEqual((response.status, response.body), (200, b'{"version": "1"}'))
        self.assertEqual(response.headers["content-type"], "application/json")

    def test_errors(self) -> None:
        """Errors have the format of the interface whose path was requested; also those of the interface itself."""
        for data, expected in [
            (get_bytes("/api/nothing"), b"error 404"),
            (get_bytes("/api/version", key=None), b"error 401"),
            (request_bytes("POST /api/version HTTP/1.1"), b"error 400"),
            (get_bytes("/other/nothing"), None),
        ]:
            self.tool.connect()
            self.tool.send(data)
            body = self.tool.response.body
            if expected is None:
                self.assertIn("/v1/, /api/", self.tool.response.error["message"])
            else:
                self.assertEqual(body, expected)


class ErrorTests(SynchronousTestCase):
    """Errors in OpenAI's format."""

    def test_kinds(self) -> None:
        """The type of an error says who can do something about it."""
        kinds: dict[int, Any] = {status: openai_error(HttpError(status, "a")) for status in (400, 429, 503)}
        self.assertIn(b'"invalid_request_error"', kinds[400])
        self.assertIn(b'"rate_limit_error"', kinds[429])
        self.assertIn(b'"server_error"', kinds[503])

"""Responses to requests that were let in."""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import pairwise

from hypothesis import given, strategies
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.api.calls import Receiver, Unavailable
from securechat.client.api.channel import CLOSE_TIME, HEAD_TIME, IDLE_TIME
from securechat.client.api.errors import HttpError
from securechat.client.api.exchange import FIRST_TIME, SILENCE, STALL_TIME, STATUS_TIME
from securechat.client.api.interface import Forward
from securechat.client.api.model_list import ModelList
from securechat.client.api.openai import OpenAIDialect, OpenAIInterface
from securechat.errors import Fault
from securechat.wire.items import Head, Piece, ServerEvent
from tests.harness.local_api import JSON_HEADERS, Tool, get_bytes, parse_responses, request_bytes

STREAM = Head(200, "text/event-stream")
WHOLE = Head(200, "application/json")
STREAM_REQUEST = request_bytes(body=b'{"model": "m", "stream": true}')
EVENT = ServerEvent("", b'{"choices": []}')
DONE = ServerEvent("", b"[DONE]")
END_OF_CHUNKS = b"0\r\n\r\n"
COMMENT = b"3\r\n:\n\n\r\n"


class ToolTestCase(SynchronousTestCase):
    """A tool's connection in memory."""

    def setUp(self) -> None:
        self.tool = Tool()
        self.clock = self.tool.clock

    def ask(self, data: bytes = STREAM_REQUEST) -> Receiver:
        """Send a request; the receiver of its response."""
        self.tool.send(data)
        return self.tool.calls.started[-1].receiver

    def disconnect(self) -> None:
        """The tool closes its connection."""
        self.tool.channel.connectionLost(Failure(ConnectionDone()))

    def logged(self, index: int = -1) -> tuple[int, str] | None:
        return self.tool.log.records[index].end

    def assertReset(self, *, after: bytes) -> None:
        """The connection was reset, and the last bytes before were no regular end."""
        self.assertTrue(self.tool.transport.is_reset)
        self.assertTrue(self.tool.received.endswith(after), self.tool.received[-100:])
        self.assertFalse(self.tool.received.endswith(END_OF_CHUNKS))
        self.disconnect()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ResponseTests(ToolTestCase):
    """Complete responses."""

    def test_whole(self) -> None:
        """Status, content type and body are the server's; nothing else comes from it."""
        receiver = self.ask(request_bytes(body=b'{"model":  "m", "x": 1}'))
        self.assertEqual((self.tool.call.path, self.tool.call.body), ("chat/completions", b'{"model":  "m", "x": 1}'))
        receiver.itemsReceived([Head(400, "application/json; charset=utf-8"), Piece(b'{"error"')])
        receiver.itemsReceived([Piece(b""), Piece(b": 1}")])
        receiver.ended()
        response = self.tool.response
        self.assertEqual((response.status, response.body), (400, b'{"error": 1}'))
        expected = {"date", "content-type", "cache-control", "x-content-type-options", "transfer-encoding"}
        self.assertEqual(set(response.headers), expected)
        self.assertEqual(response.headers["content-type"], "application/json; charset=utf-8")
        self.assertEqual(self.tool.log.records[0].request, "POST /v1/chat/completions")
        self.assertEqual(self.logged(), (400, "error"))

    def test_retryAfter(self) -> None:
        """Retry-After is the server's."""
        receiver = self.ask(get_bytes())
        receiver.itemsReceived([Head(429, "", 7), Piece(b"a")])
        receiver.ended()
        self.assertEqual((self.tool.response.status, self.tool.response.headers["retry-after"]), (429, "7"))
        self.assertNotIn("content-type", self.tool.response.headers)

    def test_withoutBody(self) -> None:
        """A status that has no body gets none, whatever comes."""
        receiver = self.ask(get_bytes())
        receiver.itemsReceived([Head(204, "application/json"), Piece(b"a")])
        receiver.ended()
        self.assertEqual((self.tool.response.status, self.tool.response.body), (204, b""))

    def test_stream(self) -> None:
        """Each event is written when it comes, in a chunk of its own."""
        receiver = self.ask()
        receiver.itemsReceived([STREAM])
        self.assertIn(b"\r\nContent-Type: text/event-stream; charset=utf-8\r\n", self.tool.received)
        self.assertIn(b"\r\nCache-Control: no-cache\r\n", self.tool.received)
        self.assertNotIn(b"Content-Length", self.tool.received)
        self.tool.transport.clear()
        receiver.itemsReceived([EVENT, ServerEvent("x", b"1\n2")])
        first = b'data: {"choices": []}\n\n'
        second = b"event: x\ndata: 1\ndata: 2\n\n"
        self.assertEqual(self.tool.received, b"17\r\n%b\r\n1a\r\n%b\r\n" % (first, second))
        receiver.itemsReceived([DONE])
        receiver.ended()
        self.assertTrue(self.tool.received.endswith(b"data: [DONE]\n\n\r\n" + END_OF_CHUNKS))
        self.assertEqual((self.logged(), self.tool.log.records[0].events), ((200, ""), 3))
        self.assertFalse(self.tool.transport.disconnecting)

    def test_http10(self) -> None:
        """HTTP/1.0 has no chunks: the end of the connection is that of the body."""
        receiver = self.ask(STREAM_REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"))
        receiver.itemsReceived([STREAM, DONE])
        self.assertFalse(self.tool.transport.disconnecting)
        receiver.ended()
        self.assertTrue(self.tool.received.endswith(b"\r\n\r\ndata: [DONE]\n\n"))
        self.assertNotIn(b"Transfer-Encoding", self.tool.received)
        self.assertTrue(self.tool.transport.disconnecting)

    def test_root(self) -> None:
        """The root responds as Ollama's, to GET and HEAD and without a key."""
        for method in ("GET", "HEAD"):
            self.tool.send(get_bytes("/", method=method, key=None))
            (response,) = parse_responses(self.tool.received, is_head=method == "HEAD")
            self.assertEqual((response.status, response.headers["content-length"]), (200, "17"))
            self.tool.transport.clear()

    def test_noHead(self) -> None:
        """A response that ends without a head is none."""
        receiver = self.ask()
        receiver.ended()
        self.assertEqual(self.tool.response.status, 502)
        self.assertTrue(self.tool.response.error)


class RequestTests(ToolTestCase):
    """The ways in which a request can come."""

    def respond(self, *bodies: bytes) -> None:
        """Respond to the calls that have not been."""
        for call, body in zip(self.tool.calls.started[-len(bodies) :], bodies, strict=True):
            call.receiver.itemsReceived([WHOLE, Piece(body)])
            call.receiver.ended()

    def test_keepAlive(self) -> None:
        """Requests follow each other on a connection, which ends when there is none for 75 seconds."""
        for index in range(3):
            self.ask(get_bytes() if index % 2 else request_bytes())
            self.respond(b"%d" % index)
            self.clock.advance(IDLE_TIME - 1)
        self.assertEqual([each.body for each in parse_responses(self.tool.received)], [b"0", b"1", b"2"])
        self.assertFalse(self.tool.transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(self.tool.transport.disconnecting)
        self.assertFalse(self.tool.transport.is_reset)
        self.clock.advance(CLOSE_TIME)
        self.assertTrue(self.tool.transport.is_reset)

    def test_secondHead(self) -> None:
        """The second request's head has ten seconds, too."""
        self.ask(get_bytes())
        self.respond(b"a")
        self.clock.advance(IDLE_TIME - 1)
        self.tool.send(get_bytes()[:20])
        self.clock.advance(HEAD_TIME)
        self.assertEqual([each.status for each in parse_responses(self.tool.received)], [200, 408])

    def test_secondHeadInOneSegment(self) -> None:
        """It has them also if it began together with the first request."""
        self.tool.send(get_bytes("/") + get_bytes()[:-2])
        self.clock.advance(HEAD_TIME)
        self.assertEqual([each.status for each in parse_responses(self.tool.received)], [200, 408])

    def test_manyRequests(self) -> None:
        """The limit on heads is one for each head."""
        request = get_bytes("/", headers=f"A: {'a' * 10_000}\r\n")
        for _request in range(10):
            self.tool.send(request)
        self.assertEqual({each.status for each in parse_responses(self.tool.received)}, {200})

    def test_close(self) -> None:
        """The connection ends after the response if the tool asks for it, and is reset if the tool does not read it."""
        self.ask(get_bytes(headers="Connection: close\r\n"))
        self.respond(b"a")
        self.assertEqual(self.tool.response.headers["connection"], "close")
        self.assertTrue(self.tool.transport.disconnecting)
        self.tool.send(get_bytes())
        self.assertEqual(len(self.tool.calls.started), 1)
        self.clock.advance(CLOSE_TIME)
        self.assertTrue(self.tool.transport.is_reset)

    def test_bytewise(self) -> None:
        """A request may come byte by byte, also in chunks, with extensions and trailers."""
        headers = JSON_HEADERS + "Transfer-Encoding: chunked\r\n"
        data = request_bytes(headers=headers, body=b'1;a="b"\r\n{\r\n0A\r\n"a":     1\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n')
        for byte in data:
            self.tool.send(bytes([byte]))
        self.assertEqual(self.tool.call.body, b'{"a":     1}')
        self.respond(b"a")
        self.ask(get_bytes())
        self.respond(b"b")
        self.assertEqual([each.body for each in parse_responses(self.tool.received)], [b"a", b"b"])

    @given(strategies.data())
    def test_cuts(self, data: strategies.DataObject) -> None:
        """However requests are cut into segments, the responses are the same."""
        chunks = b"2\r\n{}\r\n00\r\n\r\n"
        chunked = request_bytes(headers=JSON_HEADERS + "Transfer-Encoding: chunked\r\n", body=chunks)
        sent = [get_bytes("/", key=None), b"\r\n" + chunked, get_bytes("/v1/models"), request_bytes()]
        wrong = [get_bytes(key=None), b"x\r\n\r\n", chunked.replace(b"00", b"x")]
        sent.append(data.draw(strategies.sampled_from(wrong)))
        stream = b"".join(sent)
        cuts = sorted(data.draw(strategies.lists(strategies.integers(0, len(stream)), max_size=20)))
        self.setUp()
        answered = 0
        for start, end in pairwise([0, *cuts, len(stream)]):
            self.tool.send(stream[start:end])
            while answered < len(self.tool.calls.started):
                self.respond(b"%d" % answered)
                answered += 1
        responses = parse_responses(self.tool.received)
        self.assertEqual([each.body for each in responses[:-1]], [b"Ollama is running", b"0", b"1", b"2"])
        self.assertIn(responses[-1].status, (400, 401))
        self.assertEqual([call.body for call in self.tool.calls.started], [b"{}", b"", b'{"model": "m"}'])

    def test_continue(self) -> None:
        """100 Continue is sent when the head has come, not in HTTP/1.0."""
        data = request_bytes(headers=f"{JSON_HEADERS}Content-Length: 2\r\nExpect: 100-Continue\r\n", body=b"")
        self.tool.send(data)
        self.assertEqual(self.tool.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.ask(b"{}")
        self.respond(b"a")
        self.assertEqual([each.status for each in parse_responses(self.tool.received)], [100, 200])
        self.tool.connect()
        self.tool.send(data.replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.assertEqual(self.tool.received, b"")

    def test_pipelining(self) -> None:
        """Requests that come together are answered one after the other."""
        self.tool.send(get_bytes("/") + request_bytes() + get_bytes("/v1/models/m") + get_bytes("/", method="HEAD"))
        self.assertEqual(len(self.tool.calls.started), 1)
        self.respond(b"a")
        self.assertEqual([call.path for call in self.tool.calls.started], ["chat/completions", "models/m"])
        self.respond(b"b")
        data = self.tool.received
        end = data.rindex(b"HTTP/1.1 ")
        bodies = [b"Ollama is running", b"a", b"b"]
        self.assertEqual([each.body for each in parse_responses(data[:end])], bodies)
        self.assertEqual([each.status for each in parse_responses(data[end:], is_head=True)], [200])

    def test_refusedAfterOthers(self) -> None:
        """A refusal comes after the responses to earlier requests."""
        self.tool.send(get_bytes() + get_bytes(key=None) + get_bytes())
        self.respond(b"a")
        self.assertEqual([each.status for each in parse_responses(self.tool.received)], [200, 401])
        self.assertEqual(len(self.tool.calls.started), 1)

    def test_muchPipelining(self) -> None:
        """If too much comes before the response, it is dropped and the connection ends; reading is never paused."""
        self.tool.send(get_bytes())
        for _request in range(2000):
            self.tool.send(get_bytes())
        self.assertEqual(self.tool.transport.producerState, "producing")
        self.respond(b"a")
        self.assertEqual(self.tool.response.body, b"a")
        self.assertTrue(self.tool.transport.disconnecting)
        self.assertEqual(len(self.tool.calls.started), 1)

    def test_memoryOfBody(self) -> None:
        """A large body is not written to a file, and it is not kept when it has been sent."""
        self.patch(tempfile, "TemporaryFile", None)
        self.tool.send(request_bytes(body=b" " * 2_000_000))
        self.assertEqual(len(self.tool.call.body), 2_000_000)
        self.assertIsNone(self.tool.channel.requests[0].content)
        self.assertEqual(self.tool.channel.requests[0].take_body(), b"")


class FaultTests(ToolTestCase):
    """Responses that fail."""

    def test_beforeTheHead(self) -> None:
        """A fault before the head is a status, and the connection goes on."""
        for fault, status in [
            (Fault.UNREACHABLE, 502),
            (Fault.REFUSED, 502),
            (Fault.TOO_LONG, 413),
            (Fault.TIMED_OUT, 504),
            (Fault.BROKEN_ANSWER, 502),
            (Fault.BUSY, 429),
            (Fault.TOO_MANY_MESSAGES, 429),
            (Fault.INTERNAL, 500),
            (Fault.NOT_FOUND, 404),
            (Fault.NOT_ALLOWED, 403),
            (Fault.LIMIT_REACHED, 429),
        ]:
            self.ask().failed(fault)
            response = self.tool.response
            self.assertEqual(response.status, status)
            self.assertNotIn("message", response.error["message"])  # a user's word, but not of a tool's
            self.assertEqual("retry-after" in response.headers, status == 429)
            self.assertEqual(self.logged(), (status, fault.name.lower()))
            self.tool.transport.clear()

    def test_cancelledBeforeTheHead(self) -> None:
        """A call that was cancelled before the head has no response."""
        self.ask().failed(Fault.CANCELLED)
        self.assertEqual(self.tool.received, b"")
        self.assertReset(after=b"")

    def test_inAStream(self) -> None:
        """A fault in a stream is an event, with which the body ends in order, but without [DONE]."""
        receiver = self.ask()
        receiver.itemsReceived([STREAM, EVENT])
        receiver.failed(Fault.UNREACHABLE)
        response = self.tool.response
        self.assertRegex(response.body, rb'\Adata: {"choices": \[\]}\n\ndata: {"error":{"message":"[^\n]+}\n\n\Z')
        self.assertIn(b"the response is incomplete: the robot is unreachable", response.body)
        self.assertEqual(self.logged(), (200, "unreachable"))
        self.assertFalse(self.tool.transport.is_reset)

    def test_inAnotherBody(self) -> None:
        """A fault in any other body resets the connection."""
        receiver = self.ask()
        receiver.itemsReceived([WHOLE, Piece(b"abc")])
        receiver.failed(Fault.UNREACHABLE)
        self.assertReset(after=b"3\r\nabc\r\n")
        self.assertEqual(self.logged(), (200, "unreachable"))

    def test_brokenStream(self) -> None:
        """When the session ends within a stream, the connection is reset."""
        receiver = self.ask()
        receiver.itemsReceived([STREAM, EVENT])
        receiver.broken()
        self.assertReset(after=b'data: {"choices": []}\n\n\r\n')
        self.assertEqual(self.logged(), (200, "broken"))

    def test_brokenBeforeTheHead(self) -> None:
        """When the session ends before the head, the tool may try again."""
        self.ask().broken()
        self.assertEqual(self.tool.response.status, 503)
        self.assertGreater(int(self.tool.response.headers["retry-after"]), 0)
        self.assertTrue(self.tool.response.error["message"])

    def test_unavailable(self) -> None:
        """A request that cannot be sent gets the status and the text of the reason."""
        for problem, expected in [(Unavailable(503, "no line", 9), "9"), (Unavailable(413, "too long"), None)]:
            self.tool.calls.problem = problem
            self.tool.send(STREAM_REQUEST)
            response = self.tool.response
            self.assertEqual((response.status, response.error["message"]), (problem.status, problem.message))
            self.assertEqual(response.headers.get("retry-after"), expected)
            self.assertEqual(self.logged(), (problem.status, "error"))
            self.tool.transport.clear()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class FailingDialect(OpenAIDialect):
    """Cannot translate a response: neither the third item nor its end."""

    def __init__(self) -> None:
        super().__init__(may_stream=True)

    def items(self, items: list[Head | Piece | ServerEvent]) -> Iterator[Head | bytes]:
        if len(items) == 3:
            raise HttpError(502, "no")
        return super().items(items)

    def end(self) -> Iterable[Head | bytes]:
        raise HttpError(502, "no")


class FailingInterface(OpenAIInterface):
    """Its dialect fails."""

    def respond(self, method: str, path: str, body: bytes) -> Forward:
        return Forward(path, body, FailingDialect())


class DialectTests(ToolTestCase):
    """Responses that a dialect cannot translate."""

    def setUp(self) -> None:
        self.tool = Tool(interfaces={"api": FailingInterface(ModelList(lambda: 0.0))})
        self.clock = self.tool.clock

    def test_items(self) -> None:
        """A part that cannot be translated is an error as before the head, or an event; the call is cancelled."""
        both: list[Head | Piece | ServerEvent] = [STREAM, EVENT]
        for begin, status in [(both[:0], 502), (both, 200)]:
            self.tool.connect()
            receiver = self.ask(request_bytes("POST /api/completions HTTP/1.1"))
            receiver.itemsReceived(begin)
            receiver.itemsReceived([EVENT, EVENT, EVENT])
            self.assertEqual(self.tool.response.status, status)
            self.assertIn(b'"message":"no"', self.tool.response.body)
            self.assertTrue(self.tool.calls.started[-1].is_cancelled)
            self.assertEqual(self.logged(), (status, "error"))

    def test_end(self) -> None:
        """So is a response that cannot be translated when it is complete."""
        receiver = self.ask(request_bytes("POST /api/completions HTTP/1.1"))
        receiver.ended()
        self.assertEqual(self.tool.response.error["message"], "no")
        self.assertFalse(self.tool.call.is_cancelled)


class DisconnectionTests(ToolTestCase):
    """Tools that disconnect, or do not read."""

    def assertCancelled(self) -> None:
        self.assertTrue(self.tool.call.is_cancelled)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_beforeTheHead(self) -> None:
        """A tool that disconnects before the head cancels its call."""
        self.ask()
        self.disconnect()
        self.assertCancelled()
        self.assertEqual(self.logged(), (0, "cancelled"))

    def test_inTheBody(self) -> None:
        """A tool that disconnects during the response cancels its call."""
        for head in (STREAM, WHOLE):
            self.setUp()
            self.ask().itemsReceived([head])
            self.disconnect()
            self.assertCancelled()
            self.assertEqual(self.logged(), (200, "cancelled"))

    def test_asTransportsReport(self) -> None:
        """The transport reports a lost connection in two ways; the call is cancelled once."""
        self.ask()
        self.tool.channel.stopProducing()
        self.disconnect()
        self.assertCancelled()

    def test_lateCallbacks(self) -> None:
        """What comes after that has no effect."""
        receiver = self.ask()
        self.disconnect()
        receiver.itemsReceived([STREAM, EVENT])
        receiver.ended()
        receiver.failed(Fault.CANCELLED)
        receiver.broken()
        self.assertEqual(self.tool.received, b"")
        self.assertEqual(len(self.tool.log.records), 1)

    def test_afterTheResponse(self) -> None:
        """A tool that disconnects after the response cancels nothing."""
        receiver = self.ask()
        receiver.itemsReceived([STREAM, DONE])
        receiver.ended()
        self.disconnect()
        self.assertFalse(self.tool.call.is_cancelled)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_withinARequest(self) -> None:
        """A tool may disconnect at any byte of its request: nothing is sent, and nothing stays."""
        for size in range(len(STREAM_REQUEST)):
            self.tool.send(STREAM_REQUEST[:size])
            self.disconnect()
            self.assertEqual((self.tool.calls.started, self.tool.received), ([], b""))
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.tool.connect()

    def test_slowReader(self) -> None:
        """A tool that does not read pauses its call."""
        receiver = self.ask()
        receiver.itemsReceived([STREAM])
        self.tool.channel.pauseProducing()
        self.tool.channel.pauseProducing()
        self.assertTrue(self.tool.call.is_paused)
        self.assertEqual(self.tool.transport.producerState, "producing")  # or a disconnection would not be noticed
        self.tool.channel.resumeProducing()
        self.assertFalse(self.tool.call.is_paused)
        self.clock.advance(STALL_TIME)
        self.assertFalse(self.tool.call.is_cancelled)

    def test_slowReaderDisconnects(self) -> None:
        """A tool that does not read and then disconnects cancels its call."""
        self.ask().itemsReceived([STREAM])
        self.tool.channel.pauseProducing()
        self.disconnect()
        self.assertCancelled()

    def test_stalledReader(self) -> None:
        """A tool that does not read for two minutes is disconnected."""
        receiver = self.ask()
        receiver.itemsReceived([STREAM])
        self.tool.channel.pauseProducing()
        self.clock.pump([1] * STALL_TIME)
        self.assertTrue(self.tool.call.is_cancelled)
        self.assertNotIn(COMMENT, self.tool.received)
        self.assertReset(after=b"\r\n\r\n")
        self.assertEqual(self.logged(), (200, "stalled"))


class TimeTests(ToolTestCase):
    """Servers that take their time."""

    def test_comments(self) -> None:
        """A stream gets a comment after each 15 seconds of silence."""
        receiver = self.ask()
        receiver.itemsReceived([STREAM])
        self.tool.transport.clear()
        self.clock.advance(SILENCE - 1)
        self.assertEqual(self.tool.received, b"")
        self.clock.advance(1)
        self.assertEqual(self.tool.received, COMMENT)
        self.clock.advance(SILENCE - 1)
        receiver.itemsReceived([EVENT])
        self.tool.transport.clear()
        self.clock.advance(SILENCE - 1)
        self.assertEqual(self.tool.received, b"")
        self.clock.pump([1] * 31)
        self.assertEqual(self.tool.received, COMMENT * 3)

    def test_noComments(self) -> None:
        """Nothing is written into another body."""
        receiver = self.ask()
        receiver.itemsReceived([WHOLE])
        self.tool.transport.clear()
        self.clock.pump([1] * 600)
        self.assertEqual(self.tool.received, b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lateStatus(self) -> None:
        """A stream begins without the server's status after a minute; comments follow."""
        receiver = self.ask()
        self.clock.advance(STATUS_TIME - 1)
        self.assertEqual(self.tool.received, b"")
        self.clock.advance(1)
        self.assertTrue(self.tool.received.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.clock.pump([1] * 300)
        self.assertEqual(self.tool.received.count(COMMENT), 20)
        receiver.itemsReceived([STREAM, EVENT, DONE])
        receiver.ended()
        events = b'data: {"choices": []}\n\ndata: [DONE]\n\n'
        self.assertEqual(self.tool.response.body, b":\n\n" * 20 + events)

    def test_lateFault(self) -> None:
        """A fault after that is an event."""
        receiver = self.ask()
        self.clock.advance(STATUS_TIME)
        receiver.failed(Fault.TIMED_OUT)
        self.assertIn(b'data: {"error"', self.tool.response.body)
        self.assertFalse(self.tool.transport.is_reset)

    def test_lateErrorResponse(self) -> None:
        """So is an error response of the server."""
        receiver = self.ask()
        self.clock.advance(STATUS_TIME)
        receiver.itemsReceived([Head(404, "application/json"), Piece(b'{"error": {"message": "no"}}')])
        receiver.ended()
        self.assertEqual(self.tool.response.body, b'data: {"error":{"message":"no"}}\n\n')

    def test_lateWhole(self) -> None:
        """A response that is no stream is waited for, but not until the tool's own limit."""
        self.ask(request_bytes())
        self.clock.pump([1] * (FIRST_TIME - 1))
        self.assertEqual(self.tool.received, b"")
        self.clock.advance(1)
        self.assertEqual(self.tool.response.status, 504)
        self.assertTrue(self.tool.response.error["message"])
        self.assertTrue(self.tool.call.is_cancelled)
        self.assertEqual(self.logged(), (504, "timed_out"))

"""OpenAI's interface: what the tool gets of a response."""

import json

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.api.errors import HttpError
from securechat.client.api.interface import Forward
from securechat.client.api.model_list import ModelList
from securechat.client.api.openai import OpenAIDialect, OpenAIInterface, asks_for_stream, write_event
from securechat.wire.items import Head, Piece, ServerEvent

STREAM = Head(200, "text/event-stream")
WHOLE = Head(200, "application/json")


class StreamOptionTests(SynchronousTestCase):
    """Whether a request asks for a stream."""

    def test_streams(self) -> None:
        """It does if `stream` is true in the outermost object."""
        self.assertTrue(asks_for_stream(b'{"model": "m", "stream": true, "n": 1e999}'))
        for body in [
            b"",
            b"{}",
            b'{"stream": false}',
            b'{"stream": null}',
            b'{"stream": "true"}',
            b'{"a": {"stream": true}}',
            b'{"a": "\\"stream\\": true"}',
            b'["stream"]',
            b'{"stream": true',
            b'{"stream": true, "a": ' + b"[" * 100_000,
        ]:
            self.assertFalse(asks_for_stream(body), body[:40])


class EventTests(SynchronousTestCase):
    """Server-sent events as text."""

    def test_lines(self) -> None:
        """Each line of the data has a line of its own, and the name is there if the event has one."""
        self.assertEqual(write_event(ServerEvent("", b"[DONE]")), b"data: [DONE]\n\n")
        self.assertEqual(write_event(ServerEvent("", b"")), b"data: \n\n")
        self.assertEqual(write_event(ServerEvent("a b", b"1\n\n 2")), b"event: a b\ndata: 1\ndata: \ndata:  2\n\n")


class DialectTests(SynchronousTestCase):
    """Responses."""

    def test_whole(self) -> None:
        """A response that is no stream passes as it is, with its status."""
        dialect = OpenAIDialect(may_stream=False)
        head = Head(404, "application/json; charset=utf-8", 3)
        self.assertEqual(list(dialect.items([head, Piece(b'{"err'), Piece(b'or": 1}')])), [head, b'{"err', b'or": 1}'])
        self.assertEqual(list(dialect.end()), [])
        self.assertEqual(dialect.comment, b"")
        self.assertIsNone(dialect.error(HttpError(502, "a")))
        self.assertIsNone(dialect.head_without_status())

    def test_stream(self) -> None:
        """Events are written one by one; an error is an event without [DONE] after it."""
        dialect = OpenAIDialect(may_stream=True)
        items = list(dialect.items([STREAM, ServerEvent("", b"1"), ServerEvent("", b"2")]))
        head = Head(200, "text/event-stream; charset=utf-8")
        self.assertEqual(items, [head, b"data: 1\n\n", b"data: 2\n\n"])
        self.assertEqual(dialect.comment, b":\n\n")
        self.assertEqual(list(dialect.end()), [])
        error = dialect.error(HttpError(502, "a"))
        assert error is not None
        self.assertEqual(json.loads(error.removeprefix(b"data: "))["error"]["message"], "a")

    def late(self, *items: Head | Piece | ServerEvent) -> list[Head | bytes]:
        """What is written if these items come after the head was sent without the server's status."""
        dialect = OpenAIDialect(may_stream=True)
        self.assertEqual(dialect.head_without_status(), Head(200, "text/event-stream; charset=utf-8"))
        self.assertEqual(dialect.comment, b":\n\n")
        return [*dialect.items(list(items)), *dialect.end()]

    def test_lateStream(self) -> None:
        """If the server's head comes late, the events follow that were expected."""
        self.assertEqual(self.late(STREAM, ServerEvent("", b"1")), [b"data: 1\n\n"])

    def test_lateError(self) -> None:
        """If an error comes late, it becomes an event of one line."""
        for error in ('{"message": "no",\n "code": null}', '"no"'):
            pieces = [Piece(b'{"error":\r\n'), Piece(error.encode()), Piece(b', "x": 1}')]
            (event,) = self.late(Head(500, "application/json"), *pieces)
            assert isinstance(event, bytes)
            self.assertEqual((event[:6], event[-2:], event.count(b"\n")), (b"data: ", b"\n\n", 2))
            self.assertEqual(json.loads(event[6:]), {"error": json.loads(error)})

    def test_lateSurprise(self) -> None:
        """If something else comes late, an error says so; no more of it is kept than needed."""
        for head, pieces in [
            (WHOLE, [Piece(b'{"choices": []}')]),
            (WHOLE, []),
            (Head(503, "application/json"), [Piece(b'{"error": "'), Piece(b"a" * 70_000), Piece(b'"}')]),
            (Head(503, "text/html"), [Piece(b"\xff" * 60_000)] * 100),
            (Head(503, "application/json"), [Piece(b"[" * 60_000)]),
        ]:
            (event,) = self.late(head, *pieces)
            assert isinstance(event, bytes)
            self.assertLess(len(event), 300)
            self.assertEqual(json.loads(event[6:])["error"]["type"], "server_error")

    def test_interface(self) -> None:
        """Requests go to the server as they are."""
        interface = OpenAIInterface(ModelList(lambda: 0.0))
        self.assertEqual(interface.methods("chat/completions"), ("POST",))
        self.assertEqual(interface.methods("models/a/b"), ("GET",))
        self.assertEqual(interface.methods("files"), ())
        forward = interface.respond("POST", "chat/completions", b'{"stream": true}')
        assert isinstance(forward, Forward)
        self.assertEqual((forward.path, forward.body), ("chat/completions", b'{"stream": true}'))
        self.assertIsNotNone(forward.dialect.head_without_status())

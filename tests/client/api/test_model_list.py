"""The list of models that is kept."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.api.errors import HttpError
from securechat.client.api.interface import Answer, Forward
from securechat.client.api.model_list import ModelList, models_in
from securechat.client.api.openai import OpenAIDialect
from securechat.wire.items import Head, Piece, ServerEvent
from tests.harness.local_api import Tool, get_bytes

JSON = Head(200, "application/json; charset=utf-8")
LIST = b'{"object": "list", "data": [{"id": "a"}, {"id": "b:latest"}]}'


def dialect() -> OpenAIDialect:
    return OpenAIDialect(may_stream=False)


class ListTests(SynchronousTestCase):
    """Lists of models as servers write them."""

    def test_forms(self) -> None:
        """The models are found in each form; one without a name is left out."""
        for body, names in [
            (LIST, ["a", "b:latest"]),
            (b'{"models": [{"name": "a"}]}', ["a"]),
            (b'[{"id": "a"}, {"id": ""}, {"id": 1}, {}, null, "b"]', ["a", "b"]),
            (b'{"data": []}', []),
        ]:
            self.assertEqual([model["id"] for model in models_in(body)], names)

    def test_noList(self) -> None:
        """Anything else is an error of the server."""
        for body in (b"", b"{}", b'{"data": null}', b"1", b'{"data"', b"\xff", b"[" * 100_000):
            with self.assertRaises(HttpError) as caught:
                models_in(body)
            self.assertEqual(caught.exception.status, 502)


class ModelListTests(SynchronousTestCase):
    """Requests for the list."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.models = ModelList(self.clock.seconds)

    def fetch(self, head: Head = JSON, *bodies: bytes) -> None:
        """Request the list, which is not kept, and respond."""
        forward = self.models.respond(dialect())
        assert isinstance(forward, Forward)
        self.assertEqual((forward.path, forward.body), ("models", b""))
        written = [*forward.dialect.items([head, *map(Piece, bodies)]), *forward.dialect.end()]
        self.assertEqual(written, [head, *bodies])

    def assertKept(self, expected: bytes | None) -> None:
        response = self.models.respond(dialect())
        self.assertEqual(response.body if isinstance(response, Answer) else None, expected)

    def test_kept(self) -> None:
        """A list is kept for a minute, with its content type."""
        self.fetch(JSON, LIST[:9], LIST[9:])
        self.clock.advance(59)
        self.assertEqual(self.models.respond(dialect()), Answer(LIST, JSON.content_type))
        self.clock.advance(1)
        self.assertKept(None)
        self.fetch(JSON, b"[]")
        self.assertKept(b"[]")

    def test_notKept(self) -> None:
        """An error, an empty response, a very long one and an incomplete one are not kept."""
        for head, bodies in [
            (Head(404, "application/json"), [LIST]),
            (JSON, []),
            (JSON, [b" " * 2**20] * 3),
        ]:
            self.fetch(head, *bodies)
            self.assertKept(None)
        forward = self.models.respond(dialect())
        assert isinstance(forward, Forward)
        list(forward.dialect.items([JSON, Piece(LIST)]))
        self.assertKept(None)

    def test_delegates(self) -> None:
        """What a tool gets is up to the dialect of its request."""
        forward = self.models.respond(OpenAIDialect(may_stream=True))
        assert isinstance(forward, Forward)
        head = forward.dialect.head_without_status()
        assert head is not None
        self.assertTrue(head.is_stream)
        self.assertEqual(forward.dialect.comment, b":\n\n")
        self.assertIsNotNone(forward.dialect.error(HttpError(502, "a")))
        self.assertEqual(list(forward.dialect.items([ServerEvent("", b"a")])), [b"data: a\n\n"])

    def test_names(self) -> None:
        """A model may be requested with the tag `latest` or without it, whichever the server has."""
        self.assertEqual(self.models.name_of("a:latest"), "a:latest")
        self.fetch(JSON, LIST)
        names = {"a": "a", "a:latest": "a", "b": "b:latest", "b:latest": "b:latest", "c": "c", "c:latest": "c:latest"}
        self.assertEqual({name: self.models.name_of(name) for name in names}, names)
        self.clock.advance(1000)
        self.assertEqual(self.models.name_of("b"), "b:latest")
        self.fetch(JSON, b'["b"]')
        self.assertEqual(self.models.name_of("b:latest"), "b")
        self.clock.advance(1000)
        self.fetch(JSON, b"no list")
        self.assertEqual(self.models.name_of("b:latest"), "b:latest")

    def test_requests(self) -> None:
        """Both interfaces respond with the same list; that of one model is not kept."""
        tool = Tool()
        tool.send(get_bytes("/v1/models"))
        tool.call.receiver.itemsReceived([JSON, Piece(LIST)])
        tool.call.receiver.ended()
        first = tool.response
        tool.connect()
        tool.send(get_bytes("/v1/models"))
        self.assertEqual(tool.response.body, first.body)
        self.assertEqual(tool.response.headers["content-type"], first.headers["content-type"])
        tool.connect()
        tool.send(get_bytes("/api/tags"))
        self.assertIn(b"b:latest", tool.response.body)
        self.assertEqual(len(tool.calls.started), 1)
        tool.send(get_bytes("/v1/models/a"))
        self.assertEqual([call.path for call in tool.calls.started], ["models", "models/a"])
